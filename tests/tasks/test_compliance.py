"""What the law asks for: nothing of a person remains, in any table and any message, and what comes later stays without."""

import json
import logging
import uuid
import zlib
from datetime import timedelta
from types import SimpleNamespace

import dramatiq
import pytest
import sqlalchemy
from sqlmodel import col, select

from models import compliance, tenants
from models.columns import now
from models.compliance import ComplianceRequest, Kind
from models.customers import Customer
from models.database import engine, transaction
from models.event_log import Level, record
from models.orders import LineItem, Order, Refund
from models.payloads import Payload
from models.tenants import TenantStatus
from shopify.errors import AccessDenied
from shopify.webhooks import WebhookHeaders
from tests.tasks.rows import one
from tests.tasks.test_webhooks import an_order
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long

EMAIL, PHONE, NAME = "ada.lovelace@example.com", "555-625-1199", "Lovelace"
#: Whatever tells of the person.
TRACES = (EMAIL, PHONE, NAME)
CUSTOMER = 871910167
ORDER, GUEST_ORDER = 450789469, 450789470


def headers(shop, topic, **more):
    return WebhookHeaders.of(
        {
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": "checked before",
            "X-Shopify-Shop-Domain": shop.domain,
            "X-Shopify-Webhook-Id": str(uuid.uuid4()),
            **more,
        }
    )


@pytest.fixture
def ask(store, migrated, nats):
    """A request of Shopify's, as the web process hands it over. Returns its kind's newest row of the shop."""
    from tasks import webhooks  # noqa: PLC0415

    def hand_over(shop, topic, **body):
        content = {"shop_id": 954889, "shop_domain": shop.domain} | body
        webhooks.accept(shop.tenant_id, headers(shop, topic), json.dumps(content).encode())

    return hand_over


@pytest.fixture
def redact(ask):
    def hand_over(shop, *, customer=CUSTOMER, orders=(GUEST_ORDER,)):
        person = {"id": customer, "email": EMAIL, "phone": PHONE}
        ask(shop, "customers/redact", customer=person, orders_to_redact=list(orders))

    return hand_over


def the_customer(**changes):
    usual = {
        "id": CUSTOMER,
        "admin_graphql_api_id": f"gid://shopify/Customer/{CUSTOMER}",
        "updated_at": "2026-03-01T10:00:00-05:00",
        "created_at": "2026-01-01T10:00:00-05:00",
        "first_name": "Ada",
        "last_name": NAME,
        "email": EMAIL,
        "phone": PHONE,
        "state": "enabled",
        "note": f"Mrs {NAME}",
        "verified_email": True,
    }
    return usual | changes


def the_order(number=ORDER, **changes):
    usual = {
        "email": EMAIL,
        "note": f"For {NAME}",
        "customer": {"id": CUSTOMER, "email": EMAIL, "last_name": NAME},
        "shipping_address": {"last_name": NAME, "phone": PHONE},
        "line_items": [
            {"id": number + 1_000_000, "title": f"Engraved {NAME}", "quantity": 1, "price": "10.00", "product_id": None}
        ],
    }
    return an_order(number, **(usual | changes))


def requests_of(shop):
    with transaction() as session:
        query = select(ComplianceRequest).where(col(ComplianceRequest.shop_domain) == shop.domain)
        return session.exec(query.order_by(col(ComplianceRequest.received_at))).all()


def done(shop, count=1, timeout=60):
    """The shop's requests, once all are done."""

    def all_done():
        found = requests_of(shop)
        return found if len(found) == count and all(each.done_at for each in found) else None

    return eventually(all_done, timeout=timeout)


def rows_that_say(*traces):
    """Every row of every table in which one of the traces stands, payloads unpacked."""
    found = []
    with engine().connect() as connection:
        for table in sqlalchemy.inspect(connection).get_table_names():
            rows = connection.execute(sqlalchemy.text(f'select row_to_json(it)::text from "{table}" as it')).scalars()
            found += [f"{table}: {row}" for row in rows if any(trace.lower() in row.lower() for trace in traces)]
        for body in connection.execute(sqlalchemy.text("select body from payloads")).scalars():
            said = zlib.decompress(body).decode()
            found += [f"payloads: {said}" for trace in traces if trace in said]
    return found


def bodies_of(shop):
    """The payloads that are kept of a shop."""
    with transaction() as session:
        return session.exec(select(Payload.body).where(col(Payload.tenant_id) == shop.tenant_id)).all()


