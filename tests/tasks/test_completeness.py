"""A sync ends completed with what the store has, whatever happens meanwhile; and coverage says when it is not so."""

from datetime import timedelta

import pytest

from models import analytics, proofs, quarantine, sync_runs, tenants, watermarks
from models.columns import now
from models.database import transaction
from models.proofs import Finding
from models.sync_runs import RunStatus, Stage
from models.tenants import TenantStatus
from shopify.client import Client
from shopify.errors import QueryRefused
from tests.tasks.waiting import eventually

LIMITED = ["read_orders", "read_customers", "read_products"]


@pytest.fixture
def before_the_count(monkeypatch):
    """Has something happen between the last page of orders and their count, of which no webhook tells."""
    from tasks import sync_steps  # noqa: PLC0415

    def happen(happening):
        count, happened = sync_steps._count, []

        def first(work):
            if work.checkpoint.stage == Stage.COUNT and work.resource.name == "orders" and not happened:
                happened.append(happening())
            return count(work)

        monkeypatch.setattr(sync_steps, "_count", first)

    return happen


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("tasks.sync_steps.RECOUNT_DELAYS", (timedelta(0), timedelta(seconds=1), timedelta(seconds=3)))


def best_of(shop):
    with transaction() as session:
        found = analytics.top_customers(session, shop.tenant(), limit=100)
    return {(str(each.shopify_id), each.orders_count) for each in found}


def truly_best_of(shop):
    truth = shop.store.control("GET", f"shops/{shop.domain}?topcustomers=100")["topCustomers"]
    return {(each["id"], each["ordersCount"]) for each in truth if each["ordersCount"]}


def test_what_is_deleted_after_it_was_read_is_no_difference(worker, shop, before_the_count):
    gone = shop.ids("orders")[3]["id"]
    before_the_count(lambda: shop.act({"action": "deleteOrder", "id": gone}))
    run = shop.sync()
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()


def test_a_shop_that_fails_at_its_events_does_not_keep_a_sync_from_its_end(worker, shop, before_the_count, monkeypatch):
    from shopify.errors import ShopUnavailable  # noqa: PLC0415

    def fail(*_):
        raise ShopUnavailable("HTTP 500")

    gone = shop.ids("orders")[3]["id"]
    monkeypatch.setattr(Client, "deletions", fail)
    monkeypatch.setattr("tasks.waits.SHORTEST_ABSENCE", 0.1)
    before_the_count(lambda: shop.act({"action": "deleteOrder", "id": gone}))
    assert shop.sync().status == RunStatus.INCOMPLETE


def test_customers_who_are_merged_while_they_are_read_are_no_difference(worker, shop, monkeypatch):
    from tasks import sync_steps  # noqa: PLC0415

    one, two = (each["id"] for each in shop.ids("customers")[3:5])
    count, merged = sync_steps._count, []

    def merge(work):
        if work.checkpoint.stage == Stage.COUNT and work.resource.name == "customers" and not merged:
            merged.append(shop.act({"action": "mergeCustomers", "one": one, "two": two}))
        return count(work)

    monkeypatch.setattr(sync_steps, "_count", merge)
    run = shop.sync()
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()
    eventually(lambda: best_of(shop) == truly_best_of(shop))


def test_what_is_created_in_the_second_of_the_start_is_read(worker, shop):
    from tasks import sync  # noqa: PLC0415

    with transaction() as session:
        run = sync_runs.start(session, shop.tenant_id, resources=["orders", "customers", "products"])
    moments = [run.started_at.replace(microsecond=0) + timedelta(milliseconds=each) for each in (0, 500, 999)]
    shop.act(*[{"action": "createOrder", "at": moment.isoformat()} for moment in moments])
    sync.prepare_run.send(str(run.id), run.epoch)
    eventually(lambda: shop.run(run.id).status != RunStatus.RUNNING)
    assert shop.run(run.id).status == RunStatus.COMPLETED
    assert shop.figures() == shop.expected()


def test_what_says_that_it_was_created_in_the_future_is_read(worker, shop):
    """The shop's clock may be ahead of ours."""
    shop.act({"action": "createOrder", "at": (now() + timedelta(hours=1)).isoformat()})
    assert shop.sync().status == RunStatus.COMPLETED
    assert shop.figures() == shop.expected()


def test_what_is_created_after_the_last_page_is_none_of_the_runs_business_and_is_caught_up(
    worker, shop, before_the_count
):
    from tasks import catching_up  # noqa: PLC0415

    before_the_count(lambda: shop.act({"action": "createOrder"}))
    assert shop.sync().status == RunStatus.COMPLETED
    catching_up.catch_up.fn(str(shop.tenant_id))
    eventually(lambda: shop.figures() == shop.expected())


def test_what_is_missing_and_something_deleted_do_not_make_up_for_each_other(worker, shop, monkeypatch):
    """The store shows one order less than it counts, and another was deleted after it was read."""
    from tasks import sync_steps  # noqa: PLC0415

    hidden, gone = (each["id"] for each in shop.ids("orders")[3:5])
    page, count, done = Client.page, sync_steps._count, []

    def without(self, resource, *rest, **options):
        found = page(self, resource, *rest, **options)
        found.nodes[:] = [node for node in found.nodes if not node["id"].endswith(f"/{hidden}")]
        return found

    def delete(work):
        counted = count(work)
        if work.checkpoint.stage == Stage.COUNT and work.resource.name == "orders" and not done:
            done.append(shop.act({"action": "deleteOrder", "id": gone}))
        return counted

    monkeypatch.setattr(Client, "page", without)
    monkeypatch.setattr(sync_steps, "_count", delete)
    assert shop.sync().status == RunStatus.INCOMPLETE


