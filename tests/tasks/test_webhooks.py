"""Webhooks as the store sends them: in any order, any number of times, hostile and huge."""

import base64
import json
import random
import time
import uuid
from collections import Counter
from datetime import timedelta

import pytest
from sqlmodel import col, select

from models import tenants
from models.columns import now
from models.database import transaction
from models.orders import Order
from models.quarantine import Quarantined
from models.refetches import Refetch
from models.tenants import TenantInactive, TenantStatus
from models.webhook_deliveries import DeliveryStatus, WebhookDelivery
from shopify.webhooks import WebhookHeaders
from tests.tasks.waiting import equal, eventually

pytestmark = pytest.mark.long


@pytest.fixture
def deliver(worker):
    """Hand deliveries of the store's to the workers, as the web process does."""
    from tasks import webhooks  # noqa: PLC0415

    def hand_over(shop, *deliveries):
        for delivery in deliveries:
            headers = WebhookHeaders.of(delivery["headers"])
            webhooks.accept(shop.tenant_id, headers, base64.b64decode(delivery["body"]))

    return hand_over


def told(topic, body, *, webhook_id=None, triggered_at=None):
    """A delivery of our own making."""
    headers = {
        "X-Shopify-Topic": topic,
        "X-Shopify-Hmac-Sha256": "checked before",
        "X-Shopify-Shop-Domain": "any.myshopify.com",
        "X-Shopify-Webhook-Id": webhook_id or str(uuid.uuid4()),
        "X-Shopify-Triggered-At": (triggered_at or now()).isoformat(),
    }
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"topic": topic, "headers": headers, "body": base64.b64encode(content).decode()}


def an_order(number=1, **changes):
    order = {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/Order/{number}",
        "updated_at": "2026-03-01T10:00:00-05:00",
        "created_at": "2026-03-01T10:00:00-05:00",
        "processed_at": "2026-03-01T10:00:00-05:00",
        "currency": "USD",
        "current_total_price": "10.00",
        "total_price": "10.00",
        "financial_status": "paid",
        "test": False,
        "cancelled_at": None,
        "name": f"#{number}",
        "note": None,
        "customer": None,
        "refunds": [],
        "line_items": [],
    }
    return order | changes


def deliveries_of(shop):
    with transaction() as session:
        query = select(WebhookDelivery).where(col(WebhookDelivery.tenant_id) == shop.tenant_id)
        return session.exec(query.order_by(col(WebhookDelivery.processed_at))).all()


def stored_order(shop, number=1):
    with transaction() as session:
        query = select(Order).where(col(Order.tenant_id) == shop.tenant_id, col(Order.shopify_id) == number)
        return session.exec(query).one_or_none()


