"""Syncs against the simulated store, with its faults switched on."""

import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlmodel import col, select

import settings
from brokers import JetStreamBroker
from models import sync_runs, tenant_changes, tenants
from models.columns import now
from models.database import transaction
from models.quarantine import Quarantined
from models.sync_runs import RunInProgress, RunStatus
from models.tenants import TenantStatus
from shopify.client import Client
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long


def test_a_full_sync_ends_completed_with_exactly_the_stores_figures(worker, open_shop):
    shop = open_shop(orders=700, customers=300, products=40, timezone="Asia/Tokyo")
    run = shop.sync()
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()
    tenant = shop.tenant()
    assert (tenant.timezone, tenant.currency) == ("Asia/Tokyo", shop.truth()["currency"])
    with transaction() as session:
        for checkpoint in sync_runs.checkpoints(session, [run.id]):
            assert checkpoint.done == checkpoint.total


def test_a_second_sync_changes_nothing(worker, shop):
    shop.sync()
    before = shop.figures()
    assert shop.sync().status == RunStatus.COMPLETED
    assert shop.figures() == before


@pytest.mark.parametrize(
    "fault",
    [
        {"server_error": {"every": 3}},
        {"internal": {"every": 3}},
        {"rate_limited": {"every": 4, "retry_after": "0.2"}},
        {"drop": {"every": 4}},
        {"cut": {"every": 4}},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_a_store_that_fails_now_and_then_costs_time_alone(worker, shop, fault, monkeypatch):
    monkeypatch.setattr("tasks.waits.SHORTEST_ABSENCE", 0.2)
    shop.configure(faults=fault)
    run = shop.sync()
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()
    eventually(lambda: shop.tenant().unreachable_since is None)  # a fetch may still be on its second try


def test_a_small_budget_is_kept_and_costs_time_alone(worker, open_shop):
    shop = open_shop(orders=600)
    shop.configure(restoreRate=400, bucketSize=800)
    assert shop.sync().status == RunStatus.COMPLETED
    assert shop.figures() == shop.expected()


def test_what_changes_while_it_is_read_is_read_too(worker, open_shop):
    """No webhook tells of it: the sync itself has to find it."""
    shop = open_shop(orders=900)
    shop.configure(faults={"slow": {"every": 2, "seconds": 0.2}})
    from tasks import sync  # noqa: PLC0415

    run_id = sync.begin(shop.tenant_id)

    def read():
        with transaction() as session:
            return sync_runs.checkpoint(session, run_id, "orders").done

    eventually(read)
    first = sorted(int(order["id"]) for order in shop.ids("orders"))[:3]
    shop.act(
        {"action": "cancelOrder", "id": str(first[0])},
        {"action": "refundOrder", "id": str(first[1])},
        {"action": "createOrder", "lines": [{"price": "12.34", "quantity": 2}]},
    )
    eventually(lambda: shop.run(run_id).status != RunStatus.RUNNING)
    assert shop.run(run_id).status == RunStatus.COMPLETED
    assert shop.figures() == shop.expected()


def test_a_count_that_disagrees_ends_incomplete_with_the_reason(worker, shop, monkeypatch):
    monkeypatch.setattr("tasks.sync_steps.RECOUNT_DELAYS", (timedelta(0),) * 3)
    count = Client.count
    counted = []

    def one_more(self, resource, search=None):
        if resource.name != "orders":
            return count(self, resource, search)
        counted.append(search)
        return count(self, resource, search) + 1

    monkeypatch.setattr(Client, "count", one_more)
    run = shop.sync()
    orders = len(shop.ids("orders"))
    assert run.status == RunStatus.INCOMPLETE
    assert run.error == f"orders: the store counts {orders + 1}, the sync saw {orders}"
    assert len(counted) == 1 + 1 + 3  # the total at the start, the comparison, three recounts
    with transaction() as session:
        lack = sync_runs.latest_full(session, shop.tenant_id)["orders"]
    assert lack.status == RunStatus.INCOMPLETE


def test_a_token_that_sees_sixty_days_makes_the_history_incomplete(worker, open_shop):
    shop = open_shop(scopes=["read_orders", "read_customers", "read_products"])
    run = shop.sync()
    assert run.status == RunStatus.INCOMPLETE
    assert "read_all_orders" in run.error


def test_a_resource_that_the_token_may_not_see_fails_the_run_and_says_so(worker, open_shop):
    shop = open_shop(scopes=["read_orders", "read_all_orders", "read_products"])
    run = shop.sync()
    assert run.status == RunStatus.FAILED
    assert "customers" in run.error


def test_a_dead_token_stops_the_shops_work_until_it_has_a_new_one(worker, shop, store):
    store.control("DELETE", f"shops/{shop.domain}/tokens")
    run = shop.sync()
    assert run.status == RunStatus.FAILED
    assert "credentials" in run.error
    assert shop.tenant().unauthorized_since is not None
    token = store.control("POST", f"shops/{shop.domain}/tokens")["accessToken"]
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id, for_update=True)
        tenant_changes.replace_credentials(tenant, access_token=SecretStr(token))
    assert shop.sync().status == RunStatus.COMPLETED
    assert shop.tenant().unauthorized_since is None


def test_client_credentials_are_exchanged_for_a_token(worker, shop):
    truth = shop.truth()
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id)
        tenant.access_token, tenant.client_id = None, truth["clientId"]
        tenant.client_secret = SecretStr(truth["clientSecret"])
    assert shop.sync().status == RunStatus.COMPLETED
    tenant = shop.tenant()
    assert tenant.access_token is not None
    assert tenant.access_token_expires_at > now() + timedelta(hours=23)


