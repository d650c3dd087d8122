"""What no webhook told of is found and counted; what webhooks told of is not."""

import dataclasses
from datetime import timedelta

import pytest

from models import refetches, tenants, watermarks
from models.columns import now
from models.database import transaction
from models.versions import Origin
from shopify.errors import AccessDenied
from shopify.resources import RESOURCES
from shopify.row import Row
from tests.tasks.waiting import equal


def caught_up(shop):
    from tasks import catching_up  # noqa: PLC0415

    catching_up.catch_up.fn(str(shop.tenant_id))


def marks_of(shop):
    with transaction() as session:
        return {mark.resource: mark for mark in watermarks.of(session, shop.tenant_id)}


def warnings_of(shop):
    return [event for event in shop.events() if "no webhook had told of" in event]


def test_lost_webhooks_are_mended_and_counted_once(worker, shop):
    shop.sync()
    # Given an order, a customer and a cancellation whose webhooks were lost long ago
    known = shop.ids("orders")[0]["id"]
    long_ago = (now() - timedelta(minutes=20)).isoformat()
    set_back(shop, timedelta(hours=1))
    shop.act({"action": "createOrder", "lines": [{"price": "12.34", "quantity": 1}], "at": long_ago})
    shop.act({"action": "createCustomer", "firstName": "Ada", "at": long_ago})
    shop.act({"action": "cancelOrder", "id": known, "at": long_ago})
    # When the shop is caught up
    caught_up(shop)
    # Then nothing is missing, and it is told
    equal(shop.figures, shop.expected)
    assert {name: mark.repairs for name, mark in marks_of(shop).items()} == {"orders": 2, "customers": 1, "products": 0}
    assert len(warnings_of(shop)) == 2
    # Another look finds nothing to mend
    caught_up(shop)
    assert marks_of(shop)["orders"].repairs == 2


def set_back(shop, by):
    """As if the last look was longer ago."""
    with transaction() as session:
        for mark in watermarks.of(session, shop.tenant_id):
            mark.updated_until -= by


def test_what_is_new_is_read_and_counts_as_no_repair(worker, shop):
    """As where nothing says how webhooks reach us."""
    shop.sync()
    shop.act({"action": "createOrder", "lines": [{"price": "12.34", "quantity": 1}]})
    caught_up(shop)
    equal(shop.figures, shop.expected)
    assert [mark.repairs for mark in marks_of(shop).values()] == [0, 0, 0]
    assert warnings_of(shop) == []


def test_a_look_that_is_cut_short_is_gone_on_with(worker, open_shop, monkeypatch):
    from tasks import catching_up  # noqa: PLC0415
    from tasks.shops import Postponed  # noqa: PLC0415

    shop = open_shop(orders=600, days=30)
    shop.sync()
    begun = now()
    set_back(shop, timedelta(days=3000))
    # Given a budget that is used up after the first page
    asked, ask = [], catching_up._ask

    def ask_once(tenant, resource, cursor, query):
        asked.append(query)
        if cursor is not None:
            raise Postponed(60, "the budget is used up")
        return ask(tenant, resource, cursor, query)

    with monkeypatch.context() as poor:
        poor.setattr(catching_up, "_ask", ask_once)
        caught_up(shop)
        first = marks_of(shop)["orders"].updated_until
        assert first < begun - timedelta(days=5)  # and what was not read is still before it
        caught_up(shop)
    # Then the second look begins where the first ended, and a third comes to the end
    assert first < marks_of(shop)["orders"].updated_until < begun
    caught_up(shop)
    assert marks_of(shop)["orders"].updated_until > begun - 2 * catching_up.OVERLAP
    assert [mark.repairs for mark in marks_of(shop).values()] == [0, 0, 0]