def messages_that_say(*traces):
    """Every message in NATS in which one of the traces stands, bodies unpacked."""
    from tasks import broker  # noqa: PLC0415
    from tasks.held import _delivery  # noqa: PLC0415

    found = []
    for held in broker.contents.each():
        delivery = None if held.message is None else _delivery(held.message)
        said = [held.body.decode(), held.notes, (delivery.body or b"").decode() if delivery else ""]
        if any(trace in each for trace in traces for each in said):
            found.append(held)
    return found


def assert_nothing_is_left():
    assert rows_that_say(*TRACES) == []
    assert messages_that_say(*TRACES) == []


def a_refund(**changes):
    """As an order carries it; it took nothing back."""
    return {"id": 7001, "refund_line_items": [], "order_adjustments": [], "transactions": []} | changes


class TestAPersonIsForgotten:
    def test_nothing_of_the_person_is_left_in_the_tables_and_figures_stay(self, shop, worker, tell, redact):
        # Given a customer with an order, a guest order of theirs, and another customer's
        tell(shop, "customers/create", the_customer())
        tell(shop, "orders/create", the_order(refunds=[a_refund(note=f"{NAME} is sorry")]))
        tell(shop, "orders/create", the_order(GUEST_ORDER, customer=None))
        tell(shop, "orders/create", an_order(5, email="bo@example.com", note="mine", customer={"id": 9}))
        # And what could not be stored, and a line that names them
        tell(shop, "customers/update", the_customer(email=5))
        tell(shop, "orders/updated", the_order(currency="not one"))
        eventually(lambda: len(rows_that_say("could not be", "quarantined: ")) >= 2)
        eventually(lambda: shop.figures()["countingOrders"] == 3 and shop.figures()["customers"] == 1)
        with tenants.write(shop.tenant_id) as write:
            record(write, Level.INFO, "test", f"{EMAIL.upper()} was here")
        before = shop.figures()
        assert len(rows_that_say(EMAIL)) > 6
        # When Shopify asks for the person to be forgotten
        redact(shop)
        (request,) = done(shop)
        # Then nothing of them is left, and the figures and everybody else are
        assert_nothing_is_left()
        assert shop.figures() == before
        assert one(Order, shop, shopify_id=5).note == "mine"
        order = one(Order, shop, shopify_id=ORDER)
        assert (order.email, order.note, order.current_total_price) == (None, None, 10)
        assert one(LineItem, shop, order_shopify_id=ORDER).title is None
        assert one(Refund, shop, order_shopify_id=ORDER).note is None
        customer = one(Customer, shop, shopify_id=CUSTOMER)
        kept = {"id", "tenant_id", "shopify_id", "updated_at", "triggered_at", "created_at", "stored_at"}
        assert {name for name, value in customer.model_dump().items() if value is not None} == kept
        # And that it was done is on record, by ids alone
        assert request.outcome == "nothing of the person is left"
        assert request.addresses is None
        assert request.erased["customers"] == 1
        assert request.erased["orders"] == 2
        assert request.erased["payloads"] >= 3
        assert f"info compliance: customer {CUSTOMER} is redacted" in shop.events()

    def test_whatever_comes_later_stays_without_the_person(self, shop, worker, tell, redact):
        redact(shop)
        done(shop)
        # When webhooks come late: the customer, an order never seen, the guest order, one that lost its customer since
        tell(shop, "customers/update", the_customer())
        tell(shop, "orders/create", the_order(refunds=[a_refund(note=NAME)]))
        tell(shop, "orders/create", the_order(GUEST_ORDER, customer=None))
        eventually(lambda: one(Order, shop, shopify_id=ORDER))
        tell(shop, "orders/updated", the_order(customer=None, updated_at="2026-03-02T10:00:00-05:00"))
        # And what cannot be stored
        tell(shop, "customers/update", the_customer(verified_email="maybe"))
        tell(shop, "orders/updated", the_order(77, currency="not one"))
        eventually(lambda: sum("quarantined" in line for line in shop.events()) == 2)
        eventually(lambda: one(Order, shop, shopify_id=ORDER).customer_shopify_id is None)
        eventually(lambda: one(Order, shop, shopify_id=GUEST_ORDER) and one(Customer, shop, shopify_id=CUSTOMER))
        assert_nothing_is_left()
        assert one(Customer, shop, shopify_id=CUSTOMER).created_at is not None

    def test_a_sync_of_the_store_obeys_the_mark(self, shop, worker, redact):
        # Given a store that still tells of the person
        person = {"action": "createCustomer", "firstName": "Ada", "lastName": NAME, "email": EMAIL}
        customer = shop.act(person)["done"][0]["id"]
        line = {"price": "20.00", "quantity": 3}
        shop.act({"action": "createOrder", "lines": [line], "customerId": customer, "note": NAME})
        redact(shop, customer=int(customer), orders=())
        done(shop)
        # When its history is read
        run = shop.sync()
        assert run.status == "completed", run.error
        # Then the figures are the store's, and the person is nobody
        assert shop.figures() == shop.expected()
        assert one(Customer, shop, shopify_id=int(customer)).first_name is None
        assert_nothing_is_left()

    def test_a_running_sync_does_not_bring_the_person_back(self, open_shop, worker, redact):
        from tasks import sync  # noqa: PLC0415

        shop = open_shop(orders=1500, customers=600)
        customer = shop.act({"action": "createCustomer", "lastName": NAME, "email": EMAIL})["done"][0]["id"]
        run_id = sync.begin(shop.tenant_id)
        eventually(lambda: shop.figures()["countingOrders"])
        redact(shop, customer=int(customer), orders=())
        done(shop)
        eventually(lambda: shop.run(run_id).status != "running", timeout=60)
        assert shop.figures() == shop.expected()
        assert one(Customer, shop, shopify_id=int(customer)) is not None
        assert_nothing_is_left()

    def test_a_merge_that_is_told_late_makes_no_exception(self, shop, worker, tell, redact):
        other = 4711
        gid = f"gid://shopify/Customer/{other}"
        tell(
            shop,
            "customers/create",
            the_customer(id=other, admin_graphql_api_id=gid, email="b@example.com", phone=None),
        )
        tell(shop, "orders/create", the_order(customer={"id": other}, email="another@example.com"))
        eventually(lambda: one(Order, shop, shopify_id=ORDER) and one(Customer, shop, shopify_id=other))
        redact(shop)
        done(shop)
        # When it turns out that the other had been merged into the person
        merge = {
            "admin_graphql_api_customer_kept_id": f"gid://shopify/Customer/{CUSTOMER}",
            "admin_graphql_api_customer_deleted_id": f"gid://shopify/Customer/{other}",
            "status": "completed",
        }
        tell(shop, "customers/merge", merge)
        eventually(lambda: one(Order, shop, shopify_id=ORDER).customer_shopify_id == CUSTOMER)
        assert one(Order, shop, shopify_id=ORDER).email is None
        assert one(Customer, shop, shopify_id=other).last_name is None
        assert_nothing_is_left()

    def test_a_person_without_an_account_is_found_by_email(self, shop, worker, tell, ask):
        tell(shop, "orders/create", the_order(customer=None))
        eventually(lambda: one(Order, shop, shopify_id=ORDER))
        ask(shop, "customers/redact", customer={"email": EMAIL.upper(), "phone": PHONE}, orders_to_redact=[])
        done(shop)
        assert one(Order, shop, shopify_id=ORDER).email is None

    def test_another_customer_whose_address_stands_on_an_order_stays(self, shop, worker, tell, redact):
        # Given an order of the person's that staff wrote with another customer's address
        other = CUSTOMER + 1
        ids = {"id": other, "admin_graphql_api_id": f"gid://shopify/Customer/{other}"}
        tell(
            shop,
            "customers/create",
            the_customer(**ids, email="bo@example.com", last_name="Other", phone=None, note=""),
        )
        tell(shop, "orders/create", the_order(email="bo@example.com"))
        own = {"customer": {"id": other}, "email": "bo@example.com", "note": "His", "shipping_address": None}
        tell(shop, "orders/create", the_order(GUEST_ORDER, line_items=[], **own))
        eventually(lambda: one(Order, shop, shopify_id=GUEST_ORDER))
        eventually(lambda: one(Order, shop, shopify_id=ORDER))
        eventually(lambda: one(Customer, shop, shopify_id=other))
        redact(shop, orders=())
        done(shop)
        assert one(Order, shop, shopify_id=ORDER).email is None
        assert one(Customer, shop, shopify_id=other).last_name == "Other"
        assert one(Order, shop, shopify_id=GUEST_ORDER).note == "His"

    @pytest.mark.parametrize("escaped", [False, True])
    def test_a_guests_order_that_could_not_be_stored_is_found_by_email(self, shop, worker, tell, ask, escaped):
        email = "zoë@example.com"
        order = json.dumps(the_order(GUEST_ORDER, customer=None, email=email, currency="a\0b"), ensure_ascii=escaped)
        tell(shop, "orders/create", order.encode())
        eventually(lambda: bodies_of(shop))
        ask(shop, "customers/redact", customer={"id": CUSTOMER, "email": email}, orders_to_redact=[])
        done(shop)
        assert bodies_of(shop) == []

    @pytest.mark.parametrize("status", [TenantStatus.PAUSED, TenantStatus.UNINSTALLED])
    def test_people_of_a_shop_that_rests_are_forgotten_too(self, shop, worker, tell, redact, status):
        tell(shop, "customers/create", the_customer())
        eventually(lambda: one(Customer, shop, shopify_id=CUSTOMER))
        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).status = status
        redact(shop)
        done(shop)
        assert_nothing_is_left()

    def test_a_request_that_comes_again_is_one(self, shop, worker, ask, caplog):
        from tasks import webhooks  # noqa: PLC0415

        body = {"shop_domain": shop.domain, "customer": {"id": CUSTOMER, "email": EMAIL}, "orders_to_redact": []}
        came = headers(shop, "customers/redact")
        for _ in range(2):
            webhooks.accept(shop.tenant_id, came, json.dumps(body).encode())
        done(shop)
        ask(shop, "customers/redact", customer={"id": 3}, orders_to_redact=[])
        done(shop, 2)
        assert "Failed to process message" not in caplog.text

    def test_a_request_whose_message_was_lost_is_taken_up_again(self, shop, worker):
        from tasks import tending  # noqa: PLC0415

        values = {"shop_id": 1, "customer_id": CUSTOMER, "order_ids": [], "data_request_id": None, "addresses": None}
        values |= {"kind": Kind.REDACT_CUSTOMER, "shop_domain": shop.domain, "webhook_id": "lost"}
        with transaction() as session:
            request_id = compliance.open_request(session, values | {"received_at": now()})
            compliance.get(session, request_id).attempted_at = now() - 2 * compliance.FORGOTTEN_AFTER
        tending.tend.send()
        done(shop)


