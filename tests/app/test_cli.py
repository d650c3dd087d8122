"""The operator's commands."""

import uuid

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import text

from models import encryption, sync_runs, tenants
from models.database import transaction
from models.sync_runs import Mode
from tasks import broker


@pytest.fixture
def domain(new_domain, monkeypatch):
    """The SHOP_DOMAIN of the environment."""
    import settings  # noqa: PLC0415

    domain = new_domain()
    with monkeypatch.context() as environment:
        environment.setenv("SHOP_DOMAIN", domain)
        environment.setenv("SHOPIFY_ACCESS_TOKEN", "shpat_x")
        settings.load.cache_clear()
        yield domain
    settings.load.cache_clear()


def test_upgrade_begins_the_first_tenants_sync(run, domain):
    assert run("db", "upgrade").exit_code == 0
    assert "running" in line_of(run, domain)


def line_of(run, domain):
    return next(line for line in run("tenants", "list").output.splitlines() if line.startswith(domain))


def test_upgrade_can_be_repeated_and_onboards_the_first_tenant_once(run, domain):
    first, second = run("db", "upgrade"), run("db", "upgrade")
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert f"{domain} is a tenant now" in first.output
    assert domain not in second.output
    assert "sst_" not in first.output  # a release's output is kept
    assert "shpat_x" not in first.output


def test_a_tenants_life_on_the_command_line(run, new_domain, client):
    domain = new_domain()
    added = run("tenants", "add", f"https://{domain}/", input="shpat_secret\n")
    assert added.exit_code == 0, added.output
    assert "shpat_secret" not in added.output
    assert domain in run("tenants", "list").output
    assert "running" in run("sync", "status", domain).output
    again = run("sync", "start", domain)
    assert (again.exit_code, "is running" in again.output) == (1, True)
    assert run("sync", "cancel", domain).exit_code == 0
    assert run("tenants", "pause", domain).output.strip() == f"{domain} is paused"
    assert run("tenants", "resume", domain).exit_code == 0
    token = run("tenants", "rotate-token", domain).output.split()[-1]
    assert client.get("/api/stats", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert run("tenants", "remove", domain, "--yes").exit_code == 0
    assert client.get("/api/stats", headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--since", "1969-12-31"), "--since"),
        (("--until", "2201-01-01"), "--until"),
        (("--since", "yesterday"), "--since must be a date such as 2026-03-31"),
        (("--since", "2026-02-02", "--until", "2026-02-01"), "since must not be after until"),
    ],
)
def test_days_that_cannot_be_are_refused_as_they_are_over_http(run, new_shop, options, said):
    shop = new_shop()
    refused = run("sync", "start", shop.domain, *options)
    assert refused.exit_code == 2
    assert said in refused.output
    assert run("sync", "status", shop.domain).output == ""


def test_a_sync_is_read_in_the_mode_that_is_named_as_over_http(run, new_shop):
    shop = new_shop()
    assert run("sync", "start", shop.domain, "--mode", "bulk").exit_code == 0
    with transaction() as session:
        assert [each.mode for each in sync_runs.newest(session, shop.id, limit=10)] == [Mode.BULK]


@pytest.mark.parametrize("command", [("tenants", "pause"), ("tenants", "remove", "--yes"), ("sync", "start")])
def test_an_unknown_shop_is_one_line_and_exit_code_1(run, new_domain, command):
    result = run(*command, new_domain())
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1
    assert "Traceback" not in result.output


def test_a_domain_that_is_taken_is_one_line(run, shop):
    result = run("tenants", "add", shop.domain, input="x\n")
    assert result.exit_code == 1
    assert "is a tenant already" in result.output


def test_queues_are_a_table(run):
    result = run("queues")
    assert result.exit_code == 0, result.output
    assert "webhooks" in result.output


def test_an_outage_is_one_line(run, monkeypatch):
    from brokers.errors import BrokerUnavailable  # noqa: PLC0415

    def away():
        raise BrokerUnavailable("NATS at nats://127.0.0.1:4222 cannot be reached")

    monkeypatch.setattr(broker, "queue_stats", away)
    result = run("queues")
    assert (result.exit_code, result.output) == (1, "Error: NATS at nats://127.0.0.1:4222 cannot be reached\n")


def test_a_dead_letter_that_is_not_there_is_one_line(run):
    for command in ("show", "replay"):
        result = run("dead-letters", command, "999999")
        assert result.exit_code == 1
        assert "999999" in result.output
    listing = run("dead-letters", "list", "--queue", "no-such-queue")
    assert (listing.exit_code, listing.output) == (0, "no dead letters\n")
    assert run("dead-letters", "replay").exit_code == 2  # nothing is replayed without being named


def test_rotated_keys_open_what_the_old_one_closed(run, new_shop, monkeypatch):
    from models.key_rotation import rotate  # noqa: PLC0415

    shop = new_shop(webhookSecret="whsec_secret")
    with transaction() as session:
        tenants.get(session, uuid.UUID(shop.id), for_update=True).refresh_token = SecretStr("shprt_secret")
    before = stored(shop.id)
    assert run("keys", "rotate").exit_code == 0
    assert stored(shop.id) != before
    # When a new key is put first
    old = encryption.settings.load().encryption_keys[0].get_secret_value()
    new = Fernet.generate_key().decode()
    monkeypatch.setattr(encryption, "_fernet", lambda: encryption.MultiFernet([Fernet(new), Fernet(old)]))
    assert rotate() >= 3
    # Then it alone opens every secret, and the old one none
    assert Fernet(new).decrypt(stored(shop.id).encode()) == b"whsec_secret"
    monkeypatch.setattr(encryption, "_fernet", lambda: encryption.MultiFernet([Fernet(new)]))
    with transaction() as session:
        tenant = tenants.get(session, uuid.UUID(shop.id))
    assert tenant.webhook_secret.get_secret_value() == "whsec_secret"
    assert tenant.refresh_token.get_secret_value() == "shprt_secret"
    # The other tests go on with the old one
    monkeypatch.setattr(encryption, "_fernet", lambda: encryption.MultiFernet([Fernet(old), Fernet(new)]))
    rotate()


def stored(tenant_id):
    with transaction() as session:
        return session.execute(
            text("select webhook_secret from tenants where id = :id"), {"id": tenant_id}
        ).scalar_one()