@pytest.mark.parametrize("seed", range(3))
def test_everything_that_happens_in_a_shop_arrives_shuffled_and_doubled(shop, deliver, monkeypatch, seed):
    """Versions of the same second too: these are fetched from the store."""
    monkeypatch.setattr("tasks.store.SETTLING", timedelta(seconds=2.1))
    monkeypatch.setattr("tasks.fetches.GONE_AFTER", timedelta(seconds=1))
    monkeypatch.setattr("tasks.fetches.LATE_RETRY", 1.0)
    chance = random.Random(seed)
    shop.sync()
    sent = []

    def act(*actions, same_second=False):
        done = shop.act(*actions, webhooks="return", same_second=same_second)
        sent.extend(done["webhooks"])
        return done["done"]

    customer = act({"action": "createCustomer", "firstName": "Ada", "email": "ada@example.com"})[0]["id"]
    other = act({"action": "createCustomer", "firstName": "Bo", "email": "bo@example.com"})[0]["id"]
    line = {"price": "20.00", "quantity": 3}
    orders = [
        act({"action": "createOrder", "lines": [line], "customerId": chance.choice([customer, other, None])})[0]["id"]
        for _ in range(12)
    ]
    for order in orders:
        act(
            {"action": "updateOrder", "id": order, "note": "first"},
            {"action": "refundOrder", "id": order, "quantity": 1},
            {"action": "updateOrder", "id": order, "note": "last"},
            same_second=True,
        )
    act({"action": "cancelOrder", "id": orders[0]}, {"action": "deleteOrder", "id": orders[1]})
    act({"action": "mergeCustomers", "one": customer, "two": other})
    act({"action": "updateProduct", "id": shop.ids("products")[0]["id"], "title": "New"})
    # When they come in any order, a third of them twice
    arriving = sent + chance.sample(sent, len(sent) // 3)
    chance.shuffle(arriving)
    deliver(shop, *arriving)
    # Then the tables hold what the store holds
    equal(shop.figures, shop.expected, timeout=60)
    eventually(lambda: len(deliveries_of(shop)) == len(sent))
    assert {delivery.status for delivery in deliveries_of(shop)} <= {DeliveryStatus.WRITTEN, DeliveryStatus.SUPERSEDED}


def test_two_versions_of_one_instant_are_settled_by_asking_the_store(shop, deliver):
    shop.sync()
    known = next(order["id"] for order in shop.ids("orders") if not order["cancelled"])
    changes = [{"action": "updateOrder", "id": known, "note": note} for note in ("first", "last")]
    sent = shop.act(*changes, webhooks="return", same_second=True)["webhooks"]
    assert len(sent) == 2
    for delivery in sent:
        delivery["headers"]["X-Shopify-Triggered-At"] = sent[0]["headers"]["X-Shopify-Triggered-At"]
    deliver(shop, sent[1])
    eventually(lambda: stored_order(shop, int(known)).note == "last")
    deliver(shop, sent[0])
    eventually(lambda: any("newer version, will be fetched" in event for event in shop.events()))
    eventually(lambda: stored_order(shop, int(known)).triggered_at is None)  # a read wrote it
    assert stored_order(shop, int(known)).note == "last"


def test_a_delivery_that_comes_again_is_counted_and_not_repeated(shop, deliver):
    delivery = told("orders/create", an_order())
    deliver(shop, delivery, delivery, delivery)
    eventually(lambda: [each.repeats for each in deliveries_of(shop)] == [2])
    assert stored_order(shop).counts
    assert sum("order #1 written" in event for event in shop.events()) == 1


def test_another_body_under_a_known_webhook_id_is_not_taken_for_a_repeat(shop, deliver):
    same = str(uuid.uuid4())
    deliver(shop, told("orders/create", an_order(1), webhook_id=same))
    deliver(shop, told("orders/create", an_order(2), webhook_id=same))
    eventually(lambda: stored_order(shop, 1) and stored_order(shop, 2))


def test_a_nul_costs_its_order_alone_and_is_seen(shop, deliver):
    deliver(shop, told("orders/create", an_order(1, note="a\x00b")), told("orders/create", an_order(2)))
    eventually(lambda: len(deliveries_of(shop)) == 2)
    assert stored_order(shop, 1) is None
    assert stored_order(shop, 2).counts
    assert any(event.startswith("error webhook orders/create: quarantined") for event in shop.events())
    with transaction() as session:
        held = session.exec(select(Quarantined).where(col(Quarantined.tenant_id) == shop.tenant_id)).one()
    assert (held.shopify_id, held.resolved_at) == (1, None)
    # When a later version can be stored, the quarantine is over
    deliver(shop, told("orders/updated", an_order(1, updated_at="2026-03-01T10:00:05-05:00", note="fine")))
    eventually(lambda: stored_order(shop, 1))
    with transaction() as session:
        assert session.get(Quarantined, held.id).resolved_at is not None


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("orders/delete", an_order(1)),  # a captured order, replayed to delete it
        ("orders/create", {"id": 1}),
        ("orders/create", b"not json"),
        ("orders/create", b"[]"),
        ("products/create", an_order(1)),
        ("shop/update", {"id": 1, "myshopify_domain": "another.myshopify.com"}),
    ],
)
def test_a_body_without_its_topics_shape_changes_nothing_and_is_kept(shop, deliver, topic, body):
    deliver(shop, told("orders/create", an_order(1)))
    eventually(lambda: stored_order(shop))
    deliver(shop, told(topic, body))
    eventually(lambda: len(deliveries_of(shop)) == 2)
    assert deliveries_of(shop)[-1].status == DeliveryStatus.QUARANTINED
    assert stored_order(shop).counts


