"""Whose webhook it is, who signed it, and what its sender is told."""

import time

import pytest

from app.directory import Unknowable, directory
from brokers.errors import BrokerUnavailable, StorageFull
from models.columns import now
from models.tenants import TenantStatus
from tests.app.conftest import signature
from tests.app.test_tenants import set_columns


def test_a_signed_webhook_is_stored_and_answered(shop, deliver, accepted):
    answer = deliver(shop.domain, b'{"id":1}')
    assert (answer.status_code, answer.json) == (200, {})
    assert accepted == [(shop.id, b'{"id":1}')]


def test_the_exact_bytes_are_signed_and_handed_on(shop, deliver, accepted):
    body = ' {"id" :1, "note":"\\u00e9 é"}\r\n'.encode()
    assert deliver(shop.domain, body).status_code == 200
    assert accepted == [(shop.id, body)]


def test_a_shops_domain_is_known_in_any_case(shop, deliver, accepted):
    assert deliver(shop.domain.upper()).status_code == 200
    assert accepted[0][0] == shop.id


@pytest.mark.parametrize("secret", ["wrong", "", "app-secret "])
def test_a_wrong_signature_is_refused(shop, deliver, accepted, secret):
    assert deliver(shop.domain, secret=secret).status_code == 401
    assert accepted == []


@pytest.mark.parametrize("given", [None, "", "é", "AAAA", "=" * 44])
def test_a_missing_or_malformed_signature_is_refused(shop, deliver, accepted, given):
    assert deliver(shop.domain, Hmac_Sha256=given).status_code == 401
    assert accepted == []


def test_a_changed_body_is_refused(shop, deliver, accepted):
    answer = deliver(shop.domain, b'{"id":2}', Hmac_Sha256=signature(b'{"id":1}', "app-secret"))
    assert answer.status_code == 401
    assert accepted == []


@pytest.mark.parametrize("topic", ["orders/create", "customers/redact", "shop/redact"])
@pytest.mark.parametrize(
    "shown", [b"eyJhbGciOiJIUzI1NiJ9.eyJkZXN0IjoiIn0-_", b"code=1&shop=a.myshopify.com&timestamp=1"]
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_shopify_signs_and_shows_to_a_browser_is_no_webhook(
    new_shop, deliver, monkeypatch, *, shown, topic, is_known
):
    shop = new_shop()
    monkeypatch.setattr(directory, "look_again", lambda known: known)  # which has a bound a second
    if not is_known:
        monkeypatch.setattr(directory, "find", lambda _: None)
    assert deliver(shop.domain, shown, Topic=topic).status_code == 401


@pytest.mark.parametrize("header", ["Topic", "Shop_Domain"])
@pytest.mark.parametrize("value", [None, "", "not valid", "../x"])
def test_a_missing_or_malformed_header_is_named(shop, deliver, accepted, header, value):
    answer = deliver(shop.domain, **{header: value})
    assert answer.status_code == 400
    assert f"X-Shopify-{header.replace('_', '-')}" in answer.json["detail"]
    assert accepted == []


class TestWhoseSecretCounts:
    def test_one_shops_secret_signs_nothing_for_another(self, new_shop, deliver, accepted):
        new_shop(webhookSecret="secret-a")
        other = new_shop(webhookSecret="secret-b")
        assert deliver(other.domain, secret="secret-a").status_code == 401
        assert accepted == []

    def test_the_apps_secret_signs_nothing_for_a_shop_with_its_own(self, new_shop, deliver, accepted):
        for body in ({"webhookSecret": "secret-a"}, {"clientId": "id", "clientSecret": "secret-a"}):
            shop = new_shop(**body)
            assert deliver(shop.domain, secret="app-secret").status_code == 401
            assert deliver(shop.domain, secret="secret-a").status_code == 200
        assert len(accepted) == 2

    def test_one_shops_secret_signs_nothing_for_a_shop_without_one(self, new_shop, deliver, accepted):
        new_shop(webhookSecret="secret-a")
        assert deliver(new_shop().domain, secret="secret-a").status_code == 401

    def test_a_changed_secret_counts_from_the_answer_on(self, new_shop, admin, deliver):
        shop = new_shop(webhookSecret="before")
        admin("PATCH", f"/api/tenants/{shop.id}", json={"webhookSecret": "after"})
        assert deliver(shop.domain, secret="before").status_code == 401
        assert deliver(shop.domain, secret="after").status_code == 200
        admin("PATCH", f"/api/tenants/{shop.id}", json={"webhookSecret": None})
        assert deliver(shop.domain, secret="app-secret").status_code == 200

    def test_a_secret_that_another_process_changed_counts_at_once(self, new_shop, deliver):
        from pydantic import SecretStr  # noqa: PLC0415

        shop = new_shop(webhookSecret="before")
        set_columns(shop.id, webhook_secret=SecretStr("after"))
        assert deliver(shop.domain, secret="after").status_code == 200


class TestShopsThatAreNoTenants:
    def test_a_webhook_signed_by_our_app_is_taken_and_dropped(self, new_domain, deliver, accepted):
        assert deliver(new_domain()).status_code == 200
        assert accepted == []

    def test_any_other_is_refused(self, new_domain, deliver, accepted):
        assert deliver(new_domain(), secret="wrong").status_code == 401

    def test_what_the_law_wants_acted_upon_is_recorded(self, new_domain, deliver, caplog):
        domain = new_domain()
        body = {"shop_id": 1, "shop_domain": domain, "customer": {"id": 1}}
        assert deliver(domain, body, Topic="customers/redact").status_code == 200
        assert f"customers/redact of {domain}" in caplog.text

    def test_a_shop_that_is_being_erased_is_none(self, admin, new_shop, deliver, accepted):
        shop = new_shop(webhookSecret="secret-a")
        admin("DELETE", f"/api/tenants/{shop.id}")
        assert deliver(shop.domain, secret="secret-a").status_code == 401
        assert deliver(shop.domain).status_code == 200
        assert accepted == []

    def test_a_shop_onboarded_by_another_process_is_known_at_once(self, new_domain, deliver, accepted):
        from models import tenants  # noqa: PLC0415
        from models.database import transaction  # noqa: PLC0415

        assert directory.is_loaded
        with transaction() as session:
            tenant, _ = tenants.create(session, shop_domain=new_domain())
        assert deliver(tenant.shop_domain).status_code == 200
        assert accepted[0][0] == str(tenant.id)


@pytest.mark.parametrize("status", [TenantStatus.PAUSED, TenantStatus.UNINSTALLED])
def test_a_shop_that_rests_goes_on_being_listened_to(shop, deliver, accepted, status):
    set_columns(shop.id, status=status, unauthorized_since=now())
    assert deliver(shop.domain).status_code == 200
    assert len(accepted) == 1


def test_a_body_that_names_another_shop_is_refused(new_shop, deliver, accepted):
    shop, other = new_shop(), new_shop()
    body = {"shop_id": 1, "shop_domain": other.domain, "customer": {"id": 1}}
    assert deliver(shop.domain, body, Topic="customers/redact").status_code == 401
    assert deliver(shop.domain, body | {"shop_domain": shop.domain}, Topic="customers/redact").status_code == 200
    assert len(accepted) == 1


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"not json", b"[1]", b'{"note":"\\ud800\\u0000"}', b"[" * 100_000])
def test_whatever_is_signed_is_stored_for_the_worker_to_judge(shop, deliver, accepted, body):
    assert deliver(shop.domain, body).status_code == 200
    assert len(accepted) == 1