def test_an_order_with_a_nul_in_its_note_costs_itself_alone_and_is_seen(worker, shop):
    victim = shop.ids("orders")[0]
    shop.act({"action": "updateOrder", "id": victim["id"], "note": "before\x00after"})
    run = shop.sync()
    assert run.status == RunStatus.COMPLETED
    with transaction() as session:
        held = session.exec(select(Quarantined).where(col(Quarantined.tenant_id) == shop.tenant_id)).one()
    assert str(held.shopify_id) == victim["id"]
    assert "NUL" in held.reason
    assert any("quarantined" in event for event in shop.events())
    assert shop.coverage().reason == "orders: 1 could not be stored and is quarantined"
    counts = not victim["cancelled"] and not victim["test"]
    assert shop.figures()["countingOrders"] == shop.expected()["countingOrders"] - counts
    # When the note is mended, so is the order
    shop.act({"action": "updateOrder", "id": victim["id"], "note": "fine"})
    assert shop.sync().status == RunStatus.COMPLETED
    assert shop.coverage().is_complete
    assert shop.figures() == shop.expected()


def test_what_was_deleted_unnoticed_is_found_by_the_next_full_sync(worker, shop, monkeypatch):
    monkeypatch.setattr("tasks.fetches.GONE_AFTER", timedelta(0))
    shop.sync()
    gone = shop.ids("orders")[:2]
    shop.act(*[{"action": "deleteOrder", "id": order["id"]} for order in gone])
    assert shop.sync().status == RunStatus.COMPLETED
    eventually(lambda: shop.figures() == shop.expected())


def test_one_sync_runs_at_a_time(worker, shop):
    from tasks import sync  # noqa: PLC0415

    shop.configure(faults={"slow": {"every": 1, "seconds": 0.3}})
    run_id = sync.begin(shop.tenant_id)
    with pytest.raises(RunInProgress) as refused:
        sync.begin(shop.tenant_id)
    assert refused.value.run_id == run_id
    eventually(lambda: shop.run(run_id).status == RunStatus.COMPLETED)


def test_a_run_that_fell_silent_is_picked_up(worker, shop):
    from tasks import tending  # noqa: PLC0415

    with transaction() as session:
        run = sync_runs.start(session, shop.tenant_id, resources=["orders", "customers", "products"])
        run.alive_at = now() - timedelta(hours=1)
    tending.tend.fn()
    eventually(lambda: shop.run(run.id).status == RunStatus.COMPLETED)
    assert shop.figures() == shop.expected()


def test_a_run_that_falls_silent_again_and_again_ends(worker, shop):
    from tasks import tending  # noqa: PLC0415

    with transaction() as session:
        run = sync_runs.start(session, shop.tenant_id, resources=["orders"])
        run.alive_at, run.pickups = now() - timedelta(hours=1), sync_runs.MAX_PICKUPS
    tending.tend.fn()
    assert shop.run(run.id).status == RunStatus.FAILED


