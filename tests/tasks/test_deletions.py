"""Deletions that no webhook told of are found by the shop's events, within minutes."""

from datetime import timedelta

import pytest
from sqlmodel import col, select

from models import refetches, watermarks
from models.columns import now
from models.database import transaction
from models.refetches import Refetch
from shopify.client import Client
from shopify.errors import AccessDenied, QueryRefused
from shopify.resources import RESOURCES
from tests.tasks.waiting import eventually


def caught_up(shop):
    from tasks import catching_up  # noqa: PLC0415

    catching_up.catch_up.fn(str(shop.tenant_id))


def marks_of(shop):
    with transaction() as session:
        return {mark.resource: mark for mark in watermarks.of(session, shop.tenant_id)}


def set_back(shop, by):
    """As if the last look was longer ago."""
    with transaction() as session:
        for mark in watermarks.of(session, shop.tenant_id):
            mark.deletions_until -= by


def without_orders(shop):
    made = shop.act({"action": "createCustomer", "firstName": "Ada", "at": (now() - timedelta(days=3)).isoformat()})
    return made["done"][0]["id"]


def test_deletions_without_webhooks_are_found_and_counted_once(worker, shop):
    customer = without_orders(shop)
    shop.sync()
    set_back(shop, timedelta(hours=1))
    at = (now() - timedelta(minutes=20)).isoformat()
    shop.act(
        {"action": "deleteOrder", "id": shop.ids("orders")[3]["id"], "at": at},
        {"action": "deleteCustomer", "id": customer, "at": at},
        {"action": "deleteProduct", "id": shop.ids("products")[3]["id"], "at": at},
    )
    caught_up(shop)
    eventually(lambda: shop.figures() == shop.expected())
    eventually(lambda: [mark.repairs for mark in marks_of(shop).values()] == [1, 1, 1])
    assert len([event for event in shop.events() if "were deleted and no webhook" in event]) == 3
    set_back(shop, timedelta(hours=1))
    caught_up(shop)
    assert [mark.repairs for mark in marks_of(shop).values()] == [1, 1, 1]


def test_what_was_just_deleted_is_buried_and_counts_as_no_repair(worker, shop):
    """Its webhook may be under way."""
    shop.sync()
    shop.act({"action": "deleteOrder", "id": shop.ids("orders")[3]["id"]})
    caught_up(shop)
    eventually(lambda: shop.figures() == shop.expected())
    assert [mark.repairs for mark in marks_of(shop).values()] == [0, 0, 0]
    assert not [event for event in shop.events() if "were deleted and no webhook" in event]


def test_what_was_deleted_while_the_history_was_read_is_found_by_the_first_look(worker, shop):
    """The mark of updates rises first, and must not hide it."""
    from tasks import catching_up  # noqa: PLC0415

    run = shop.sync()
    assert all(mark.deletions_until < run.started_at for mark in marks_of(shop).values())
    set_back(shop, timedelta(hours=3))
    at = (now() - timedelta(hours=2)).isoformat()
    shop.act({"action": "deleteOrder", "id": shop.ids("orders")[3]["id"], "at": at})
    for mark in marks_of(shop).values():
        catching_up._catch_up(shop.tenant(), RESOURCES[mark.resource], mark)
    caught_up(shop)
    eventually(lambda: shop.figures() == shop.expected())


def test_the_orders_of_a_customer_whose_merge_was_lost_go_to_the_one_that_is_left(worker, shop):
    """A merge changes no order: nothing but a fetch tells."""
    from tests.tasks.test_completeness import best_of, truly_best_of  # noqa: PLC0415

    shop.sync()
    one, two = (each for each, _ in sorted(best_of(shop))[:2])
    shop.act({"action": "mergeCustomers", "one": one, "two": two})
    assert best_of(shop) != truly_best_of(shop)
    caught_up(shop)
    eventually(lambda: best_of(shop) == truly_best_of(shop))


def test_an_event_of_what_is_alive_buries_nothing(worker, shop, monkeypatch):
    shop.sync()
    before = shop.figures()
    alive = int(shop.ids("orders")[3]["id"])
    deletions = Client.deletions

    def wrong(self, resource, after, since):
        found = deletions(self, resource, after, since)
        if resource.name == "orders":
            found.deleted_at[alive] = now() - timedelta(hours=1)
        return found

    monkeypatch.setattr(Client, "deletions", wrong)
    caught_up(shop)

    def marks_left():
        with transaction() as session:
            return session.exec(select(Refetch).where(col(Refetch.tenant_id) == shop.tenant_id)).all()

    eventually(lambda: not marks_left())
    assert shop.figures() == before
    assert marks_of(shop)["orders"].repairs == 0