def test_an_unknown_topic_is_recorded_and_done(shop, deliver):
    deliver(shop, told("carts/update", {"id": "x"}))
    eventually(lambda: [each.status for each in deliveries_of(shop)] == [DeliveryStatus.RECORDED])


def test_an_older_update_does_not_raise_a_deleted_order(shop, deliver):
    deliver(shop, told("orders/delete", {"id": 1}))
    eventually(lambda: stored_order(shop))
    deliver(shop, told("orders/updated", an_order(1)))
    eventually(lambda: len(deliveries_of(shop)) == 2)
    assert not stored_order(shop).counts


def test_a_large_webhook_arrives_compressed(shop, deliver):
    deliver(shop, told("orders/create", an_order(1, note_attributes=["x" * 1_200_000])))
    eventually(lambda: stored_order(shop))


def test_a_webhook_that_fits_no_message_is_fetched_instead(shop, deliver):
    shop.sync()
    known = next(order for order in shop.ids("orders") if not order["cancelled"] and not order["test"])
    noise = base64.b85encode(random.Random(1).randbytes(1_200_000)).decode()
    shop.act({"action": "refundOrder", "id": known["id"]})
    deliver(shop, told("orders/updated", an_order(int(known["id"]), note_attributes=[noise])))
    equal(shop.figures, shop.expected)


def the_shop(shop, timezone, *, updated_at):
    return {
        "id": 5,
        "name": "X",
        "myshopify_domain": shop.domain,
        "currency": shop.truth()["currency"],
        "iana_timezone": timezone,
        "plan_display_name": "Plus",
        "updated_at": updated_at.isoformat(),
    }


def test_the_shops_new_time_zone_moves_its_days(shop, deliver):
    shop.sync()
    before = shop.figures()["days"]
    later = now() + timedelta(minutes=1)
    deliver(shop, told("shop/update", the_shop(shop, "Pacific/Auckland", updated_at=later)))
    eventually(lambda: shop.tenant().timezone == "Pacific/Auckland")
    assert shop.figures()["days"] != before
    assert sum(orders for orders, _ in shop.figures()["days"].values()) == shop.expected()["countingOrders"]
    # When what the shop said before comes again, now or for the first time
    deliver(shop, told("shop/update", the_shop(shop, "Pacific/Kiritimati", updated_at=now() - timedelta(days=900))))
    eventually(lambda: len(deliveries_of(shop)) == 2)
    assert shop.tenant().timezone == "Pacific/Auckland"


def test_old_scopes_are_not_believed_but_asked_for(shop, deliver):
    shop.sync()
    deliver(shop, told("app/scopes_update", {"id": 1, "previous": [], "current": ["read_orders"]}))
    eventually(lambda: any("Shopify is asked" in event for event in shop.events()))
    assert "read_all_orders" in shop.tenant().scopes


def test_an_order_that_the_token_may_not_see_is_not_taken_for_gone(open_shop, deliver, monkeypatch):
    monkeypatch.setattr("tasks.fetches.GONE_AFTER", timedelta(0))
    shop = open_shop(scopes=["read_orders", "read_customers", "read_products"])
    shop.sync()
    deliver(shop, told("orders/create", an_order(1)))
    eventually(lambda: stored_order(shop))
    deliver(shop, told("refunds/create", {"id": 9, "order_id": 1, "refund_line_items": []}))
    eventually(lambda: any("may not see it" in event for event in shop.events()))
    assert stored_order(shop).counts


def unpacked(*told_ones):
    """Deliveries as a worker gets them."""
    from tasks.deliveries import Delivery  # noqa: PLC0415

    return [Delivery.of(WebhookHeaders.of(each["headers"]), base64.b64decode(each["body"])) for each in told_ones]