def test_a_shop_that_stays_away_ends_its_run_and_blocks_no_other(worker, shop, monkeypatch):
    monkeypatch.setattr("tasks.waits.SHORTEST_ABSENCE", 0.1)
    monkeypatch.setattr("tasks.sync.LONGEST_WAIT", timedelta(seconds=0.5))
    shop.configure(faults={"state": "locked"})
    run = shop.sync()
    assert run.status == RunStatus.FAILED
    assert "cannot be reached" in run.error
    assert shop.tenant().unreachable_since is not None
    shop.configure(faults={"state": None})
    assert shop.sync().status == RunStatus.COMPLETED
    assert shop.tenant().unreachable_since is None


def test_a_question_that_a_shop_always_fails_at_ends_its_run(worker, shop, monkeypatch):
    from tasks import shops  # noqa: PLC0415

    monkeypatch.setattr("tasks.sync.LONGEST_WAIT", timedelta(seconds=1))
    ask = shops.ask

    def failing(tenant, question, **options):
        if options.get("spent") is None:
            return ask(tenant, question, **options)  # everything but pages is answered
        raise shops.Postponed(0.1, "INTERNAL_SERVER_ERROR")

    with monkeypatch.context() as patch:
        patch.setattr(shops, "ask", failing)
        run = shop.sync()
    assert run.status == RunStatus.FAILED
    assert "the same question could not be asked for a day, the last time because INTERNAL_SERVER_ERROR" in run.error
    assert shop.tenant().unreachable_since is None
    assert shop.sync().status == RunStatus.COMPLETED


def test_a_silent_shop_is_asked_by_one_thread_at_a_time(worker, shop):
    from tasks import shops  # noqa: PLC0415
    from tasks.waits import Postponed  # noqa: PLC0415

    met = []

    def ask_both(client):
        with pytest.raises(Postponed) as postponed:
            shops.ask(shop.tenant(), lambda client: client.shop(), cost=15)
        met.append(postponed.value)
        return client.shop()

    # Given a shop that fell silent
    tenants.set_reachability(shop.tenant_id, unreachable=True)
    # When somebody asks it while another waits for its answer
    shops.ask(shop.tenant(), ask_both, cost=15)
    # Then he has to come again, and all ask as they like once it has answered
    assert len(met) == 1
    shops.ask(shop.tenant(), lambda client: shops.ask(shop.tenant(), lambda client: client.shop(), cost=15), cost=15)


def test_a_cancelled_run_stops_and_keeps_what_it_wrote(worker, open_shop):
    from tasks import sync  # noqa: PLC0415

    shop = open_shop(orders=1500)
    shop.configure(faults={"slow": {"every": 1, "seconds": 0.2}})
    run_id = sync.begin(shop.tenant_id)

    def read():
        with transaction() as session:
            return sync_runs.checkpoint(session, run_id, "orders").done

    eventually(read)
    with transaction() as session:
        sync_runs.finish(session, sync_runs.get(session, run_id), RunStatus.CANCELLED)
    shop.configure(faults=None)
    assert 0 < shop.figures()["countingOrders"] < shop.expected()["countingOrders"]
    assert shop.sync().status == RunStatus.COMPLETED
    assert shop.figures() == shop.expected()


def test_a_paused_shop_waits_and_an_uninstalled_one_ends(worker, shop, monkeypatch):
    from tasks import sync  # noqa: PLC0415

    monkeypatch.setattr("tasks.sync.PAUSED_RETRY", 600)

    def set_status(status):
        with transaction() as session:
            tenants.get(session, shop.tenant_id, for_update=True).status = status

    shop.configure(faults={"slow": {"next": 1, "seconds": 0.5}})
    run_id = sync.begin(shop.tenant_id)
    set_status(TenantStatus.PAUSED)
    eventually(lambda: shop.run(run_id).alive_at > now())
    assert shop.run(run_id).status == RunStatus.RUNNING
    set_status(TenantStatus.ACTIVE)
    eventually(lambda: shop.run(run_id).status == RunStatus.COMPLETED)
    set_status(TenantStatus.UNINSTALLED)
    with pytest.raises(tenants.TenantInactive):
        sync.begin(shop.tenant_id)


def test_a_sync_of_some_days_reads_what_was_updated_on_them(worker, shop):
    today = now().date()
    changed = shop.ids("orders")[0]["id"]
    shop.act({"action": "updateOrder", "id": changed, "note": "today"})
    run = shop.sync(resources=["orders"], since=today - timedelta(days=1))
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert 0 < shop.figures()["countingOrders"] < shop.expected()["countingOrders"]


