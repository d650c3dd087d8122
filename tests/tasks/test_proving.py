"""Every day is counted, here and there; what no webhook told of is found by it and mended."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from models import proofs, tenants, watermarks
from models.columns import now
from models.database import transaction
from models.proofs import Proof
from models.resources import TABLES
from shopify.client import Client
from shopify.errors import AccessDenied, QueryRefused
from tests.tasks.waiting import eventually


@pytest.fixture
def proved():
    """Looks at a shop until nothing is due. Its days by resource and date."""
    from tasks import proving  # noqa: PLC0415

    def is_proved(shop):
        proving.prove.fn(str(shop.tenant_id))
        with transaction() as session:
            return shop.tenant_id not in proofs.shops_due(session, now(), resources=proving.COUNTED)

    def prove(shop):
        eventually(lambda: is_proved(shop), timeout=60)
        return days_of(shop)

    return prove


def days_of(shop):
    with transaction() as session:
        found = session.exec(select(Proof).where(col(Proof.tenant_id) == shop.tenant_id)).all()
    return {(each.resource, each.day): each for each in found}


def repairs_of(shop):
    with transaction() as session:
        return {mark.resource: mark.repairs for mark in watermarks.of(session, shop.tenant_id)}


def later(shop, minutes=11):
    """As if so many minutes had passed since the last look."""
    with transaction() as session:
        session.execute(
            text("update proofs set due_at = due_at - :by, checked_at = checked_at - :by where tenant_id = :id"),
            {"by": timedelta(minutes=minutes), "id": shop.tenant_id},
        )


def all_due(shop):
    later(shop, minutes=60 * 24 * 8)


def lose(shop, resource, shopify_id):
    """As if neither a webhook nor a read had told of it."""
    with transaction() as session:
        ids = {"tenant": shop.tenant_id, "id": int(shopify_id)}
        for child, parent in (("line_items", "order"), ("refunds", "order"), ("variants", "product")):
            if f"{parent}s" == resource:
                session.execute(
                    text(f"delete from {child} where tenant_id = :tenant and {parent}_shopify_id = :id"), ids
                )
        session.execute(text(f"delete from {resource} where tenant_id = :tenant and shopify_id = :id"), ids)


def created(shop, resource, shopify_id):
    with transaction() as session:
        model = TABLES[resource].model
        return session.exec(
            select(model.created_at).where(
                col(model.tenant_id) == shop.tenant_id, col(model.shopify_id) == int(shopify_id)
            )
        ).one()


def warnings_of(shop):
    return [event for event in shop.events() if event.startswith("warning proof")]


def test_every_day_of_every_resource_is_counted_by_the_store_and_agrees(worker, open_shop, proved):
    shop = open_shop(orders=300, days=40, timezone="Asia/Tokyo")
    shop.sync()
    days = proved(shop)
    for resource in ("orders", "customers", "products"):
        counted = sorted(day for name, day in days if name == resource)
        # No day of its calendar is missing, the last is today's
        assert counted == [counted[0] + timedelta(days=number) for number in range(len(counted))]
        assert counted[-1] == (now() - timedelta(minutes=10)).astimezone(ZoneInfo("Asia/Tokyo")).date()
        of_resource = [each for (name, _), each in days.items() if name == resource]
        assert all(each.store_count == each.our_count and each.reason is None for each in of_resource)
        assert all(each.mended == 0 and each.checked_at is not None for each in of_resource)
        moments = [created(shop, resource, each["id"]) for each in shop.ids(resource)]
        old = [moment for moment in moments if moment < now() - timedelta(minutes=10)]
        assert sum(each.store_count for each in of_resource) == len(old)
    # And they are the shop's own days
    first = shop.ids("orders")[0]["id"]
    day = created(shop, "orders", first).astimezone(ZoneInfo("Asia/Tokyo")).date()
    assert days["orders", day].store_count >= 1
    assert repairs_of(shop) == {"orders": 0, "customers": 0, "products": 0}


def test_ten_empty_years_cost_some_counts(worker, open_shop, proved, monkeypatch):
    shop = open_shop(orders=5, customers=1, products=1, days=3)
    shop.act({"action": "createOrder", "at": "2015-03-01T12:00:00Z"})
    shop.sync()
    asked, counts = [], Client.counts

    def counted(self, resource, searches):
        asked.extend(searches)
        return counts(self, resource, searches)

    monkeypatch.setattr(Client, "counts", counted)
    days = proved(shop)
    assert len(asked) < 60
    assert days["orders", date(2015, 3, 1)].store_count == 1
    assert days["orders", date(2019, 7, 1)].store_count == 0


def test_what_was_lost_is_fetched_and_counted(worker, shop, proved):
    shop.sync()
    proved(shop)
    lost = [("orders", shop.ids("orders")[3]["id"]), ("customers", shop.ids("customers")[3]["id"])]
    places = [(resource, created(shop, resource, each).date()) for resource, each in lost]
    for resource, each in lost:
        lose(shop, resource, each)
    all_due(shop)
    proved(shop)
    eventually(lambda: repairs_of(shop) == {"orders": 1, "customers": 1, "products": 0})
    assert len(warnings_of(shop)) == 2
    # Then the days agree again, and tell what was mended
    days = proved(shop)
    for place in places:
        assert (days[place].mended, days[place].reason) == (1, None)
        assert days[place].store_count == days[place].our_count
    assert shop.figures() == shop.expected()


def test_a_day_on_which_we_have_nothing_at_all_is_mended(worker, open_shop, proved):
    shop = open_shop(orders=40, days=20)
    shop.sync()
    old = now() - timedelta(minutes=15)
    victims = [each for each in shop.ids("orders") if created(shop, "orders", each["id"]) < old]
    proved(shop)
    for each in victims:
        lose(shop, "orders", each["id"])
    all_due(shop)
    proved(shop)
    eventually(lambda: repairs_of(shop)["orders"] == len(victims))
    assert shop.figures() == shop.expected()


def test_what_is_older_than_all_that_we_have_is_found(worker, open_shop, proved):
    shop = open_shop(orders=5, days=3)
    shop.act({"action": "createOrder", "at": "2024-03-01T12:00:00Z"})
    shop.sync()
    oldest = next(each["id"] for each in shop.ids("orders") if created(shop, "orders", each["id"]).year == 2024)
    lose(shop, "orders", oldest)
    proved(shop)
    eventually(lambda: repairs_of(shop)["orders"] == 1)
    assert proved(shop)["orders", date(2024, 3, 1)].mended == 1
    assert shop.figures() == shop.expected()


def test_a_version_that_was_lost_on_a_day_that_differs_is_fetched(worker, shop, proved):
    long_ago = now() - timedelta(days=2)
    made = shop.act({"action": "createOrder", "lines": [{"price": "10.00"}], "at": long_ago.isoformat()})
    shop.sync()
    # Given an order whose payment was lost, and one of its day that was lost altogether
    at = (long_ago + timedelta(hours=1)).isoformat()
    shop.act({"action": "updateOrder", "id": made["done"][0]["id"], "note": "paid", "at": at})
    shop.act({"action": "createOrder", "lines": [{"price": "20.00"}], "at": long_ago.isoformat()})
    proved(shop)
    eventually(lambda: repairs_of(shop)["orders"] == 2)
    assert shop.figures() == shop.expected()


def test_a_deletion_is_left_to_its_webhook_for_ten_minutes_and_then_found(worker, shop, proved, monkeypatch):
    monkeypatch.setattr("tasks.fetches.GONE_AFTER", timedelta(0))
    shop.sync()
    proved(shop)
    gone = shop.ids("orders")[5]["id"]
    place = ("orders", created(shop, "orders", gone).date())
    shop.act({"action": "deleteOrder", "id": gone})
    all_due(shop)
    # Given a first look, which finds the day to differ
    before = proved(shop)[place]
    assert before.store_count == before.our_count - 1
    assert before.reason == "1 here is not among the store's"
    assert shop.figures() != shop.expected()
    # When it is still there ten minutes later, no webhook has told of it
    later(shop)
    proved(shop)
    eventually(lambda: repairs_of(shop)["orders"] == 1)
    assert (proved(shop)[place].mended, shop.figures()) == (1, shop.expected())


def test_a_deletion_whose_webhook_comes_is_no_repair(worker, shop, proved):
    from tasks.store import bury  # noqa: PLC0415

    shop.sync()
    proved(shop)
    gone = shop.ids("orders")[5]["id"]
    place = ("orders", created(shop, "orders", gone).date())
    shop.act({"action": "deleteOrder", "id": gone})
    all_due(shop)
    proved(shop)
    with tenants.write(shop.tenant_id) as write:
        bury(write, "orders", int(gone), triggered_at=now())
    later(shop)
    day = proved(shop)[place]
    assert (day.store_count, day.mended, day.reason, day.suspects) == (day.our_count, 0, None, [])
    assert (repairs_of(shop)["orders"], warnings_of(shop)) == (0, [])


def test_what_is_younger_than_ten_minutes_is_left_to_webhooks(worker, shop, proved):
    shop.sync()
    shop.act({"action": "createOrder", "at": (now() - timedelta(minutes=5)).isoformat()})
    proved(shop)
    assert (repairs_of(shop)["orders"], warnings_of(shop)) == (0, [])


def test_what_is_quarantined_counts_as_ours_and_is_told(worker, shop, proved):
    victim = shop.ids("orders")[0]["id"]
    shop.act({"action": "updateOrder", "id": victim, "note": "before\x00after"})
    shop.sync()
    days = proved(shop)
    told = [each for each in days.values() if each.reason]
    assert [each.reason for each in told] == ["1 could not be stored and is quarantined"]
    assert told[0].store_count == told[0].our_count
    assert repairs_of(shop)["orders"] == 0


def test_a_count_that_lags_is_told_and_mends_nothing(worker, shop, proved, monkeypatch):
    shop.sync()
    proved(shop)
    counts = Client.counts

    def one_more(self, resource, searches):
        found = counts(self, resource, searches)
        found.numbers[-1] += resource.name == "products"
        return found

    all_due(shop)
    with monkeypatch.context() as lagging:
        lagging.setattr(Client, "counts", one_more)
        days = proved(shop)
    differing = [each for each in days.values() if each.reason]
    assert {each.resource for each in differing} == {"products"}
    assert all(each.reason.startswith("the store counts ") for each in differing)
    assert all(each.due_at < now() + timedelta(minutes=12) for each in differing)
    later(shop)
    assert all(each.reason is None for each in proved(shop).values())
    assert warnings_of(shop) == []


def test_orders_that_the_token_may_not_see_are_no_proof_and_bury_nothing(worker, open_shop, proved):
    shop = open_shop(orders=200, days=200)
    shop.sync()
    before = shop.figures()
    shop.configure(scopes=["read_orders", "read_customers", "read_products"])
    shop.sync()
    days = proved(shop)
    hidden = [each for each in days.values() if each.resource == "orders" and each.store_count is None]
    assert {each.reason for each in hidden} == {"history limited to 60 days: the token lacks read_all_orders"}
    assert all(each.our_count is not None for each in hidden)
    assert max(each.day for each in hidden) < (now() - timedelta(days=58)).date()
    assert len(hidden) < len([each for each in days.values() if each.resource == "orders"])
    assert shop.figures() == before
    assert not any(each.suspects for each in days.values())


@pytest.mark.parametrize("error", [AccessDenied("no read_customers"), QueryRefused("no such field")])
def test_a_shop_that_refuses_to_count_is_told_once_and_asked_again_a_day_later(
    worker, shop, proved, monkeypatch, error
):
    shop.sync()
    counts, asked = Client.counts, []

    def unless_customers(self, resource, searches):
        if resource.name == "customers":
            asked.append(searches)
            raise error
        return counts(self, resource, searches)

    monkeypatch.setattr(Client, "counts", unless_customers)
    days = proved(shop)
    assert len(asked) == 1
    refused = [each for each in days.values() if each.resource == "customers"]
    assert {(each.store_count, each.reason) for each in refused} == {(None, f"the shop does not count them: {error}")}
    assert all(each.store_count is not None for each in days.values() if each.resource != "customers")
    all_due(shop)
    proved(shop)
    assert len(asked) == 2
    assert len([event for event in shop.events() if "customers cannot be proved" in event]) == 1


def test_a_shop_that_counts_no_further_than_at_least_is_told(worker, shop, proved, monkeypatch):
    shop.sync()
    counts = Client.counts

    def at_least(self, resource, searches):
        found = counts(self, resource, searches)
        found.numbers[:] = [None if number else 0 for number in found.numbers]
        return found

    monkeypatch.setattr(Client, "counts", at_least)
    days = proved(shop)
    reasons = {each.reason for each in days.values() if each.our_count}
    assert reasons == {"the shop does not count them exactly"}
    assert all(each.store_count == 0 for each in days.values() if not each.our_count)


def test_a_shop_at_its_limit_is_gone_on_with(worker, shop, proved):
    shop.sync()
    shop.configure(faults={"rate_limited": {"next": 1, "retry_after": "0.2"}})
    from tasks import proving  # noqa: PLC0415

    proving.prove.fn(str(shop.tenant_id))
    assert all(each.checked_at is None for each in days_of(shop).values() if each.resource == "customers")
    shop.configure(faults=None)
    eventually(lambda: all(each.checked_at for each in proved(shop).values()))


def test_a_changed_time_zone_makes_the_proof_anew(worker, shop, proved):
    from shopify.shop import ShopInfo  # noqa: PLC0415
    from tasks import sync_steps  # noqa: PLC0415

    shop.sync()
    proved(shop)
    with tenants.write(shop.tenant_id) as write:
        moved = ShopInfo(1, "moved", shop.domain, "USD", "Pacific/Auckland", "Plus", updated_at=now())
        sync_steps.store_shop(write, moved)
    assert days_of(shop) == {}
    days = proved(shop)
    first = shop.ids("orders")[0]["id"]
    day = created(shop, "orders", first).astimezone(ZoneInfo("Pacific/Auckland")).date()
    assert days["orders", day].store_count == days["orders", day].our_count >= 1


def test_days_of_another_time_zone_are_not_written(worker, shop, proved, monkeypatch):
    """The shop moves while a look at it is under way."""
    from tasks import proving  # noqa: PLC0415

    shop.sync()
    counts = Client.counts

    def move(self, resource, searches):
        with tenants.write(shop.tenant_id) as write:
            write.tenant.timezone = "Pacific/Auckland"
            proofs.forget(write)
            proofs.extend(write, resource.name, first=date(2026, 1, 1), last=now().date())
        return counts(self, resource, searches)

    with monkeypatch.context() as moving:
        moving.setattr(Client, "counts", move)
        proving.prove.fn(str(shop.tenant_id))
    assert days_of(shop)
    assert not any(each.checked_at for each in days_of(shop).values())


def test_a_shop_without_its_history_is_not_proved(shop, proved):
    from tasks import proving  # noqa: PLC0415

    with transaction() as session:
        assert shop.tenant_id not in proofs.shops_due(session, now(), resources=proving.COUNTED)
    proving.prove.fn(str(shop.tenant_id))
    assert days_of(shop) == {}


def test_what_shopify_does_not_count_is_not_asked_for_again_and_again(worker, open_shop, proved):
    shop = open_shop(scopes=["read_orders", "read_all_orders", "read_customers", "read_products", "read_inventory"])
    shop.sync()
    assert {name for name, _ in proved(shop)} == {"orders", "customers", "products"}
    assert "inventory_items" in repairs_of(shop)


def test_every_day_is_counted_again_within_a_week_and_the_latest_daily(worker, open_shop, proved):
    shop = open_shop(orders=60, days=30)
    shop.sync()
    today = max(day for _, day in proved(shop))
    for (_, day), each in days_of(shop).items():
        within = timedelta(days=1) if (today - day).days < 6 else timedelta(days=7)
        assert each.due_at <= now() + within, day
        assert each.due_at > now() + within * 0.7 or day > today - timedelta(days=9)


def test_shops_are_looked_at_as_long_as_something_is_due(worker, shop, proved, prove_all, monkeypatch):
    from tasks import proving  # noqa: PLC0415

    shop.sync()
    sent = []
    monkeypatch.setattr(proving.prove, "send_with_options", lambda *, args, delay: sent.append((args[0], delay)))
    prove_all()
    assert [0 <= delay < proving.SPREAD for tenant_id, delay in sent if tenant_id == str(shop.tenant_id)] == [True]
    proved(shop)
    sent.clear()
    prove_all()
    assert str(shop.tenant_id) not in [tenant_id for tenant_id, _ in sent]
