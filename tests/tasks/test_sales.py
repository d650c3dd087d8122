"""The worked example of a shop's sales, carried out in the simulated Shopify: to the cent, by whichever way it came."""

import base64
import random
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from sqlmodel import col, select

import settings
from models import sales_report, tenants
from models.database import transaction
from models.orders import Transaction
from models.versions import Origin
from shopify.client import Client
from shopify.resources import RESOURCES
from shopify.webhooks import WebhookHeaders
from tests.tasks.waiting import equal

pytestmark = pytest.mark.long

#: Gross, discounts, returns, net, shipping, taxes, total.
EXAMPLE = [
    ("150.00", "-15.00", "0.00", "135.00", "10.00", "14.50", "159.50"),
    ("0.00", "0.00", "-18.00", "-18.00", "0.00", "-1.80", "-19.80"),
    ("0.00", "0.00", "-40.00", "-40.00", "-4.00", "-4.90", "-48.90"),
    ("0.00", "0.00", "-72.00", "-72.00", "-6.00", "-7.80", "-85.80"),
]
TOTALS = ("150.00", "-15.00", "-130.00", "5.00", "0.00", "0.00", "5.00")
FIRST = datetime.combine(datetime.now(UTC).date() - timedelta(days=10), time(15), UTC)


@pytest.fixture
def shop(open_shop):
    shop = open_shop(orders=0, customers=1, products=3)
    with tenants.write(shop.tenant_id) as write:
        write.tenant.currency, write.tenant.timezone = "USD", "America/New_York"
    return shop


@pytest.fixture
def example(shop):
    """Does one day of the example after the other; each step returns the webhooks that it sent."""

    def days():
        def at(day, hour=0):
            return (FIRST + timedelta(days=day, hours=hour)).isoformat()

        def act(*deeds):
            return shop.act(*deeds, webhooks="return")

        goods = [{"price": "50.00", "quantity": 2}, {"price": "30.00"}, {"price": "20.00"}]
        terms = {"taxPermille": 100, "discountPercent": 10, "shipping": "10.00", "paid": False}
        placed = act({"action": "createOrder", "lines": goods, "at": at(0), **terms})
        order, lines = placed["done"][0]["id"], placed["done"][0]["lineIds"]
        yield placed["webhooks"]
        edit = {"action": "editOrder", "id": order, "at": at(1), "remove": {"lineId": lines[2], "quantity": 1}}
        yield act(edit, {"action": "payOrder", "id": order, "at": at(1, hour=1)})["webhooks"]
        refund = {"units": {lines[0]: 1}, "shipping": "4.00", "amount": "48.90"}
        yield act({"action": "refundOrder", "id": order, "at": at(2), **refund})["webhooks"]
        yield act({"action": "cancelOrder", "id": order, "at": at(3)})["webhooks"]

    return days


def sales(shop):
    """The report of the example's days."""
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id)
        first, last = sales_report.span(session, tenant)
        return sales_report.report(session, tenant, first=first, last=last)


def transactions(shop):
    with transaction() as session:
        kept = session.exec(select(Transaction).where(col(Transaction.tenant_id) == shop.tenant_id)).all()
        return sorted((each.kind, each.amount) for each in kept)


def told(sales):
    amounts = (sales.gross, sales.discounts, sales.returns, sales.net, sales.shipping, sales.taxes, sales.total)
    return tuple(f"{amount:.2f}" for amount in amounts)


def by_webhooks(shop, webhooks):
    """Write whole payloads alone: what they cannot tell would be fetched. Returns what is to be."""
    from tasks import deliveries  # noqa: PLC0415

    whole = [each for each in webhooks if each["topic"].startswith("orders/") and each["topic"] != "orders/edited"]
    taken = [
        deliveries.Delivery.of(WebhookHeaders.of(each["headers"]), base64.b64decode(each["body"])) for each in whole
    ]
    return [fetch for written in deliveries.write(shop.tenant_id, taken) for fetch in written.fetches]


def by_reading(shop, *, by_id):
    from tasks.store import store  # noqa: PLC0415

    resource = RESOURCES["orders"]
    token = shop.tenant().access_token.get_secret_value()
    client = Client(shop.domain, token, origin=settings.load().shopify_api_origin)
    page = client.page(resource)
    nodes, read_at = page.nodes, page.read_at
    if by_id:
        nodes = [client.node(resource, int(node["id"].rpartition("/")[2])).node for node in nodes]
    rows, refused = resource.rows(nodes)
    assert not refused
    with tenants.write(shop.tenant_id) as write:
        return store(write, "orders", rows, Origin(read_at=read_at), source="test", by_id=by_id).fetches