class TestMessagesThatWait:
    def test_a_paused_shops_webhooks_go_on_without_their_bodies(self, shop, worker, tell, redact, monkeypatch):
        customer = shop.act({"action": "createCustomer", "lastName": NAME, "email": EMAIL})["done"][0]["id"]
        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).status = TenantStatus.PAUSED
        gid = f"gid://shopify/Customer/{customer}"
        nameless = {
            "email": None,
            "phone": None,
            "note": NAME * 1000,
        }  # it travels compressed, and only its id tells whose it is
        tell(shop, "customers/create", the_customer(id=int(customer), admin_graphql_api_id=gid, **nameless))
        # Given one that is delayed again and again, since its shop is paused
        eventually(lambda: len(messages_that_say(NAME)) == 1)
        monkeypatch.setattr("tasks.webhooks.PAUSED_RETRY", 1_000)
        redact(shop, customer=int(customer), orders=())
        (request,) = done(shop)
        assert request.erased["delayed messages"] == 1
        assert_nothing_is_left()
        # When the shop goes on
        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).status = TenantStatus.ACTIVE
        # Then the customer is known, and is nobody
        eventually(lambda: one(Customer, shop, shopify_id=int(customer)))
        assert_nothing_is_left()

    def test_a_dead_letter_goes_on_without_its_body(self, shop, worker, tell, redact, monkeypatch):
        from tasks import broker, deliveries, webhooks  # noqa: PLC0415

        def fail(*_):
            raise ValueError(f"no place for {EMAIL}")

        customer = shop.act({"action": "createCustomer", "lastName": NAME, "email": EMAIL})["done"][0]["id"]
        with monkeypatch.context() as broken:
            broken.setattr(deliveries, "write", fail)
            broken.setitem(webhooks.process_webhooks.options, "max_retries", 0)
            gid = f"gid://shopify/Customer/{customer}"
            tell(shop, "customers/create", the_customer(id=int(customer), admin_graphql_api_id=gid))
            lane = str(shop.tenant_id)
            eventually(lambda: broker.dead_letters.count(lane=lane) == 1)
        redact(shop, customer=int(customer), orders=())
        (request,) = done(shop)
        assert request.erased["dead letters"] == 1
        assert broker.dead_letters.count(lane=lane) == 0
        eventually(lambda: one(Customer, shop, shopify_id=int(customer)))  # it was fetched
        assert_nothing_is_left()

    def test_any_other_dead_letter_whose_error_names_the_person_is_replayed_without_it(self, shop, worker, redact):
        from tasks import broker, fetches  # noqa: PLC0415

        message = fetches.fetch_resource.message(str(shop.tenant_id), "customers", 1)
        message.options["traceback"] = f"KeyError: {EMAIL}"
        broker.dead_letters.put(
            "fetches", message.encode(), message, error=f"KeyError: {EMAIL}", publish_id=uuid.uuid4().hex
        )
        assert messages_that_say(EMAIL)
        redact(shop)
        done(shop)
        assert_nothing_is_left()

    def test_a_redaction_is_not_done_while_a_message_of_the_person_waits_for_its_worker(
        self, shop, tell, redact, migrated
    ):
        from tasks import broker  # noqa: PLC0415

        broker.ensure_streams()
        broker.pause("webhooks")
        worker = dramatiq.Worker(broker, worker_threads=2)
        worker.start()
        try:
            tell(shop, "customers/create", the_customer())
            redact(shop)
            (request,) = eventually(lambda: [each for each in requests_of(shop) if each.outcome])
            assert request.outcome == "1 messages are at work or wait in a paused queue"
            assert request.done_at is None
            broker.resume("webhooks")
            done(shop)
        finally:
            broker.resume("webhooks")
            worker.stop()
        assert_nothing_is_left()

    @pytest.mark.usefixtures("worker")
    def test_what_came_late_and_died_is_looked_for_again(self, shop, tell, redact, monkeypatch, caplog):
        from tasks import (  # noqa: PLC0415
            broker,
            deliveries,
            webhooks,
        )
        from tasks import compliance as actors  # noqa: PLC0415

        redact(shop)
        done(shop)
        with monkeypatch.context() as broken:
            broken.setattr(deliveries, "write", lambda *_: 1 / 0)
            broken.setitem(webhooks.process_webhooks.options, "max_retries", 0)
            tell(shop, "customers/update", the_customer())
            eventually(lambda: broker.dead_letters.count(lane=str(shop.tenant_id)) == 1)
        values = {"shop_id": 1, "customer_id": 3, "order_ids": [], "data_request_id": None, "addresses": None}
        values |= {"kind": Kind.DATA_REQUEST, "shop_domain": shop.domain, "webhook_id": "a month ago"}
        with transaction() as session:
            compliance.open_request(session, values | {"received_at": now() - timedelta(days=25)})
        actors.look_again.fn()
        assert_nothing_is_left()
        assert f"customers/data_request of {shop.domain} is due on" in caplog.text

    def test_another_shops_messages_are_left_alone(self, open_shop, worker, tell, redact):
        shop, other = open_shop(), open_shop()
        with transaction() as session:
            tenants.get(session, other.tenant_id, for_update=True).status = TenantStatus.PAUSED
        tell(other, "customers/create", the_customer())
        eventually(lambda: messages_that_say(NAME))
        redact(shop)
        done(shop)
        assert len(messages_that_say(NAME)) == 1
        redact(other)  # so that nothing of it is left for the tests behind
        done(other)