def test_what_a_page_does_not_hold_whole_is_fetched(shop):
    from tasks.store import store  # noqa: PLC0415

    order = Row(1, now() - timedelta(minutes=1), {"name": "#1"}, is_whole=False, incomplete_because="long")
    with tenants.write(shop.tenant_id) as write:
        refetches.mark(write, "orders", [1], "a webhook wanted it")
    with tenants.write(shop.tenant_id) as write:
        stored = store(write, "orders", [order], Origin(read_at=now()), source="catch-up")
    assert [fetch.shopify_id for fetch in stored.fetches] == [1]
    with transaction() as session:
        assert refetches.get(session, shop.tenant_id, "orders", 1).reason == "long"


def test_a_resource_that_is_denied_is_told_once_and_hinders_no_other(worker, shop, monkeypatch):
    from tasks import catching_up  # noqa: PLC0415

    shop.sync()
    ask = catching_up._ask

    def ask_unless_customers(tenant, resource, *rest):
        if resource.name == "customers":
            raise AccessDenied("no read_customers")
        return ask(tenant, resource, *rest)

    monkeypatch.setattr(catching_up, "_ask", ask_unless_customers)
    shop.act({"action": "createOrder", "lines": [{"price": "12.34", "quantity": 1}]})
    for _ in range(2):
        caught_up(shop)
    assert len([event for event in shop.events() if "customers cannot be caught up" in event]) == 1
    equal(lambda: shop.figures()["countingOrders"], lambda: shop.expected()["countingOrders"])
    # And all is forgotten once it is shown again
    monkeypatch.setattr(catching_up, "_ask", ask)
    caught_up(shop)
    assert marks_of(shop)["customers"].error is None


def test_an_update_that_is_shown_late_is_still_read(worker, shop, monkeypatch):
    from tasks import catching_up  # noqa: PLC0415

    shop.sync()
    set_back(shop, timedelta(days=3000))
    shop.act({"action": "createOrder", "lines": [{"price": "12.34", "quantity": 1}]})
    page = catching_up._ask(shop.tenant(), RESOURCES["orders"], None, None)
    monkeypatch.setattr(catching_up, "_ask", lambda *_: dataclasses.replace(page, has_next=True))
    monkeypatch.setattr(catching_up, "MOST_PAGES", 1)
    monkeypatch.setattr(catching_up.catch_up, "send_with_options", lambda **_: None)
    caught_up(shop)
    assert marks_of(shop)["orders"].updated_until <= now() - catching_up.OVERLAP


def test_a_sync_that_ends_incomplete_raises_no_mark(worker, shop, monkeypatch):
    from tasks import sync_steps  # noqa: PLC0415

    shop.sync()
    before = marks_of(shop)
    count = sync_steps._count
    monkeypatch.setattr(sync_steps, "RECOUNT_DELAYS", ())
    monkeypatch.setattr(sync_steps, "_count", lambda work: count(work) + (work.resource.name == "orders"))
    assert shop.sync().status == "incomplete"
    assert marks_of(shop)["customers"].updated_until > before["customers"].updated_until
    assert marks_of(shop)["orders"].updated_until == before["orders"].updated_until


def test_a_shop_without_its_history_is_not_looked_at(shop):
    caught_up(shop)
    assert marks_of(shop) == {}


@pytest.mark.parametrize(("origin", "looks"), [(None, 15), ("http://127.0.0.1:9", 1)])
def test_shops_are_looked_at_every_minute_without_webhooks_and_every_quarter_of_an_hour_with(
    worker, shop, catch_up_all, configured, monkeypatch, *, origin, looks
):
    from tasks import catching_up  # noqa: PLC0415

    shop.sync()
    sent = []
    monkeypatch.setattr(catching_up.catch_up, "send_with_options", lambda *, args, delay: sent.append((args[0], delay)))
    configured(PUBLIC_URL=origin)
    start = now()
    for minute in range(15):
        monkeypatch.setattr(catching_up, "now", lambda minute=minute: start + timedelta(minutes=minute))
        catch_up_all()
    delays = [delay for tenant_id, delay in sent if tenant_id == str(shop.tenant_id)]
    assert len(delays) == looks
    assert all(0 <= delay < catching_up.SPREAD for delay in delays)