def test_what_has_no_id_is_quarantined_once_however_often_it_is_read(shop):
    with transaction() as session:
        run = sync_runs.start(session, shop.tenant_id, resources=["orders"])
    with tenants.write(shop.tenant_id) as write:
        for _ in range(2):
            quarantine.hold(
                write, resource="orders", shopify_id=None, reason="no id", payload="{}", source="sync", run_id=run.id
            )
        quarantine.hold(
            write, resource="orders", shopify_id=None, reason="no id", payload="[]", source="sync", run_id=run.id
        )
        assert quarantine.seen_in_run(write, "orders", run.id) == 2
    with transaction() as session:
        sync_runs.finish(session, sync_runs.get(session, run.id), RunStatus.CANCELLED)


# --- coverage --------------------------------------------------------------------------------------------------------


def later(shop):
    from tests.tasks.test_proving import later  # noqa: PLC0415

    later(shop)


def prove(shop):
    from tasks import proving  # noqa: PLC0415

    def is_proved():
        proving.prove.fn(str(shop.tenant_id))
        with transaction() as session:
            return shop.tenant_id not in proofs.shops_due(session, now(), resources=proving.COUNTED)

    eventually(is_proved, timeout=60)


def test_a_sync_that_could_not_explain_its_count_is_made_good_by_the_proof(worker, shop, before_the_count, monkeypatch):
    def refuse(*_):
        raise QueryRefused("no events here")

    gone = shop.ids("orders")[3]["id"]
    monkeypatch.setattr(Client, "deletions", refuse)
    before_the_count(lambda: shop.act({"action": "deleteOrder", "id": gone}))
    assert shop.sync().status == RunStatus.INCOMPLETE
    assert "orders: the latest sync ended incomplete, the store counts" in shop.coverage().reason
    with transaction() as session:
        sync_runs.newest(session, shop.tenant_id, limit=1)[0].finished_at -= timedelta(hours=1)
    # Given the count of its day, which differs ten minutes later, too
    prove(shop)
    assert not shop.coverage().is_complete
    later(shop)
    prove(shop)
    eventually(lambda: shop.figures() == shop.expected())
    # Then every day agrees, which proves more than the sync could
    prove(shop)
    assert (shop.coverage().is_complete, shop.coverage().reason) == (True, None)


def test_days_that_were_counted_before_a_sync_prove_nothing_of_it(worker, shop, monkeypatch):
    from tasks import sync_steps  # noqa: PLC0415

    shop.sync()
    prove(shop)
    count = sync_steps._count
    monkeypatch.setattr(sync_steps, "_count", lambda work: count(work) + (work.resource.name == "orders"))
    assert shop.sync().status == RunStatus.INCOMPLETE
    assert not shop.coverage().is_complete


@pytest.mark.parametrize("days", [30, 200])
def test_sixty_days_are_never_a_whole_history(worker, open_shop, days):
    shop = open_shop(scopes=LIMITED, days=days)
    shop.sync()
    prove(shop)
    assert shop.coverage().reason == (
        "orders: the latest sync ended incomplete, history limited to 60 days: the token lacks read_all_orders"
    )


def test_a_day_that_goes_on_to_differ_is_no_complete_history(worker, shop):
    shop.sync()
    prove(shop)
    assert shop.coverage().is_complete
    yesterday = now().date() - timedelta(days=1)  # in whatever zone: today may not have begun there
    for _ in range(2):
        assert shop.coverage().is_complete
        with tenants.write(shop.tenant_id) as write:
            proofs.note(write, "orders", [Finding(yesterday, 7, 6, "why", now() + timedelta(days=1), differs=True)])
    assert shop.coverage().reason == "orders: the store's count of 1 day differs from ours"


def test_what_cannot_be_caught_up_is_no_complete_history(worker, shop):
    shop.sync()
    with tenants.write(shop.tenant_id) as write:
        watermarks.note_error(write, "customers", "no read_customers")
    assert shop.coverage().reason == "customers: what was updated cannot be read: no read_customers"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": TenantStatus.PAUSED}, "the shop is paused, and nothing is read"),
        ({"status": TenantStatus.UNINSTALLED}, "the shop is uninstalled, and nothing is read"),
        ({"unauthorized_since": now()}, "the shop refuses our credentials since "),
        ({"unreachable_since": now() - timedelta(hours=2)}, "the shop cannot be reached since "),
    ],
)
def test_a_shop_of_which_nothing_is_read_has_no_complete_history(worker, shop, change, reason):
    shop.sync()
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id, for_update=True)
        for name, value in change.items():
            setattr(tenant, name, value)
    assert shop.coverage().reason.startswith(reason)


def test_a_shop_that_is_away_for_a_moment_loses_nothing(worker, shop):
    shop.sync()
    tenants.set_reachability(shop.tenant_id, unreachable=True)
    assert shop.coverage().is_complete


def test_syncs_of_some_days_or_some_resources_make_no_whole_history(worker, shop):
    shop.sync(since=now().date() - timedelta(days=3000))
    assert "orders: the history has not been synced yet" in shop.coverage().reason
    shop.sync(resources=["orders", "products"])
    assert shop.coverage().reason == "customers: the history has not been synced yet"
    shop.sync(resources=["customers"])
    assert shop.coverage().is_complete
    # And a later one of some days takes nothing away
    shop.sync(since=now().date())
    assert shop.coverage().is_complete
