"""Inventory: taken where the token may see it, right to the last level, and no lack anywhere else."""

import base64
import dataclasses
from datetime import timedelta

import pytest
from sqlmodel import col, select

import settings
from models import refetches, sync_runs, tenants, watermarks
from models.columns import now
from models.database import transaction
from models.inventory_levels import InventoryItem, InventoryLevel
from models.versions import Origin
from models.webhook_deliveries import DeliveryStatus, WebhookDelivery
from shopify.client import Client
from shopify.resources import RESOURCES, inventory_levels
from shopify.subscriptions import optional_topics, wanted_topics
from shopify.webhooks import WebhookHeaders
from tests.tasks.waiting import equal, eventually

NAME = inventory_levels.RESOURCE.name
SCOPES = ["read_all_orders", "read_customers", "read_orders", "read_products"]


@pytest.fixture
def stocked(open_shop):
    """A shop whose token may see the inventory."""
    return open_shop(scopes=[*SCOPES, "read_inventory"])


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Changes of an item gather for half a second only."""
    from tasks import fetches  # noqa: PLC0415

    monkeypatch.setattr(fetches, "GATHERING", timedelta(seconds=0.5))


def stock(shop):
    """What we have: quantities by item and location."""
    with transaction() as session:
        items = session.exec(
            select(InventoryItem).where(
                col(InventoryItem.tenant_id) == shop.tenant_id, col(InventoryItem.deleted_at).is_(None)
            )
        ).all()
        levels = session.exec(select(InventoryLevel).where(col(InventoryLevel.tenant_id) == shop.tenant_id)).all()
    return {
        str(item.shopify_id): (
            item.tracked,
            {
                str(level.location_shopify_id): {
                    name: getattr(level, name) for name in ("available", "committed", "incoming", "reserved", "on_hand")
                }
                for level in levels
                if level.inventory_item_shopify_id == item.shopify_id
            },
        )
        for item in items
    }


def true_stock(shop):
    return {item["id"]: (item["tracked"], item["levels"]) for item in shop.ids("inventory")}


def resources_of(run):
    with transaction() as session:
        return {each.resource: each for each in sync_runs.checkpoints(session, [run.id])}


def deliver(shop, *actions, reverse=False):
    """Hand the webhooks of these actions to the workers, as the web process does."""
    from tasks import webhooks  # noqa: PLC0415

    came = shop.act(*actions, webhooks="return")["webhooks"]
    for delivery in reversed(came) if reverse else came:
        headers = WebhookHeaders.of(delivery["headers"])
        webhooks.accept(shop.tenant_id, headers, base64.b64decode(delivery["body"]))
    return [delivery["topic"] for delivery in came]


def test_a_sync_reads_the_inventory_where_the_token_may_see_it(worker, stocked):
    run = stocked.sync()
    assert run.status == "completed"
    read = resources_of(run)[NAME]
    assert (read.status, read.done, read.total) == ("completed", len(true_stock(stocked)), len(true_stock(stocked)))
    assert stock(stocked) == true_stock(stocked)
    assert any(len(levels) == 2 for _, levels in stock(stocked).values())


def test_a_bulk_operation_reads_the_same(worker, stocked):
    assert stocked.sync(resources=[NAME], mode="bulk").status == "completed"
    assert stock(stocked) == true_stock(stocked)


def test_without_the_scope_nothing_of_it_is_asked_told_or_lacking(worker, shop):
    run = shop.sync()
    assert run.status == "completed"
    assert NAME not in resources_of(run)
    assert shop.coverage().is_complete
    assert NAME not in {mark.resource for mark in marks_of(shop)}
    assert not [event for event in shop.events() if "inventory" in event]


def marks_of(shop):
    with transaction() as session:
        return watermarks.of(session, shop.tenant_id)


def test_asked_for_by_name_without_the_scope_it_fails_alone_and_says_why(worker, shop):
    run = shop.sync(resources=["orders", NAME])
    assert run.status == "incomplete"
    read = resources_of(run)
    assert read["orders"].status == "completed"
    assert read[NAME].status == "failed"
    assert "read_inventory" in read[NAME].reason
    assert "read_inventory" in run.error
    assert shop.coverage().reason is None or NAME not in shop.coverage().reason


@pytest.fixture
def unknown_there(monkeypatch):
    """The store does not know the fields and the topics that we ask for."""
    known = inventory_levels.RESOURCE
    topics = {topic.replace("inventory", "inventories"): kind for topic, kind in known.topics.items()}
    unknown = dataclasses.replace(
        known, page_query=known.page_query.replace("inventoryItems", "inventoryThings"), topics=topics
    )
    monkeypatch.setitem(RESOURCES, NAME, unknown)


def test_a_server_that_does_not_know_it_is_synced_all_the_same(worker, stocked, unknown_there, reachable_at):
    reachable_at("http://127.0.0.1:9")
    run = stocked.sync()
    assert (run.status, run.error) == ("completed", None)
    assert resources_of(run).keys() == {"orders", "customers", "products"}
    assert stocked.coverage().is_complete
    # Nor do its topics hinder the others'
    assert stocked.tenant().missing_topics == []
    assert len(subscriptions_of(stocked)) == len(wanted_topics())
    (told,) = [event for event in stocked.events() if event.startswith(("error", "warning"))]
    assert "left out" in told
    assert "inventoryThings" in told


def test_asked_for_by_name_of_a_server_that_does_not_know_it_it_fails_alone(worker, stocked, unknown_there):
    run = stocked.sync(resources=[NAME])
    assert run.status == "incomplete"
    assert resources_of(run)[NAME].status == "failed"
    assert "inventoryThings" in run.error


@pytest.fixture
def reachable_at(configured):
    """Say where shops reach us."""
    return lambda origin: configured(PUBLIC_URL=origin)


def subscriptions_of(shop):
    token = shop.tenant().access_token.get_secret_value()
    client = Client(shop.domain, token, origin=settings.load().shopify_api_origin)
    return client.subscriptions(settings.load().webhook_uri)


def test_its_webhooks_are_subscribed_to_before_it_is_read_and_dropped_with_the_scope(
    worker, stocked, reachable_at, monkeypatch
):
    from tasks import subscriptions, sync_steps  # noqa: PLC0415

    reachable_at("http://127.0.0.1:9")
    held, read_page = [], sync_steps._STEPS[sync_steps.Stage.HISTORY]

    def read(work):
        held.append(set(subscriptions_of(stocked)))
        return read_page(work)

    monkeypatch.setitem(sync_steps._STEPS, sync_steps.Stage.HISTORY, read)
    stocked.sync()
    assert {"INVENTORY_LEVELS_UPDATE", "INVENTORY_ITEMS_DELETE", "ORDERS_CREATE"} <= held[0]
    assert len(held[0]) == len(wanted_topics()) + len(optional_topics(["read_inventory"]))
    assert stocked.tenant().missing_topics == []
    # When the token loses the scope
    with transaction() as session:
        tenants.get(session, stocked.tenant_id, for_update=True).scopes = SCOPES
    subscriptions.check.fn(str(stocked.tenant_id))
    assert len(subscriptions_of(stocked)) == len(wanted_topics())


def test_webhooks_of_levels_and_items_end_in_what_the_store_has(worker, stocked):
    stocked.sync()
    first, second, third = list(true_stock(stocked))[:3]
    topics = deliver(
        stocked,
        {"action": "setInventory", "id": first, "available": 41, "committed": 2},
        {"action": "setInventory", "id": first, "available": 40, "committed": 3},
        {"action": "setInventory", "id": second, "available": 5, "location": 1, "incoming": 7},
        {"action": "disconnectInventory", "id": third},
        {"action": "updateInventoryItem", "id": third, "tracked": False},
        {"action": "createProduct"},
        reverse=True,
    )
    assert {"inventory_levels/update", "inventory_levels/connect", "inventory_levels/disconnect"} <= set(topics)
    assert {"inventory_items/create", "inventory_items/update"} <= set(topics)
    equal(lambda: stock(stocked), lambda: true_stock(stocked))


def test_an_older_read_does_not_overwrite_a_newer_level(worker, stocked):
    from tasks.store import store  # noqa: PLC0415

    stocked.sync()
    changed = next(iter(true_stock(stocked)))
    resource = RESOURCES[NAME]
    token = stocked.tenant().access_token.get_secret_value()
    page = Client(stocked.domain, token, origin=settings.load().shopify_api_origin).page(resource)
    deliver(stocked, {"action": "setInventory", "id": changed, "available": 99})
    equal(lambda: stock(stocked), lambda: true_stock(stocked))
    # When a page that was read before is written after
    with tenants.write(stocked.tenant_id) as write:
        store(write, NAME, resource.rows(page.nodes)[0], Origin(read_at=page.read_at), source="test")
    assert stock(stocked) == true_stock(stocked)


def test_a_burst_of_changes_takes_few_questions(worker, stocked, monkeypatch):
    stocked.sync()
    asked: list[object] = []
    for name in ("node", "nodes"):
        ask = getattr(Client, name)
        monkeypatch.setattr(Client, name, lambda *args, ask=ask: (asked.append(args[-1]), ask(*args))[1])
    items = list(true_stock(stocked))
    deliver(
        stocked,
        *({"action": "setInventory", "id": item, "available": 7} for item in items[:60]),
        *({"action": "setInventory", "id": items[0], "available": 70 + turn} for turn in range(20)),
    )
    equal(lambda: stock(stocked), lambda: true_stock(stocked))
    assert len(asked) < 40  # of 80 changes; more than two, for the worker does not wait until all were delivered


def test_deleted_items_are_gone_by_webhook_and_by_the_next_whole_sync(worker, stocked, monkeypatch):
    from tasks import fetches  # noqa: PLC0415

    monkeypatch.setattr(fetches, "GONE_AFTER", timedelta(0))
    stocked.sync()
    products = stocked.ids("products")
    deliver(stocked, {"action": "deleteProduct", "id": products[0]["id"]})
    equal(lambda: stock(stocked), lambda: true_stock(stocked))
    # A deletion whose webhook was lost
    stocked.act({"action": "deleteProduct", "id": products[2]["id"]})
    assert stock(stocked) != true_stock(stocked)
    assert stocked.sync(resources=[NAME]).status == "completed"
    equal(lambda: stock(stocked), lambda: true_stock(stocked))


def test_lost_webhooks_of_items_are_mended_by_what_was_updated(worker, stocked):
    from tasks import catching_up  # noqa: PLC0415

    stocked.sync()
    long_ago = now() - timedelta(minutes=20)
    with transaction() as session:
        for mark in watermarks.of(session, stocked.tenant_id):
            mark.updated_until -= timedelta(hours=1)
    changed = next(iter(true_stock(stocked)))
    stocked.act({"action": "createProduct", "at": long_ago.isoformat()})
    stocked.act({"action": "updateInventoryItem", "id": changed, "tracked": False, "at": long_ago.isoformat()})
    catching_up.catch_up.fn(str(stocked.tenant_id))
    assert stock(stocked) == true_stock(stocked)


def test_a_look_that_is_cut_short_goes_on_where_it_was(worker, open_shop, monkeypatch):
    from tasks import catching_up  # noqa: PLC0415
    from tasks.shops import Postponed  # noqa: PLC0415

    shop = open_shop(products=150, orders=1, scopes=[*SCOPES, "read_inventory"])
    shop.sync()
    with transaction() as session:
        for mark in watermarks.of(session, shop.tenant_id):
            mark.updated_until -= timedelta(days=3000)
    cursors, ask = [], catching_up._ask

    def ask_once(tenant, resource, cursor, query):
        if resource.name == NAME:
            cursors.append(cursor)
            if len(cursors) == 2:
                raise Postponed(60, "the budget is used up")
        return ask(tenant, resource, cursor, query)

    monkeypatch.setattr(catching_up, "_ask", ask_once)
    # Given a budget that is used up after the first page, whose end is not that of what was updated
    catching_up.catch_up.fn(str(shop.tenant_id))
    assert mark_of(shop).updated_until < now() - timedelta(days=2000)
    catching_up.catch_up.fn(str(shop.tenant_id))
    assert cursors[0] is None
    assert cursors[2] == cursors[1] is not None
    assert mark_of(shop).updated_until > now() - 2 * catching_up.OVERLAP
    assert (mark_of(shop).cursor, mark_of(shop).reaches) == (None, None)


def mark_of(shop):
    return next(mark for mark in marks_of(shop) if mark.resource == NAME)


def test_what_the_second_reading_does_not_show_too_is_told(worker, stocked, monkeypatch):
    from tasks import sync_steps  # noqa: PLC0415

    monkeypatch.setattr(sync_steps, "RECOUNT_DELAYS", (timedelta(0),))
    page = Client.page

    def short_at_first(self, resource, after=None, **options):
        """The first reading is cut short: its last node is not shown."""
        found = page(self, resource, after, **options)
        if resource.name == NAME and len(asked) < 1 and options["sort"] == "ID":
            asked.append(after)
            return dataclasses.replace(found, nodes=found.nodes[:-1])
        return found

    asked: list[str | None] = []
    monkeypatch.setattr(Client, "page", short_at_first)
    # What the second reading shows is kept, so the resource is complete after all
    assert stocked.sync(resources=[NAME]).status == "completed"
    assert stock(stocked) == true_stock(stocked)

    def shorter_every_time(self, resource, after=None, **options):
        found = page(self, resource, after, **options)
        if resource.name == NAME and options["sort"] == "ID":
            asked.append(after)
            return dataclasses.replace(found, nodes=found.nodes[: -len(asked)])
        return found

    asked.clear()
    monkeypatch.setattr(Client, "page", shorter_every_time)
    run = stocked.sync(resources=[NAME])
    assert run.status == "incomplete"
    assert "lists" in run.error


def test_webhooks_of_a_shop_whose_inventory_is_not_taken_ask_nothing(worker, shop):
    from tasks import webhooks  # noqa: PLC0415

    shop.sync(resources=["products"])
    body = b'{"inventory_item_id":7,"location_id":8,"available":6,"updated_at":"2026-01-01T12:00:00-05:00"}'
    headers = WebhookHeaders.of(
        {
            "X-Shopify-Topic": "inventory_levels/update",
            "X-Shopify-Hmac-Sha256": "checked before",
            "X-Shopify-Shop-Domain": shop.domain,
        }
    )
    webhooks.accept(shop.tenant_id, headers, body)

    def recorded():
        with transaction() as session:
            return session.exec(
                select(WebhookDelivery.status).where(col(WebhookDelivery.tenant_id) == shop.tenant_id)
            ).all()

    eventually(lambda: recorded() == [DeliveryStatus.RECORDED])
    with transaction() as session:
        assert refetches.get(session, shop.tenant_id, NAME, 7) is None


def test_marks_that_the_token_may_not_see_are_given_up_together_and_told_once(worker, stocked):
    from tasks import fetches  # noqa: PLC0415

    stocked.sync()
    stocked.configure(scopes=SCOPES)
    items = [int(item) for item in true_stock(stocked)][:5]
    with tenants.write(stocked.tenant_id) as write:
        refetches.mark(write, NAME, items, "a webhook told of them")
    fetches.fetch_marked.fn(str(stocked.tenant_id), NAME, 0)
    (told,) = [event for event in stocked.events() if "cannot be fetched" in event]
    assert "and 2 others" in told
    with transaction() as session:
        assert refetches.of(session, stocked.tenant_id, NAME, above=0, limit=9) == []


def test_what_fails_again_and_again_rests(worker, stocked):
    from tasks import fetches  # noqa: PLC0415

    with tenants.write(stocked.tenant_id) as write:
        refetches.mark(write, NAME, [7, 9], "a webhook told of them")
    fetches.rest_marked.fn({"args": [str(stocked.tenant_id), NAME, 7]}, {})
    with transaction() as session:
        assert refetches.of(session, stocked.tenant_id, NAME, above=0, limit=9, due_by=now()) == [7]
        assert refetches.get(session, stocked.tenant_id, NAME, 9).due_at > now() + fetches.REST / 2
    with tenants.write(stocked.tenant_id) as write:  # nobody is to look for them while other tests run
        refetches.clear(write, NAME, [7, 9], read_at=now())


def test_an_item_that_is_shown_in_part_is_fetched_alone_to_its_end(worker, stocked, monkeypatch):
    stocked.sync()
    changed = next(iter(true_stock(stocked)))
    nodes = Client.nodes

    def cut(self, resource, ids):
        found = nodes(self, resource, ids)
        for node in found.nodes:
            node["inventoryLevels"]["pageInfo"]["hasNextPage"] = True
        return found

    monkeypatch.setattr(Client, "nodes", cut)
    deliver(stocked, {"action": "setInventory", "id": changed, "available": 3})
    equal(lambda: stock(stocked), lambda: true_stock(stocked))


def test_a_scope_that_is_granted_later_brings_its_webhooks(worker, shop, reachable_at):
    from tasks import standing  # noqa: PLC0415

    reachable_at("http://127.0.0.1:9")
    shop.sync()
    shop.configure(scopes=[*SCOPES, "read_inventory"])
    standing.ask_shop.fn(str(shop.tenant_id))
    eventually(lambda: "INVENTORY_LEVELS_UPDATE" in subscriptions_of(shop))
    assert shop.sync().status == "completed"
    assert stock(shop) == true_stock(shop)


def test_a_run_of_named_resources_reads_no_other(worker, stocked):
    run = stocked.sync(resources=["products"])
    assert (run.status, list(resources_of(run))) == ("completed", ["products"])


def test_more_than_one_question_holds_is_fetched_to_the_end(worker, stocked):
    from tasks import fetches  # noqa: PLC0415

    stocked.sync()
    items = list(true_stock(stocked))
    assert len(items) > 2 * fetches.TOGETHER
    stocked.act(*({"action": "setInventory", "id": item, "available": 9} for item in items))
    with tenants.write(stocked.tenant_id) as write:
        refetches.mark(write, NAME, map(int, items), "a webhook told of them")
    fetches.enqueue(stocked.tenant_id, [fetches.Fetch(NAME, int(items[0]))])
    equal(lambda: stock(stocked), lambda: true_stock(stocked))


def test_its_fetches_leave_the_shops_budget_to_all_other_work(stocked):
    from tasks import fetches, shops  # noqa: PLC0415

    stocked.configure(bucketSize=2000, restoreRate=1)
    tenant = stocked.tenant()
    shops.ask(tenant, lambda client: client.shop(), cost=4, spent=lambda _: None)
    # Given a shop of whose budget just so much is left as the dearest page of a sync needs
    dearest = max(resource.page_cost for resource in RESOURCES.values())
    assert shops._budget(stocked.domain).take(2000 - dearest - shops.RESERVE - 10) == 0.0
    with pytest.raises(shops.Postponed):
        fetches._fetch_together(tenant, RESOURCES[NAME], [7])
    # Then that page is admitted all the same
    shops.ask(tenant, lambda client: client.shop(), cost=dearest, reserve=shops.RESERVE)


def test_a_sync_of_everything_that_is_begun_again_is_of_everything(worker, stocked):
    """What it took only since the token may see it is not asked for by name the second time."""
    from tasks import sync  # noqa: PLC0415

    with transaction() as session:
        failed = sync_runs.start(session, stocked.tenant_id, resources=["orders"], is_of_all=True)
        sync_runs.take_optional(session, failed, [NAME])
        sync_runs.finish(session, failed, sync_runs.RunStatus.FAILED)
    with transaction() as session:
        sync.begin_again(session, tenants.get(session, stocked.tenant_id, for_update=True), failed)
        run = sync_runs.running(session, stocked.tenant_id)
    eventually(lambda: stocked.run(run.id).status == "completed")
    assert resources_of(run).keys() == RESOURCES.keys()
    assert resources_of(run)[NAME].is_optional