WAYS = {
    "webhooks": by_webhooks,
    "a page": lambda shop, _: by_reading(shop, by_id=False),
    "by id": lambda shop, _: by_reading(shop, by_id=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_worked_example_comes_out_to_the_cent(shop, example, way):
    for day, webhooks in enumerate(example(), 1):
        # When a day's versions were written, then nothing is left to be fetched, and its days are exact
        assert not WAYS[way](shop, webhooks)
        report = sales(shop)
        assert [told(each.sales) for each in report.days] == EXAMPLE[:day]
        assert (report.currency, report.days[0].date) == ("USD", FIRST.date())
    assert told(report.totals) == TOTALS


def test_a_refund_on_its_way_is_a_return_from_its_day_and_is_read_again_until_it_arrived(shop, monkeypatch):
    from tasks import fetches, tending  # noqa: PLC0415
    from tasks.store import Fetch  # noqa: PLC0415

    monkeypatch.setattr("tasks.store.PENDING_REREADS", (timedelta(0), timedelta(0)))
    monkeypatch.setattr("models.refetches.FORGOTTEN_AFTER", timedelta(0))
    asked = []
    monkeypatch.setattr(
        fetches, "enqueue", lambda tenant_id, wanted: asked.extend((tenant_id, each) for each in wanted)
    )
    # Given a refund whose money is on its way
    made = shop.act(
        {"action": "createOrder", "lines": [{"price": "100.00"}], "taxPermille": 100, "at": FIRST.isoformat()}
    )
    order = made["done"][0]
    pending = {"units": {order["lineIds"][0]: 1}, "pending": True, "at": (FIRST + timedelta(days=1)).isoformat()}
    shop.act({"action": "refundOrder", "id": order["id"], **pending})
    by_reading(shop, by_id=True)
    # Then it is a return of its day, and not a return of less than nothing
    days = [told(each.sales) for each in sales(shop).days]
    assert days[1] == ("0.00", "0.00", "-100.00", "-100.00", "0.00", "-10.00", "-110.00")
    # And it is read again, and says the same once it has arrived
    for is_settled in (False, True):
        tending.tend.fn()
        ours = [each for tenant_id, each in asked if tenant_id == shop.tenant_id]
        assert ours == [Fetch("orders", int(order["id"]))]
        asked.clear()
        if is_settled:
            shop.act({"action": "settleRefund", "id": order["id"]})
        fetches.fetch_resource.fn(str(shop.tenant_id), "orders", int(order["id"]))
        assert [told(each.sales) for each in sales(shop).days] == days
    tending.tend.fn()
    assert not [each for tenant_id, each in asked if tenant_id == shop.tenant_id]


def test_the_worked_example_arrives_shuffled_and_doubled_with_all_of_its_webhooks(shop, example, worker, monkeypatch):
    from tasks import webhooks  # noqa: PLC0415

    monkeypatch.setattr("tasks.store.SETTLING", timedelta(seconds=2.1))
    sent = [webhook for day in example() for webhook in day] * 2
    random.Random(3).shuffle(sent)
    for each in sent:
        webhooks.accept(shop.tenant_id, WebhookHeaders.of(each["headers"]), base64.b64decode(each["body"]))
    equal(lambda: [told(each.sales) for each in sales(shop).days], lambda: EXAMPLE)
    moved = [("refund", Decimal("48.90")), ("refund", Decimal("85.80")), ("sale", Decimal("139.70"))]
    equal(lambda: transactions(shop), lambda: moved)
    assert [told(each.sales) for each in sales(shop).days] == EXAMPLE


def test_what_is_kept_back_from_syncs_pays_for_any_fetch_by_id(migrated):
    from tasks.shops import RESERVE  # noqa: PLC0415

    assert all(resource.node_cost <= RESERVE for resource in RESOURCES.values())


def test_the_worked_example_comes_out_of_a_bulk_operation_whose_file_tells_of_refunds_in_part(shop, example, worker):
    list(example())
    run = shop.sync(mode="bulk")
    assert (run.status, run.error) == ("completed", None)
    equal(lambda: [told(each.sales) for each in sales(shop).days], lambda: EXAMPLE)
    assert len(transactions(shop)) == 3