@pytest.mark.parametrize("error", [AccessDenied("no events"), QueryRefused("Field 'events' doesn't exist")])
def test_a_shop_that_refuses_its_events_is_told_of_once_and_hinders_nothing_else(worker, shop, monkeypatch, error):
    shop.sync()
    asked = []

    def refuse(self, resource, after, since):
        asked.append(resource.name)
        raise error

    monkeypatch.setattr(Client, "deletions", refuse)
    shop.act({"action": "createOrder", "lines": [{"price": "12.34", "quantity": 1}]})

    def is_refused():
        caught_up(shop)
        return all(mark.deletions_refused_at for mark in marks_of(shop).values())

    eventually(is_refused)
    assert set(asked) == {"customers", "orders", "products"}
    assert shop.figures() == shop.expected()
    asked.clear()
    caught_up(shop)
    assert asked == []
    assert len([event for event in shop.events() if "deletions of orders are found by counting alone" in event]) == 1
    # Asked again a day later, it goes on where it ended
    monkeypatch.undo()
    with transaction() as session:
        for mark in watermarks.of(session, shop.tenant_id):
            mark.deletions_refused_at -= timedelta(days=2)
    shop.act({"action": "deleteOrder", "id": shop.ids("orders")[3]["id"]})
    caught_up(shop)
    assert marks_of(shop)["orders"].deletions_refused_at is None
    eventually(lambda: shop.figures() == shop.expected())


def test_a_shop_that_fails_at_its_events_is_caught_up_all_the_same(worker, shop, monkeypatch):
    """A server that does not know the question may answer it with its failure."""
    from shopify.errors import ShopUnavailable  # noqa: PLC0415
    from tasks import catching_up  # noqa: PLC0415

    shop.sync()
    asked, sent = [], []

    def fail(self, resource, after, since):
        asked.append(self._address)
        raise ShopUnavailable("HTTP 500")

    def of_this_shop():  # another test's shop may still be looked at
        again = [options for options in sent if options["args"] == (str(shop.tenant_id),)]
        return sum(shop.domain in address for address in asked), len(again)

    monkeypatch.setattr(Client, "deletions", fail)
    monkeypatch.setattr(catching_up.catch_up, "send_with_options", lambda **options: sent.append(options))
    monkeypatch.setattr("tasks.waits.SHORTEST_ABSENCE", 0.0)
    caught_up(shop)
    assert of_this_shop() == (1, 1)
    caught_up(shop)
    # Then it is not asked again at once
    assert of_this_shop() == (1, 1)
    assert shop.tenant().unreachable_since is None


def test_a_shop_whose_answers_hold_no_events_refuses_them(shop, monkeypatch):
    from shopify.answers import Answer  # noqa: PLC0415

    monkeypatch.setattr(Client, "execute", lambda self, query, variables=None: Answer({}, None))
    with pytest.raises(QueryRefused):
        Client(shop.domain, "shpat_x").deletions(RESOURCES["orders"], None, now())


def test_a_look_that_is_cut_short_is_gone_on_with(worker, open_shop, monkeypatch):
    from tasks import deletions  # noqa: PLC0415

    shop = open_shop(orders=600, days=30)
    shop.sync()
    set_back(shop, timedelta(hours=2))
    gone = shop.ids("orders")[:300]
    start = now() - timedelta(hours=1)
    shop.act(
        *[
            {"action": "deleteOrder", "id": each["id"], "at": (start + timedelta(seconds=number)).isoformat()}
            for number, each in enumerate(gone)
        ]
    )
    monkeypatch.setattr(deletions, "MOST_PAGES", 1)
    monkeypatch.setattr(deletions, "FETCHED_AT_ONCE", 0)
    caught_up(shop)
    assert start < marks_of(shop)["orders"].deletions_until < start + timedelta(minutes=10)
    caught_up(shop)
    assert marks_of(shop)["orders"].deletions_until > now() - 2 * deletions.LATE
    with transaction() as session:
        marks = session.exec(select(Refetch).where(col(Refetch.tenant_id) == shop.tenant_id)).all()
    assert {mark.shopify_id for mark in marks} == {int(each["id"]) for each in gone}
    assert all(mark.is_lost for mark in marks)


def test_a_deletion_is_believed_at_once_of_what_is_old_and_later_of_what_may_be_new(shop):
    from models import tenants  # noqa: PLC0415
    from models.refetches import mark  # noqa: PLC0415
    from models.versions import Origin  # noqa: PLC0415
    from shopify.row import Row  # noqa: PLC0415
    from tasks import fetches  # noqa: PLC0415
    from tasks.shops import Postponed  # noqa: PLC0415
    from tasks.store import store  # noqa: PLC0415

    made = {1: now() - timedelta(days=1), 2: now() - timedelta(seconds=5)}
    rows = [Row(each, at, {"name": f"#{each}", "created_at": at}) for each, at in made.items()]
    with tenants.write(shop.tenant_id) as write:
        store(write, "orders", rows, Origin(read_at=now()), source="sync")
        mark(write, "orders", made, "a test")
    with transaction() as session:
        marks = {each: refetches.get(session, shop.tenant_id, "orders", each) for each in made}
    fetches._fetch(shop.tenant(), RESOURCES["orders"], marks[1])
    with pytest.raises(Postponed):
        fetches._fetch(shop.tenant(), RESOURCES["orders"], marks[2])