@pytest.mark.parametrize("outage", [BrokerUnavailable, StorageFull])
def test_what_cannot_be_stored_is_not_acknowledged(shop, deliver, monkeypatch, outage):
    import tasks.webhooks  # noqa: PLC0415

    def refuse(*_):
        raise outage("nats://user:secret@host is away")

    monkeypatch.setattr(tasks.webhooks, "accept", refuse)
    answer = deliver(shop.domain)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in answer.text


def test_a_shop_whose_secret_cannot_be_decrypted_waits_and_others_do_not(new_shop, shop, deliver):
    from sqlalchemy import text  # noqa: PLC0415

    from models.database import transaction  # noqa: PLC0415

    broken = new_shop(webhookSecret="secret-a")
    with transaction() as session:
        session.execute(text("update tenants set webhook_secret = 'gibberish' where id = :id"), {"id": broken.id})
    try:
        directory.refresh()
        assert deliver(broken.domain, secret="secret-a").status_code == 503
        assert deliver(shop.domain).status_code == 200
    finally:
        set_columns_to_null(broken.id)


def set_columns_to_null(tenant_id):
    from sqlalchemy import text  # noqa: PLC0415

    from models.database import transaction  # noqa: PLC0415

    with transaction() as session:
        session.execute(text("update tenants set webhook_secret = null where id = :id"), {"id": tenant_id})


class TestOutages:
    def test_a_domain_that_cannot_be_looked_up_is_put_off(self, deliver, new_domain, monkeypatch):
        def away(_):
            raise Unknowable

        monkeypatch.setattr(directory, "_look_up", away)
        answer = deliver(new_domain())
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers

    def test_a_known_shops_webhooks_need_no_postgres(self, shop, deliver, accepted, monkeypatch):
        assert directory.is_loaded

        def away(_):
            pytest.fail("Postgres was asked")

        monkeypatch.setattr(directory, "_read_one", away)
        started = time.monotonic()
        assert deliver(shop.domain).status_code == 200
        assert time.monotonic() - started < 1
        assert len(accepted) == 1


def test_webhooks_are_counted_by_what_became_of_them(app, shop, deliver, new_domain):
    def count(outcome):
        from prometheus_client import REGISTRY  # noqa: PLC0415

        return REGISTRY.get_sample_value("shopstream_webhooks_total", {"outcome": outcome}) or 0

    outcomes = ("stored", "bad_signature", "bad_headers", "unknown_shop")
    before = [count(outcome) for outcome in outcomes]
    deliver(shop.domain)
    deliver(shop.domain, secret="wrong")
    deliver(shop.domain, Topic=None)
    deliver(new_domain())
    assert [count(outcome) for outcome in outcomes] == [each + 1 for each in before]
