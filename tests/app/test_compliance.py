"""Shopify's requests from their webhook to the answer, for shops that we know and for shops that we do not."""

import json
import stat
import uuid

import dramatiq
import pytest
from sqlmodel import col, select

from models import compliance, encryption, key_rotation, tenants
from models.columns import now
from models.compliance import ComplianceRequest, Kind
from models.customers import TABLE as CUSTOMERS
from models.database import transaction
from models.orders import TABLE as ORDERS
from models.payloads import Received, compressed, keep
from models.tenants import TenantStatus
from models.versions import Origin, upsert
from tests.models.rows import NEW_YEAR, Version
from tests.tasks.waiting import eventually

EMAIL = "ada@example.com"


@pytest.fixture
def worker(app):
    from tasks import broker  # noqa: PLC0415

    broker.ensure_streams()
    worker = dramatiq.Worker(broker, queues={"maintenance", "webhooks"}, worker_threads=2)
    worker.start()
    yield worker
    worker.stop()


def requests_of(domain):
    with transaction() as session:
        query = select(ComplianceRequest).where(col(ComplianceRequest.shop_domain) == domain)
        return session.exec(query.order_by(col(ComplianceRequest.received_at))).all()


def is_done(domain):
    found = requests_of(domain)
    return found if found and all(each.done_at for each in found) else None


@pytest.fixture
def known(shop):
    """A shop that knows a customer, two orders of hers, and what Shopify sent of her."""
    with tenants.write(uuid.UUID(shop.id)) as write:
        person = Version(7, NEW_YEAR, {"email": EMAIL, "first_name": "Ada", "created_at": NEW_YEAR})
        upsert(write, CUSTOMERS, [person], Origin(read_at=now()))
        columns = {"name": "#1", "email": EMAIL, "customer_shopify_id": 7, "currency": "USD", "total_price": "10.50"}
        line = dict.fromkeys(set(ORDERS.children["line_items"][0].model_fields) - {"tenant_id", "order_shopify_id"})
        upsert(
            write,
            ORDERS,
            [
                Version(1, NEW_YEAR, columns, {"line_items": [line | {"shopify_id": 11, "title": "Ring"}]}),
                Version(2, NEW_YEAR, columns | {"customer_shopify_id": None}),
                Version(3, NEW_YEAR, columns | {"customer_shopify_id": 8, "email": "bo@example.com"}),
            ],
            Origin(read_at=now()),
        )
        body = compressed(json.dumps({"id": 1, "email": EMAIL, "total_price": 10.50}).encode())
        keep(write, [Received("orders/create", "orders", 1, 7, now(), now(), body)])
    return shop


@pytest.fixture
def ask_for_data(deliver):
    def ask(shop, **person):
        body = {"shop_id": 1, "shop_domain": shop.domain, "customer": {"id": 7, "email": EMAIL} | person}
        body |= {"orders_requested": [1], "data_request": {"id": 9999}}
        assert deliver(shop.domain, body, Topic="customers/data_request").status_code == 200
        return eventually(lambda: requests_of(shop.domain))[0]

    return ask


class TestShopsThatAreNoTenants:
    @pytest.mark.parametrize("topic", ["customers/redact", "customers/data_request", "shop/redact"])
    def test_what_the_law_asks_for_is_done_and_recorded(self, new_domain, deliver, worker, topic):
        domain = new_domain()
        body = {"shop_id": 1, "shop_domain": domain}
        if topic == "customers/redact":
            body |= {"customer": {"id": 7, "email": EMAIL}, "orders_to_redact": [1]}
        if topic == "customers/data_request":
            body |= {"customer": {"id": 7, "email": EMAIL}, "orders_requested": [1], "data_request": {"id": 9}}
        assert deliver(domain, body, Topic=topic).status_code == 200
        (request,) = eventually(lambda: is_done(domain))
        assert (request.kind, request.outcome) == (topic, "nothing of the shop is here")
        assert request.addresses is None

    def test_it_has_to_be_signed_by_the_app_and_to_name_the_shop(self, new_domain, deliver, worker):
        domain = new_domain()
        body = {"shop_id": 1, "shop_domain": domain}
        assert deliver(domain, body, Topic="shop/redact", secret="wrong").status_code == 401
        assert deliver(domain, body | {"shop_domain": new_domain()}, Topic="shop/redact").status_code == 401
        assert requests_of(domain) == []

    def test_a_shop_that_is_being_erased_is_done_when_it_is_gone(self, admin, shop, deliver, worker):
        admin("DELETE", f"/api/tenants/{shop.id}")
        deliver(shop.domain, {"shop_id": 1, "shop_domain": shop.domain}, Topic="shop/redact")
        eventually(lambda: is_done(shop.domain))
        with transaction() as session:
            assert tenants.get(session, uuid.UUID(shop.id)) is None


def test_an_uninstalled_shop_is_erased_when_shopify_asks(shop, deliver, worker):
    with transaction() as session:
        tenants.get(session, uuid.UUID(shop.id), for_update=True).status = TenantStatus.UNINSTALLED
    deliver(shop.domain, {"shop_id": 954889, "shop_domain": shop.domain}, Topic="shop/redact")
    (request,) = eventually(lambda: is_done(shop.domain))
    assert (request.shop_id, request.outcome) == (954889, "everything of the shop is erased")