def test_a_burst_is_one_transaction_in_which_each_delivery_has_its_own_outcome(shop):
    from tasks import deliveries  # noqa: PLC0415

    first = told("orders/create", an_order(1))
    written = deliveries.write(
        shop.tenant_id,
        unpacked(
            first,
            told("orders/create", an_order(2, note="a\x00b")),
            told("orders/updated", an_order(1, updated_at="2026-03-01T10:00:05-05:00", note="newest")),
            first,  # came twice
            told("orders/updated", an_order(1, updated_at="2026-03-01T10:00:03-05:00", note="older")),
            told("orders/create", an_order(3)),
            told("orders/delete", {"id": 3}),
            told("orders/updated", an_order(3, updated_at="2026-03-01T10:00:09-05:00")),
            told("products/create", {"what": "ever"}),
            told("themes/publish", {"id": 1}),
        ),
    )
    assert stored_order(shop, 1).note == "newest"
    assert stored_order(shop, 2) is None
    assert stored_order(shop, 3).deleted_at is not None
    statuses = Counter(each.status for each in written)
    assert statuses == {"written": 4, "quarantined": 2, "superseded": 2, "recorded": 1}
    assert [each.repeats for each in deliveries_of(shop) if each.webhook_id == unpacked(first)[0].webhook_id] == [1]
    # The same burst again is counted, and changes nothing
    assert deliveries.write(shop.tenant_id, unpacked(first)) == []
    assert [each.repeats for each in deliveries_of(shop) if each.webhook_id == unpacked(first)[0].webhook_id] == [2]


def test_an_older_version_in_the_same_burst_does_not_resolve_what_could_not_be_stored(shop):
    from tasks import deliveries  # noqa: PLC0415

    newest = an_order(1, updated_at="2026-03-01T10:00:05-05:00", note="a\x00b")
    deliveries.write(shop.tenant_id, unpacked(told("orders/create", an_order(1)), told("orders/updated", newest)))
    with transaction() as session:
        (held,) = session.exec(select(Quarantined).where(col(Quarantined.tenant_id) == shop.tenant_id)).all()
    assert held.resolved_at is None


def test_a_burst_of_large_deliveries_is_divided():
    from tasks import webhooks  # noqa: PLC0415
    from tasks.deliveries import Delivery  # noqa: PLC0415

    def sized(size):
        return Delivery(
            topic="orders/create",
            webhook_id="w",
            triggered_at=now(),
            received_at=now(),
            body_digest="d",
            length=size,
        )

    half = webhooks.MOST_BYTES // 2
    found = [sized(each) for each in (1, half, half, half, 3 * half, 1)]
    portions = list(webhooks._portions(found))
    assert [each for portion in portions for each in portion] == found
    assert [len(portion) for portion in portions] == [2, 2, 1, 1]


def test_a_burst_is_written_in_a_few_transactions(shop, deliver, monkeypatch):
    from tasks import deliveries  # noqa: PLC0415

    sizes, write = [], deliveries.write

    def counted(tenant_id, batch):
        if tenant_id == shop.tenant_id:
            sizes.append(len(batch))
        return write(tenant_id, batch)

    monkeypatch.setattr(deliveries, "write", counted)
    deliver(shop, *[told("orders/create", an_order(number)) for number in range(1, 121)])
    eventually(lambda: len(deliveries_of(shop)) == 120)
    assert sum(sizes) >= 120
    assert len(sizes) < 60


def test_one_shops_burst_delays_no_other_shop(open_shop, deliver, monkeypatch):
    from tasks import deliveries  # noqa: PLC0415

    busy, quiet, finished, write = open_shop(), open_shop(), [], deliveries.write

    def slow(tenant_id, batch):
        time.sleep(0.05 * len(batch))
        finished.extend([tenant_id] * len(batch))
        return write(tenant_id, batch)

    monkeypatch.setattr(deliveries, "write", slow)
    deliver(busy, *[told("orders/create", an_order(number)) for number in range(1, 401)])
    deliver(quiet, told("orders/create", an_order(1)))
    eventually(lambda: stored_order(quiet), timeout=30)
    assert finished.count(busy.tenant_id) < 400