@pytest.mark.usefixtures("worker")
def test_with_a_delayed_message_a_dead_letter_and_a_running_bulk_outstanding_nothing_is_left(
    shop, tell, redact, monkeypatch
):
    from tasks import broker, deliveries, sync, webhooks  # noqa: PLC0415

    monkeypatch.setattr("tasks.bulk_steps.SHORTEST_LOOK", timedelta(milliseconds=50))
    customer = int(shop.act({"action": "createCustomer", "lastName": NAME, "email": EMAIL})["done"][0]["id"])
    line = {"price": "20.00", "quantity": 3}
    shop.act({"action": "createOrder", "lines": [line], "customerId": str(customer), "note": NAME})
    # Given a bulk file that is being read, and stands still
    shop.store.control("PATCH", f"shops/{shop.domain}/bulk", {"createdSeconds": 0})
    shop.configure(faults={"download_held": {"every": 1, "lines": 3}})
    run_id = sync.begin(shop.tenant_id, mode="bulk")
    eventually(lambda: shop.store.control("GET", f"shops/{shop.domain}/bulk")["downloads"])
    # And a dead letter, and a message that waits for its retry
    told = {"id": customer, "admin_graphql_api_id": f"gid://shopify/Customer/{customer}"}
    with monkeypatch.context() as broken:
        broken.setattr(deliveries, "write", lambda *_: 1 / 0)
        broken.setitem(webhooks.process_webhooks.options, "max_retries", 0)
        tell(shop, "customers/create", the_customer(**told))
        eventually(lambda: broker.dead_letters.count(lane=str(shop.tenant_id)) == 1)
        broken.setitem(webhooks.process_webhooks.options, "max_retries", 8)
        broken.setitem(webhooks.process_webhooks.options, "min_backoff", 3_600_000)
        broken.setitem(webhooks.process_webhooks.options, "max_backoff", 7_200_000)
        tell(shop, "customers/update", the_customer(**told, tags=EMAIL))
        eventually(lambda: any(held.place == "delayed" for held in messages_that_say(EMAIL)))
    # When the person is to be forgotten, and the file goes on behind that
    redact(shop, customer=customer, orders=())
    (request,) = done(shop)
    assert (request.erased["dead letters"], request.erased["delayed messages"]) == (1, 1)
    assert shop.run(run_id).status == "running"

    def has_ended():
        shop.store.control("POST", f"shops/{shop.domain}/bulk/release", {})
        return shop.run(run_id).status != "running"

    eventually(has_ended, timeout=60)
    # Then everything is there but the person
    assert shop.figures() == shop.expected()
    eventually(lambda: one(Customer, shop, shopify_id=customer))
    assert_nothing_is_left()