def test_a_step_that_fails_for_good_ends_its_run_with_the_error(worker, shop, monkeypatch):
    from tasks import broker, sync, sync_steps  # noqa: PLC0415

    def broken(*_arguments, **_options):
        raise RuntimeError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(sync_steps, "store", broken)
        patch.setitem(sync.advance.options, "max_retries", 1)
        patch.setitem(sync.advance.options, "min_backoff", 10)
        run = shop.sync(resources=["orders"])
    assert run.status == RunStatus.FAILED
    assert run.error.startswith("a step failed again and again")
    assert "no such thing" in run.error
    # And it lies among the dead letters, and is not in the next one's way
    assert broker.dead_letters.count(lane=str(run.id)) == 1
    broker.dead_letters.purge(lane=str(run.id))
    assert shop.sync(resources=["orders"]).status == RunStatus.COMPLETED


def _before_its_first_page(shop):
    """A sync of the orders whose steps the test carries out itself, as its total is known."""
    from tasks import sync_steps  # noqa: PLC0415

    with transaction() as session:
        run = sync_runs.start(session, shop.tenant_id, resources=["orders"])
    position = sync_steps.Position(run.id, run.epoch)
    sync_steps.advance(position, "orders", 0)
    return run, position


def test_a_page_that_two_workers_read_at_once_moves_the_checkpoint_once(open_shop, monkeypatch):
    from tasks import shops, sync_steps  # noqa: PLC0415

    shop = open_shop(orders=600)
    run, position = _before_its_first_page(shop)
    # Given a worker that has read the page while another reads and writes the same
    ask, others = shops.ask, []

    def slow(tenant, *arguments, **options):
        answer = ask(tenant, *arguments, **options)
        if tenant.id == shop.tenant_id and not others:  # what other tests left to a worker asks, too
            others.append(None)
            others.append(sync_steps.advance(position, "orders", 1))
        return answer

    monkeypatch.setattr(shops, "ask", slow)
    done = sync_steps.advance(position, "orders", 1)
    # Then the one goes on, and the other ends
    assert (others[1].next_step, done.next_step) == (2, None)
    with transaction() as session:
        checkpoint = sync_runs.checkpoint(session, run.id, "orders")
        assert (checkpoint.step, checkpoint.done) == (2, 250)
        sync_runs.finish(session, sync_runs.get(session, run.id), RunStatus.CANCELLED)


def test_a_step_of_a_chain_that_was_given_up_writes_nothing(open_shop, monkeypatch):
    from tasks import shops, sync, sync_steps  # noqa: PLC0415

    shop = open_shop(orders=600)
    run, position = _before_its_first_page(shop)
    # Given a run that fell silent, so that a sweep begins its chains anew, and whose page comes after all
    ask, resumed = shops.ask, []

    def late(tenant, *arguments, **options):
        answer = ask(tenant, *arguments, **options)
        if tenant.id == shop.tenant_id and not resumed:
            with transaction() as session:
                resumed.extend(sync.resume(session, sync_runs.get(session, run.id, for_update=True)))
        return answer

    monkeypatch.setattr(shops, "ask", late)
    assert sync_steps.advance(position, "orders", 1).next_step is None
    # Then nothing was written, and the old chain is at its end
    assert sync_steps.advance(position, "orders", 1) is None
    with transaction() as session:
        checkpoint = sync_runs.checkpoint(session, run.id, "orders")
        assert (checkpoint.step, checkpoint.done) == (1, 0)
        sync_runs.finish(session, sync_runs.get(session, run.id), RunStatus.CANCELLED)


def _start_worker():
    command = [sys.executable, "-m", "dramatiq", "tasks", "--processes", "1", "--threads", "4"]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ.copy()
    )