def test_a_failed_delivery_leaves_nothing_of_the_shopper_in_the_log(shop, deliver, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("tasks.deliveries.write", fail)
    deliver(shop, told("orders/create", an_order(1, email="ada@example.com")))
    eventually(lambda: "a defect of ours" in caplog.text)
    assert "process_webhooks" in caplog.text
    assert "ada@example.com" not in caplog.text


def test_a_paused_shops_webhooks_wait_and_are_not_lost(shop, deliver, monkeypatch):
    from tasks import deliveries  # noqa: PLC0415

    monkeypatch.setattr("tasks.webhooks.PAUSED_RETRY", 600)
    write, refused = deliveries.write, []

    def noting(*arguments):
        try:
            return write(*arguments)
        except TenantInactive:
            refused.append(arguments)
            raise

    def set_status(status):
        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).status = status

    monkeypatch.setattr(deliveries, "write", noting)
    set_status(TenantStatus.PAUSED)
    deliver(shop, told("orders/create", an_order(1)))
    eventually(lambda: refused)
    assert stored_order(shop) is None
    set_status(TenantStatus.ACTIVE)
    eventually(lambda: stored_order(shop))


def test_an_uninstalled_app_stops_the_shops_work(shop, deliver, store):
    store.control("DELETE", f"shops/{shop.domain}/tokens")
    deliver(shop, told("app/uninstalled", {"id": 5, "myshopify_domain": shop.domain}))
    eventually(lambda: shop.tenant().status == TenantStatus.UNINSTALLED)
    assert shop.tenant().access_token is None


def test_an_uninstall_that_shopify_does_not_confirm_stops_nothing(shop, deliver):
    """Its body is shop/update's, so whoever captured one of these could send it."""
    shop.configure(faults={"slow": {"every": 1, "seconds": 0.01}})
    deliver(shop, told("app/uninstalled", {"id": 5, "myshopify_domain": shop.domain}))
    eventually(lambda: any("Shopify is asked" in event for event in shop.events()))
    deliver(shop, told("orders/create", an_order(1)))
    eventually(lambda: stored_order(shop))
    assert shop.tenant().status == TenantStatus.ACTIVE


def test_a_fetch_whose_message_was_lost_is_found_by_its_mark(shop, worker):
    from tasks import tending  # noqa: PLC0415

    shop.sync()
    known = shop.ids("orders")[0]["id"]
    shop.act({"action": "cancelOrder", "id": known})
    with transaction() as session:
        lost = now() - timedelta(hours=1)
        session.add(
            Refetch(
                tenant_id=shop.tenant_id, resource="orders", shopify_id=int(known), reason="test",
                first_marked_at=lost, marked_at=lost, due_at=lost,
            )
        )  # fmt: skip
    tending.tend.fn()
    equal(shop.figures, shop.expected)
    with transaction() as session:
        assert session.exec(select(Refetch).where(col(Refetch.tenant_id) == shop.tenant_id)).all() == []


def _postponed(shop, number):
    """Whether a fetch has looked for the order and will look again."""
    with transaction() as session:
        mark = session.get(Refetch, (shop.tenant_id, "orders", number))
    return mark is not None and mark.due_at > mark.marked_at


def test_a_new_order_that_shopify_does_not_know_of_yet_is_not_taken_for_gone(shop, deliver, monkeypatch):
    monkeypatch.setattr("tasks.fetches.LATE_RETRY", 0.2)
    shop.sync()
    # Its refund says nothing of the money: it has to be fetched
    partial = an_order(77, refunds=[{"id": 1}], created_at=now().isoformat(timespec="seconds"))
    deliver(shop, told("orders/create", partial))
    eventually(lambda: stored_order(shop, 77))
    eventually(lambda: _postponed(shop, 77))
    assert stored_order(shop, 77).deleted_at is None
    monkeypatch.setattr("tasks.fetches.GONE_AFTER", timedelta(0))
    eventually(lambda: stored_order(shop, 77).deleted_at)


def test_offboarding_with_webhooks_on_their_way_leaves_nothing(shop, deliver):
    from tasks import tending  # noqa: PLC0415

    deliver(shop, *[told("orders/create", an_order(number)) for number in range(1, 30)])
    with transaction() as session:
        tenants.get(session, shop.tenant_id, for_update=True).status = TenantStatus.ERASING
    tending.tend.fn()  # as when the web process could not send the message
    deliver(shop, *[told("orders/create", an_order(number)) for number in range(30, 40)])

    def is_gone():
        with transaction() as session:
            return tenants.get(session, shop.tenant_id) is None

    eventually(is_gone)
    assert stored_order(shop, 1) is None
    assert stored_order(shop, 39) is None