@pytest.mark.usefixtures("worker")
def test_the_logs_never_tell_of_the_person(shop, tell, redact, caplog, monkeypatch):
    from tasks import broker, deliveries, webhooks  # noqa: PLC0415

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(deliveries, "write", lambda *_: 1 / 0)
    monkeypatch.setitem(webhooks.process_webhooks.options, "max_retries", 0)
    tell(shop, "customers/create", the_customer())
    eventually(lambda: broker.dead_letters.count(lane=str(shop.tenant_id)) == 1)
    monkeypatch.undo()
    tell(shop, "orders/create", the_order(currency="not one"))
    redact(shop)
    done(shop)
    named = webhooks.process_webhooks.message(str(shop.tenant_id), {"text": EMAIL})
    for talker in (broker.logger, logging.getLogger("brokers.poison"), logging.getLogger("brokers.unique")):
        talker.warning("message %s", named)
        talker.warning("message %s", dramatiq.MessageProxy(named))
    said = "\n".join(f"{each.getMessage()} {each.exc_text or ''}" for each in caplog.records)
    assert f"customers/redact of {shop.domain} is done" in said
    assert [trace for trace in TRACES if trace in said] == []


class TestAPersonAsks:
    def test_a_data_request_is_open_until_somebody_has_answered_it(self, shop, worker, ask):
        ask(
            shop,
            "customers/data_request",
            customer={"id": CUSTOMER, "email": EMAIL},
            orders_requested=[ORDER],
            data_request={"id": 9999},
        )
        (request,) = eventually(lambda: requests_of(shop))
        assert (request.kind, request.data_request_id, request.order_ids) == (Kind.DATA_REQUEST, 9999, [ORDER])
        assert request.due_at - request.received_at == timedelta(days=30)
        assert request.done_at is None
        eventually(lambda: any("compliance export" in line for line in shop.events()))
        assert rows_that_say(EMAIL) == []  # it rests encrypted
        # And with the person what they asked by is forgotten
        ask(shop, "customers/redact", customer={"id": CUSTOMER}, orders_to_redact=[])
        eventually(lambda: len([each for each in requests_of(shop) if each.done_at]) == 1)
        assert all(each.addresses is None for each in requests_of(shop))