def _kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def test_workers_killed_in_the_middle_of_a_sync_change_nothing(open_shop):
    from tasks import broker, sync  # noqa: PLC0415

    broker.ensure_streams()
    # What a killed worker held comes again soon
    hasty = JetStreamBroker(settings.load().nats_servers, namespace=settings.load().nats_namespace, ack_wait=3.0)
    hasty._streams.ensure(broker.queues, timeout=10)
    hasty.close()
    shop = open_shop(orders=1500, customers=200)
    shop.configure(faults={"slow": {"every": 3, "seconds": 0.2}})
    run_id = sync.begin(shop.tenant_id)

    def read():
        with transaction() as session:
            checkpoint = sync_runs.checkpoint(session, run_id, "orders")
            return checkpoint.done if checkpoint.status == RunStatus.RUNNING else 10**9

    # Given workers that are killed while they read
    for threshold in (250, 1000):
        process = _start_worker()
        try:
            eventually(lambda threshold=threshold: read() >= threshold, timeout=60)
        finally:
            _kill(process)
    # When one is left alone
    process = _start_worker()
    try:
        eventually(lambda: shop.run(run_id).status != RunStatus.RUNNING, timeout=100)
    finally:
        process.terminate()
        process.wait(30)
        broker.ensure_streams()
    # Then nothing is missing and nothing is doubled
    assert shop.run(run_id).status == RunStatus.COMPLETED
    assert shop.figures() == shop.expected()


def test_no_more_histories_are_read_at_once_than_the_setting_says(worker, open_shop, configured, monkeypatch):
    from tasks import sync, sync_steps  # noqa: PLC0415

    monkeypatch.setattr(sync_steps, "TURN", 0.1)
    configured(MAX_FIRST_SYNCS="1")
    shops = [open_shop(orders=400), open_shop(orders=400)]
    at_once = []

    def all_ended():
        with transaction() as session:
            at_once.append(sync_runs.whole_at_work(session))
        return all(shop.run(run_id).status != RunStatus.RUNNING for shop, run_id in zip(shops, runs, strict=True))

    runs = [sync.begin(shops[0].tenant_id)]
    eventually(lambda: shops[0].run(runs[0]).is_prepared)
    runs.append(sync.begin(shops[1].tenant_id))
    eventually(all_ended, timeout=60)
    assert max(at_once) == 1
    assert all(shop.figures() == shop.expected() for shop in shops)


def test_of_two_histories_that_come_at_once_one_has_to_wait(open_shop, configured, monkeypatch):
    from tasks import shops, sync_steps  # noqa: PLC0415
    from tasks.sync_work import Position  # noqa: PLC0415

    # Given two shops that both have asked whether they may
    configured(MAX_FIRST_SYNCS="1")
    both, ask = threading.Barrier(2), shops.ask

    def ask_together(*arguments, **options):
        both.wait(20)
        return ask(*arguments, **options)

    monkeypatch.setattr(shops, "ask", ask_together)
    with transaction() as session:
        runs = [sync_runs.start(session, open_shop().tenant_id, resources=["orders"]).id for _ in range(2)]

    def prepared(run_id):
        try:
            return sync_steps.prepare(Position(run_id, 0))
        except shops.Postponed:
            return "later"

    # When both read their shop
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(prepared, runs))
    # Then one of them begins
    assert sorted(outcomes, key=str) == [[("orders", 0)], "later"]


@pytest.mark.parametrize(
    "rest",
    [{"status": TenantStatus.PAUSED}, {"unreachable_since": now() - sync_runs.AWAY_AFTER - timedelta(seconds=1)}],
    ids=["paused", "away"],
)
def test_a_shop_that_rests_while_its_history_is_read_keeps_no_other_waiting(
    worker, open_shop, configured, monkeypatch, *, rest
):
    from tasks import sync_steps  # noqa: PLC0415

    monkeypatch.setattr(sync_steps, "TURN", 0.1)
    configured(MAX_FIRST_SYNCS="1")
    resting, other = open_shop(), open_shop()
    # Given a shop whose history is being read, and that is paused, or does not answer any more
    with transaction() as session:
        run = sync_runs.start(session, resting.tenant_id, resources=["orders"])
        run.is_prepared = True
        tenant = tenants.get(session, resting.tenant_id, for_update=True)
        for name, value in rest.items():
            setattr(tenant, name, value)
    try:
        # Then the turn is another's
        assert other.sync().status == RunStatus.COMPLETED
    finally:
        with transaction() as session:
            sync_runs.finish(session, sync_runs.get(session, run.id), RunStatus.CANCELLED)


def test_a_run_of_nobody_is_nothing(worker, shop):
    from tasks import sync  # noqa: PLC0415

    sync.prepare_run.fn(str(uuid.uuid4()), 0)
    sync.advance.fn(str(uuid.uuid4()), "orders", 0, 0)