class TestAPersonAsks:
    def test_the_operator_fetches_everything_and_notes_it(self, known, ask_for_data, worker, run, tmp_path):
        request = ask_for_data(known)
        listed = run("compliance", "list").output
        assert f"{request.id}  customers/data_request  {known.domain}  due {request.due_at:%Y-%m-%d}" in listed
        file = tmp_path / "ada.json"
        exported = run("compliance", "export", str(request.id), "--to", str(file))
        assert exported.exit_code == 0, exported.output
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        told = json.loads(file.read_text())
        assert [customer["email"] for customer in told["customers"]] == [EMAIL]
        assert [order["shopifyId"] for order in told["orders"]] == [1, 2]  # one a guest's, with her address
        assert told["orders"][0]["totalPrice"] == "10.50"
        assert told["orders"][0]["lineItems"][0]["title"] == "Ring"
        assert told["payloads"][0]["body"] == {"id": 1, "email": EMAIL, "total_price": "10.5"}
        # A file that is there is left alone
        assert run("compliance", "export", str(request.id), "--to", str(file)).exit_code == 1
        assert run("compliance", "done", str(request.id)).output == f"{request.id} is done\n"
        assert str(request.id) not in run("compliance", "list").output
        assert (
            f"{request.id}  customers/data_request  {known.domain}  done" in run("compliance", "list", "--all").output
        )
        assert requests_of(known.domain)[0].addresses is None

    def test_the_administrator_fetches_it_over_http_and_nobody_else(self, known, ask_for_data, worker, admin, client):
        request = ask_for_data(known)
        path = f"/api/compliance/{request.id}/export"
        answer = admin("GET", path)
        assert (answer.status_code, answer.json["shopDomain"]) == (200, known.domain)
        assert [order["name"] for order in answer.json["orders"]] == ["#1", "#1"]
        assert client.get(path, headers=known.headers).status_code == 403
        assert client.get("/api/compliance", headers=known.headers).status_code == 403
        assert client.get(path).status_code == 401
        assert admin("GET", f"/api/compliance/{uuid.uuid4()}/export").status_code == 404

    def test_a_person_without_an_account_is_found_by_email(self, known, ask_for_data, worker, admin):
        request = ask_for_data(known, id=None, email=EMAIL.upper())
        assert len(admin("GET", f"/api/compliance/{request.id}/export").json["orders"]) == 2

    def test_by_what_a_person_asked_stays_readable_when_keys_are_rotated(
        self, known, ask_for_data, worker, monkeypatch
    ):
        from cryptography.fernet import Fernet  # noqa: PLC0415

        import settings  # noqa: PLC0415

        request = ask_for_data(known)
        former = settings.load().encryption_keys[0].get_secret_value()

        def use(*keys):
            monkeypatch.setenv("ENCRYPTION_KEYS", ",".join(keys))
            settings.load.cache_clear()
            encryption._fernet.cache_clear()

        new = Fernet.generate_key().decode()
        try:
            use(new, former)
            key_rotation.rotate()
            use(new)
            assert EMAIL in requests_of(known.domain)[0].addresses.get_secret_value()
        finally:
            use(former, new)
            key_rotation.rotate()
            monkeypatch.undo()
            settings.load.cache_clear()
            encryption._fernet.cache_clear()
        assert EMAIL in requests_of(known.domain)[0].addresses.get_secret_value()
        assert request.id


def test_requests_are_listed_newest_first_a_page_at_a_time(admin, new_domain):
    domain = new_domain()
    values = {"kind": Kind.REDACT_SHOP, "shop_domain": domain, "shop_id": 1, "customer_id": None}
    values |= {"order_ids": [], "data_request_id": None, "addresses": None}
    made = []
    for number in range(3):
        with transaction() as session:
            came = values | {"webhook_id": str(number), "received_at": now()}
            made.append(str(compliance.open_request(session, came)))
    with transaction() as session:
        compliance.finish(compliance.get(session, uuid.UUID(made[1])), "a test")
    seen, after = [], {}
    while True:
        page = admin("GET", "/api/compliance", query_string={"limit": 2} | after).json
        seen += [each["id"] for each in page["requests"] if each["shopDomain"] == domain]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == made[::-1]
    still_open = admin("GET", "/api/compliance", query_string={"open": "true", "limit": 500}).json["requests"]
    assert [each["id"] for each in still_open if each["shopDomain"] == domain] == [made[2], made[0]]


def test_an_erasure_is_not_called_done_by_a_person_unless_only_a_person_can_understand_it(shop, deliver, worker, run):
    body = {"shop_id": 1, "shop_domain": shop.domain, "customer": {"id": 7}, "orders_to_redact": "all"}
    assert deliver(shop.domain, body, Topic="customers/redact").status_code == 200
    (request,) = eventually(lambda: requests_of(shop.domain))
    assert "not understood" in run("compliance", "list").output
    assert run("compliance", "done", str(request.id)).exit_code == 0
    values = {"kind": Kind.REDACT_CUSTOMER, "shop_domain": f"x{shop.domain}", "shop_id": 1, "customer_id": 7}
    values |= {"order_ids": [], "data_request_id": None, "addresses": None, "webhook_id": "1", "received_at": now()}
    with transaction() as session:
        unfinished = compliance.open_request(session, values)
    assert run("compliance", "done", str(unfinished)).exit_code == 1
    assert run("compliance", "done", str(uuid.uuid4())).exit_code == 1


def test_payloads_are_replayed_from_the_command_line(known, run):
    tried = run("payloads", "replay", "--shop", known.domain, "--resource", "orders", "--dry-run")
    assert tried.exit_code == 0, tried.output
    assert tried.output.startswith("1 payloads: 0 would be written, ")
    assert run("payloads", "replay", "--shop", known.domain, "--since", "2100-01-01").output.startswith("0 payloads")
    assert run("payloads", "replay", "--shop", "nobody.myshopify.com").exit_code == 1