def unanswered(monkeypatch, error):
    """Whoever asks a shop for a compliance request meets this. Returns the shops asked."""
    from tasks import compliance  # noqa: PLC0415

    asked = []

    def ask(tenant, *_, **__):
        asked.append(tenant)
        raise error

    monkeypatch.setattr(compliance, "shops", SimpleNamespace(ask=ask))
    return asked


class TestAShopIsForgotten:
    def test_a_shop_that_left_is_erased_when_shopify_asks(self, shop, worker, tell, ask):
        tell(shop, "customers/create", the_customer())
        eventually(lambda: one(Customer, shop, shopify_id=CUSTOMER))
        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).status = TenantStatus.UNINSTALLED
        ask(shop, "shop/redact")
        (request,) = done(shop)
        assert request.outcome == "everything of the shop is erased"
        with transaction() as session:
            assert tenants.get(session, shop.tenant_id) is None

    def test_a_shop_that_never_told_us_that_it_left_is_asked(self, shop, worker, ask):
        shop.store.control("DELETE", f"shops/{shop.domain}/tokens")
        ask(shop, "shop/redact")
        assert done(shop)[0].outcome == "everything of the shop is erased"

    def test_a_shop_that_still_has_the_app_is_not_erased(self, shop, worker, ask):
        shop.sync()
        ask(shop, "shop/redact")
        assert done(shop)[0].outcome == "refused: the app is still installed"
        assert shop.figures() == shop.expected()
        assert any("nothing was erased" in line for line in shop.events())

    @pytest.mark.parametrize(
        ("days", "is_asked_for_long", "is_closed"), [(8, True, True), (6, True, False), (8, False, False)]
    )
    def test_a_shop_that_answers_nobody_for_a_week_is_closed(
        self, shop, worker, ask, monkeypatch, *, days, is_asked_for_long, is_closed
    ):
        from tasks.shops import Postponed  # noqa: PLC0415

        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).unreachable_since = now() - timedelta(days=days)
        if is_asked_for_long:
            monkeypatch.setattr("tasks.compliance.ASKED_FOR", timedelta(0))
        unanswered(monkeypatch, Postponed(60.0, "there is no such shop"))
        ask(shop, "shop/redact")
        if is_closed:
            assert done(shop)[0].outcome == "everything of the shop is erased"
        else:
            eventually(lambda: [each for each in requests_of(shop) if "cannot be asked" in (each.outcome or "")])
            assert shop.tenant().status == TenantStatus.ACTIVE

    def test_a_shop_that_refuses_to_say_is_asked_again(self, shop, worker, ask, monkeypatch):
        unanswered(monkeypatch, AccessDenied("HTTP 403"))
        ask(shop, "shop/redact")
        (request,) = eventually(lambda: [each for each in requests_of(shop) if "HTTP 403" in (each.outcome or "")])
        assert request.done_at is None

    def test_a_shop_that_installs_the_app_again_while_it_is_asked_stays(self, shop, worker, ask, monkeypatch):
        from tasks.shops import CredentialsRefused  # noqa: PLC0415

        asked = unanswered(monkeypatch, CredentialsRefused())  # the ones that it had before
        ask(shop, "shop/redact")
        eventually(lambda: len(asked) > 1)
        assert shop.tenant().status == TenantStatus.ACTIVE

    @pytest.mark.parametrize("topic", ["shop/redact", "customers/redact"])
    def test_another_topics_body_erases_nothing_and_is_left_to_a_person(self, shop, worker, ask, topic):
        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).status = TenantStatus.UNINSTALLED
        body = {"orders_requested": [], "data_request": {"id": 1}}
        ask(shop, topic, customer={"id": CUSTOMER}, orders_to_redact=[], **body)
        (request,) = eventually(lambda: requests_of(shop))
        assert request.outcome.startswith("not understood, look at it yourself: ")
        assert request.done_at is None
        with transaction() as session:
            assert tenants.get(session, shop.tenant_id).status == TenantStatus.UNINSTALLED

    def test_what_a_shop_left_in_nats_is_removed_although_the_shop_is_gone(self, shop, worker, tell, ask):
        from tasks import broker, webhooks  # noqa: PLC0415

        message = webhooks.process_webhooks.message(str(uuid.uuid4()), {"text": json.dumps({"email": EMAIL})})
        broker.dead_letters.put("webhooks", message.encode(), message, error="", publish_id=uuid.uuid4().hex)
        with transaction() as session:
            session.delete(tenants.get(session, shop.tenant_id))
        ask(shop, "shop/redact")
        (request,) = done(shop)
        assert request.outcome == "nothing of the shop is here"
        assert request.erased == {"messages": 1}
        assert messages_that_say(EMAIL) == []
