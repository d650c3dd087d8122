"""Syncs that read a history from a bulk operation's file, with every fault of one switched on."""

import base64
import itertools
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from models import bulk_operations, sync_runs
from models.bulk_operations import BulkOperation
from models.columns import now
from models.database import transaction
from models.orders import Order, RefundLineItem
from models.refetches import Refetch
from models.sync_runs import Mode, RunStatus, Stage
from shopify.webhooks import WebhookHeaders
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long

FAULTS = [
    {"bulk_failed": {"lines": 20, "error_code": "INTERNAL_SERVER_ERROR"}},
    {"bulk_failed": {"lines": 0, "error_code": "TIMEOUT"}},
    {"bulk_expired": {"lines": 20}},
    {"bulk_canceled": {"lines": 20}},
    {"bulk_link_expired": {}},
    {"bulk_ungrouped": {}},
    {"bulk_short": {"lines": 20}},
    {"download_expired": {}},
    {"download_unavailable": {}},
    {"download_cut": {"bytes": 20_000}},
    {"download_cut": {"bytes": 0}},
    {"download_short": {"bytes": 20_000}},
    {"download_ignores_range": {}},
]


def _named(fault):
    return "-".join([next(iter(fault)), *(str(value) for value in next(iter(fault.values())).values())])


def _broken(fault, **how):
    return {kind: values | how for kind, values in fault.items()}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing is waited for longer than it takes."""
    monkeypatch.setattr("tasks.bulk_steps.SHORTEST_LOOK", timedelta(milliseconds=50))
    monkeypatch.setattr("tasks.bulk_steps.LONGEST_LOOK", timedelta(milliseconds=200))
    monkeypatch.setattr("tasks.bulk_steps.READ_AGAIN", timedelta(milliseconds=20))
    monkeypatch.setattr("tasks.bulk_steps.SLOT_LOOK", timedelta(milliseconds=50))


@pytest.fixture
def small_slices(monkeypatch):
    """Slices of one resource each."""
    from shopify import bulk_file  # noqa: PLC0415

    monkeypatch.setattr(bulk_file.slices, "__kwdefaults__", bulk_file.slices.__kwdefaults__ | {"most": 0})


@pytest.fixture
def bulk_shop(open_shop):
    def open_one(**options):
        shop = open_shop(**{"orders": 120, "customers": 40, "products": 12} | options)
        shop.store.control("PATCH", f"shops/{shop.domain}/bulk", {"createdSeconds": 0})
        return shop

    return open_one


def bulk_of(shop):
    return shop.store.control("GET", f"shops/{shop.domain}/bulk")


def release(shop, lines=None):
    shop.store.control("POST", f"shops/{shop.domain}/bulk/release", {} if lines is None else {"lines": lines})


def deliver(shop, *actions):
    """Have something happen in the shop, and its webhooks written here."""
    from tasks import deliveries  # noqa: PLC0415
    from tasks.deliveries import Delivery  # noqa: PLC0415

    for told in shop.act(*actions, webhooks="return")["webhooks"]:
        headers = WebhookHeaders.of(told["headers"])
        deliveries.write(shop.tenant_id, [Delivery.of(headers, base64.b64decode(told["body"]))])


def test_a_history_read_in_bulk_ends_completed_with_exactly_the_stores_figures(worker, bulk_shop):
    shop = bulk_shop(orders=700, customers=300, products=40, timezone="Asia/Tokyo")
    run = shop.sync(mode=Mode.BULK)
    assert (run.status, run.error, run.mode) == (RunStatus.COMPLETED, None, "bulk")
    assert shop.figures() == shop.expected()
    assert Counter(each["status"] for each in bulk_of(shop)["operations"]) == {"COMPLETED": 3}
    assert not any(each["hasToken"] for each in bulk_of(shop)["downloads"])
    with transaction() as session:
        for checkpoint in sync_runs.checkpoints(session, [run.id]):
            assert checkpoint.done == checkpoint.total


def test_bulk_and_pages_write_the_same(worker, bulk_shop):
    shop = bulk_shop()
    shop.sync(mode=Mode.BULK)
    by_bulk = _rows(shop)
    _erase(shop, by_bulk)
    shop.sync(mode=Mode.PAGES)
    assert _rows(shop) == by_bulk
    assert len(by_bulk["line_items"]) > 100


def _erase(shop, tables):
    with transaction() as session:
        for name in reversed(tables):
            session.execute(text(f"delete from {name} where tenant_id = :id"), {"id": shop.tenant_id})


def _rows(shop):
    """Everything that a sync writes but what names the tenant, the moment and the way."""
    from models.resources import TABLES  # noqa: PLC0415

    own = {"id", "tenant_id", "run_id", "read_at", "stored_at", "children_digest"}
    models = [(table.name, table.model) for table in TABLES.values()]
    models += [(name, child) for table in TABLES.values() for name, (child, _) in table.children.items()]
    with transaction() as session:
        return {
            name: [
                row.model_dump(exclude=own)
                for row in session.exec(
                    select(model).where(model.tenant_id == shop.tenant_id).order_by(model.shopify_id)
                )
            ]
            for name, model in models
        }


def test_a_small_shop_is_read_by_pages_and_one_that_would_take_long_in_bulk(worker, bulk_shop, monkeypatch):
    shop = bulk_shop()
    assert shop.sync().status == RunStatus.COMPLETED
    assert bulk_of(shop)["operations"] == []
    monkeypatch.setattr("tasks.bulk_steps.LONGEST_BY_PAGES", 0.0)
    assert shop.sync().status == RunStatus.COMPLETED
    assert len(bulk_of(shop)["operations"]) == 3


@pytest.mark.parametrize("fault", FAULTS, ids=_named)
def test_a_fault_of_one_operation_costs_time_alone(worker, bulk_shop, fault):
    shop = bulk_shop()
    shop.configure(faults=_broken(fault, next=2))
    run = shop.sync(mode=Mode.BULK)
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()


@pytest.mark.parametrize("fault", [each for each in FAULTS if "ignores" not in next(iter(each))], ids=_named)
def test_a_fault_that_stays_has_the_history_read_by_pages(worker, bulk_shop, fault):
    shop = bulk_shop(orders=30, customers=10, products=4)
    shop.configure(
        faults=_broken(fault, every=1)
        if fault != {"download_cut": {"bytes": 20_000}}
        else {"download_cut": {"every": 1, "bytes": 50}}
    )
    run = shop.sync(mode=Mode.BULK)
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()
    assert any("page by page" in line for line in shop.events())


def test_a_file_that_lacks_the_last_line_of_an_order_tears_none(worker, bulk_shop):
    shop = bulk_shop()
    shop.sync(mode=Mode.BULK, resources=["orders"])
    (whole,) = bulk_of(shop)["operations"]
    complete = _rows(shop)
    _erase(shop, complete)
    shop.configure(faults={"bulk_short": {"next": 1, "lines": whole["lines"] - 1}})
    assert shop.sync(mode=Mode.BULK, resources=["orders"]).status == RunStatus.COMPLETED
    assert _rows(shop) == complete
    assert any("its file holds" in line for line in shop.events())


def test_what_a_cancelled_sync_left_unread_the_next_one_reads(worker, bulk_shop, monkeypatch):
    from tasks import sync, sync_steps  # noqa: PLC0415
    from tasks.sync_work import Done  # noqa: PLC0415

    # Given a sync that has written its file and is cancelled before it has read what that told in part
    shop = bulk_shop()
    with monkeypatch.context() as waiting:
        waits = {Stage.DETAILS: lambda work: Done(work.tenant.id)}
        waiting.setattr(sync_steps, "_STEPS", {**sync_steps._STEPS, **waits})
        run_id = sync.begin(shop.tenant_id, mode=Mode.BULK, resources=["orders"])
        eventually(lambda: _stage(run_id) == Stage.DETAILS, timeout=30)
        with transaction() as session:
            sync.cancel(session, sync_runs.get(session, run_id, for_update=True))
    # When the history is read once more
    assert shop.sync(mode=Mode.BULK, resources=["orders"]).status == RunStatus.COMPLETED
    # Then nothing is missing
    by_bulk = _rows(shop)
    _erase(shop, by_bulk)
    shop.sync(mode=Mode.PAGES, resources=["orders"])
    assert _rows(shop) == by_bulk
    assert len(by_bulk["refunds"]) > 1


def test_what_a_webhook_told_long_before_the_history_was_read_is_read_in_full(worker, bulk_shop):
    # Given an order with a refund that is known by a webhook, which tells no transactions
    shop = bulk_shop()
    order = next(each["id"] for each in shop.ids("orders") if not each["cancelled"])
    shop.act({"action": "refundOrder", "id": order, "at": _ago(minutes=9)})
    deliver(shop, {"action": "updateOrder", "id": order, "note": "Gift", "at": _ago(minutes=5)})
    # When the history is read
    assert shop.sync(mode=Mode.BULK, resources=["orders"]).status == RunStatus.COMPLETED
    # Then its transactions are there
    by_bulk = _rows(shop)
    _erase(shop, by_bulk)
    shop.sync(mode=Mode.PAGES, resources=["orders"])
    assert _rows(shop) == by_bulk


def _ago(**time):
    return f"{now() - timedelta(**time):%Y-%m-%dT%H:%M:%SZ}"


def _stage(run_id):
    with transaction() as session:
        return sync_runs.checkpoint(session, run_id, "orders").stage


def test_a_file_that_is_cut_again_and_again_is_read_on_from_where_it_was_cut(worker, bulk_shop):
    shop = bulk_shop()
    shop.configure(faults={"download_cut": {"every": 1, "bytes": 20_000}})
    assert shop.sync(mode=Mode.BULK, resources=["orders"]).status == RunStatus.COMPLETED
    assert shop.figures()["revenue"] == shop.expected()["revenue"]
    told = bulk_of(shop)
    assert len(told["operations"]) == 1
    starts = [each["start"] for each in told["downloads"]]
    assert starts == sorted(set(starts))
    assert len(starts) > 3


def test_a_token_that_may_not_see_the_history_fails_the_run_and_says_so(worker, bulk_shop):
    shop = bulk_shop()
    shop.configure(faults={"bulk_failed": {"every": 1, "error_code": "ACCESS_DENIED"}})
    run = shop.sync(mode=Mode.BULK, resources=["orders"])
    assert run.status == RunStatus.FAILED
    assert "may not see" in run.error


def test_where_five_others_run_an_operation_waits_for_its_place(worker, bulk_shop):
    shop = bulk_shop()
    shop.configure(faults={"bulk_held": {"every": 1}})
    from tasks import sync  # noqa: PLC0415

    for _ in range(5):
        _begin_a_foreign_operation(shop)
    run_id = sync.begin(shop.tenant_id, mode=Mode.BULK, resources=["orders"])
    eventually(lambda: _operation(run_id) is not None)
    assert _operation(run_id).operation_id is None
    shop.configure(faults={"bulk_held": None})
    eventually(lambda: release(shop) or shop.run(run_id).status == RunStatus.COMPLETED, timeout=60)
    assert shop.figures()["revenue"] == shop.expected()["revenue"]


def test_where_five_others_never_end_the_history_is_read_by_pages(worker, bulk_shop, monkeypatch):
    monkeypatch.setattr("tasks.bulk_steps.STUCK_AFTER", timedelta(seconds=0.5))
    shop = bulk_shop()
    shop.configure(faults={"bulk_held": {"every": 1}})
    for _ in range(5):
        _begin_a_foreign_operation(shop)
    assert shop.sync(mode=Mode.BULK).status == RunStatus.COMPLETED
    release(shop)


def _begin_a_foreign_operation(shop):
    from shopify.resources import RESOURCES  # noqa: PLC0415
    from tasks import shops  # noqa: PLC0415

    return shops.ask(shop.tenant(), lambda client: client.start_bulk(RESOURCES["customers"]), cost=10)


def _operation(run_id, resource="orders") -> BulkOperation | None:
    with transaction() as session:
        return bulk_operations.get(session, run_id, resource)


@pytest.mark.parametrize("fault", ["bulk_never_starts", "bulk_held"])
def test_an_operation_that_finds_nothing_new_is_stopped_and_another_started(worker, bulk_shop, monkeypatch, fault):
    monkeypatch.setattr("tasks.bulk_steps.STUCK_AFTER", timedelta(seconds=0.5))
    shop = bulk_shop()
    shop.configure(faults={fault: {"next": 1, "lines": 5}})
    assert shop.sync(mode=Mode.BULK, resources=["orders"]).status == RunStatus.COMPLETED
    assert [each["status"] for each in bulk_of(shop)["operations"]] == ["CANCELED", "COMPLETED"]


def test_the_webhook_of_its_end_wakes_the_sync(worker, bulk_shop, tell, monkeypatch):
    monkeypatch.setattr("tasks.bulk_steps.SHORTEST_LOOK", timedelta(minutes=10))
    monkeypatch.setattr("tasks.bulk_steps.LONGEST_LOOK", timedelta(minutes=10))
    shop = bulk_shop()
    from tasks import sync  # noqa: PLC0415

    run_id = sync.begin(shop.tenant_id, mode=Mode.BULK, resources=["orders"])
    eventually(lambda: (operation := _operation(run_id)) and operation.operation_id)
    eventually(lambda: bulk_of(shop)["operations"][0]["status"] == "COMPLETED")
    for ended in ("gid://shopify/BulkOperation/1", _operation(run_id).operation_id):  # for another's nobody waits
        told = {"admin_graphql_api_id": ended, "status": "completed", "type": "query", "error_code": None}
        times = dict.fromkeys(("created_at", "completed_at"), "2026-03-01T10:00:00Z")
        tell(shop, "bulk_operations/finish", told | times)
    eventually(lambda: shop.run(run_id).status == RunStatus.COMPLETED)


def test_a_slice_that_two_workers_read_at_once_is_counted_once(bulk_shop, small_slices, monkeypatch):
    from tasks import bulk_steps, sync_steps  # noqa: PLC0415
    from tasks.sync_work import Position  # noqa: PLC0415

    # Given an operation that has ended, and a worker that has read a slice which another has written meanwhile
    shop = bulk_shop(orders=3, customers=2, products=2)
    run_id = _started(shop)
    position = Position(run_id, 0)
    for step in (0, 1):
        sync_steps.advance(position, "orders", step)
    eventually(lambda: bulk_of(shop)["operations"][0]["status"] == "COMPLETED")
    write = bulk_steps._write
    with monkeypatch.context() as patch:
        patch.setattr(bulk_steps, "_write", lambda *arguments: [write(*arguments), write(*arguments)][1])
        # When it writes the slice, it ends
        assert sync_steps.advance(position, "orders", 2).next_step is None
    # And when the other goes on, each object is counted once
    assert sync_steps.advance(position, "orders", 2).next_step == 4
    assert _operation(run_id).objects == bulk_of(shop)["operations"][0]["lines"]
    with transaction() as session:
        sync_runs.finish(session, sync_runs.get(session, run_id), RunStatus.CANCELLED)


def test_what_a_false_deletion_buried_is_raised_before_the_sync_ends(worker, bulk_shop, tell):
    shop = bulk_shop()
    shop.sync()
    tell(shop, "orders/delete", {"id": int(shop.ids("orders")[0]["id"])})
    eventually(lambda: shop.figures() != shop.expected())
    assert shop.sync(mode=Mode.BULK, resources=["orders"]).status == RunStatus.COMPLETED
    assert shop.figures() == shop.expected()


def test_what_a_file_cannot_tell_of_refunds_is_read_before_the_sync_ends(worker, bulk_shop):
    shop = bulk_shop()
    for _ in range(35):
        shop.act(*_a_refunded_order(), *_a_refunded_order(at=2))
    run = shop.sync(mode=Mode.BULK)
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()
    eventually(lambda: _marks(shop) == 0)  # orders of this very second are told apart a little later
    assert _refund_lines(shop) >= 70


def _a_refunded_order(at=0):
    return {"action": "createOrder", "lineCount": 2}, {"action": "refundOrder", "id": f"${at}", "quantity": 1}


@pytest.mark.parametrize("refused", ["START", "QUERY"])
def test_a_shop_that_knows_no_bulk_operations_is_read_by_pages(worker, bulk_shop, monkeypatch, refused):
    from shopify import bulk  # noqa: PLC0415

    monkeypatch.setattr(bulk, refused, getattr(bulk, refused).replace("bulkOperation", "noSuchField"))
    shop = bulk_shop(orders=30, customers=10, products=4)
    run = shop.sync(mode=Mode.BULK)
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert shop.figures() == shop.expected()


def test_a_cancelled_sync_stops_its_operation(worker, bulk_shop):
    shop = bulk_shop()
    shop.configure(faults={"bulk_held": {"next": 1, "lines": 5}})
    from tasks import sync  # noqa: PLC0415

    run_id = sync.begin(shop.tenant_id, mode=Mode.BULK, resources=["orders"])
    eventually(lambda: any(each["isHeld"] for each in bulk_of(shop)["operations"]))
    eventually(lambda: (operation := _operation(run_id)) and operation.operation_id)
    with transaction() as session:
        sync.cancel(session, sync_runs.get(session, run_id, for_update=True))
    eventually(lambda: [each["status"] for each in bulk_of(shop)["operations"]] == ["CANCELED"])
    assert shop.run(run_id).status == RunStatus.CANCELLED


def test_the_broker_is_told_of_every_slice_that_was_written(worker, bulk_shop, small_slices, monkeypatch):
    from tasks.connection import broker  # noqa: PLC0415

    noted = []
    monkeypatch.setattr(broker, "note_progress", lambda: noted.append(1))
    shop = bulk_shop(orders=12, customers=5, products=3)
    assert shop.sync(mode=Mode.BULK).status == RunStatus.COMPLETED
    assert len(noted) == 12 + 5 + 3


class Killed(BaseException):
    """What SIGKILL does: nothing after it is carried out."""


@pytest.mark.parametrize("before_commit", [True, False], ids=["before", "after"])
def test_a_sync_killed_at_any_slice_goes_on_from_its_byte(bulk_shop, small_slices, monkeypatch, before_commit):
    shop = bulk_shop(orders=12, customers=5, products=3)
    from tasks import bulk_steps, sync_steps  # noqa: PLC0415
    from tasks.sync_work import Position  # noqa: PLC0415

    original = bulk_steps.store if before_commit else bulk_steps._write

    def killed(*arguments, **options):
        if before_commit:
            raise Killed
        original(*arguments, **options)
        raise Killed

    name = "store" if before_commit else "_write"
    run_id = _started(shop)
    step, kills = 0, 0
    while shop.run(run_id).status == RunStatus.RUNNING:
        for kill in (True, False) if before_commit else (True,):
            with monkeypatch.context() as patch:
                if kill:
                    patch.setattr(bulk_steps, name, killed)
                else:
                    patch.setattr(bulk_steps, "READING", 0.0)
                try:
                    done = sync_steps.advance(Position(run_id, 0), "orders", step)
                except Killed:
                    kills += 1
                    continue
                step = step if done is None or done.next_step is None else done.next_step
    assert kills >= 12
    assert shop.run(run_id).status == RunStatus.COMPLETED
    assert shop.figures()["revenue"] == shop.expected()["revenue"]
    starts = [each["start"] for each in bulk_of(shop)["downloads"] if each["status"] == 206]
    assert starts == sorted(starts)


def _started(shop):
    """A bulk sync of the orders, prepared, whose steps the test carries out itself."""
    from tasks import sync_steps  # noqa: PLC0415
    from tasks.sync_work import Position  # noqa: PLC0415

    with transaction() as session:
        run = sync_runs.start(session, shop.tenant_id, resources=["orders"], mode=Mode.BULK)
    sync_steps.prepare(Position(run.id, run.epoch))
    return run.id


@pytest.mark.parametrize(
    "action", ["updateOrder", "refundOrder", "cancelOrder", "deleteOrder", "createOrder", "editOrder"]
)
def test_a_webhook_between_any_two_lines_is_neither_lost_nor_torn(worker, bulk_shop, small_slices, action):
    """The file is held behind each of its lines, and something happens to an order that was read, is read or will be."""
    shop = bulk_shop(orders=1, customers=3, products=2)
    shop.act(*({"action": "createOrder", "lineCount": 2} for _ in range(7)))
    shop.configure(faults={"download_held": {"every": 1, "lines": 0}})
    from tasks import sync  # noqa: PLC0415

    ids = [each["id"] for each in shop.ids("orders")[1:]]
    targets = itertools.cycle(ids)
    run_id = sync.begin(shop.tenant_id, mode=Mode.BULK, resources=["orders"])
    left = set(ids)
    while shop.run(run_id).status == RunStatus.RUNNING:
        if any(each["isHeld"] for each in bulk_of(shop)["downloads"]):
            target = next(targets)
            if action == "createOrder":
                deliver(shop, {"action": action, "lineCount": 2})
            elif target in left:
                if action in {"cancelOrder", "deleteOrder"}:
                    left.discard(target)
                deliver(shop, _deed(shop, action, target))
            release(shop, lines=1)
    assert shop.run(run_id).status == RunStatus.COMPLETED
    eventually(lambda: _marks(shop) == 0, timeout=60)
    truth, ours = shop.expected(), shop.figures()
    assert {name: ours[name] for name in ("countingOrders", "revenue", "days")} == {
        name: truth[name] for name in ("countingOrders", "revenue", "days")
    }
    _assert_lines_are_the_stores(shop)


def _deed(shop, action, order_id):
    if action == "updateOrder":
        return {"action": action, "id": order_id, "note": "changed"}
    if action == "editOrder":
        return {"action": action, "id": order_id, "add": {"quantity": 1, "price": "3.00"}}
    if action == "refundOrder":
        return {"action": action, "id": order_id, "amount": "0.01"}
    return {"action": action, "id": order_id}


def _refund_lines(shop):
    with transaction() as session:
        return len(session.exec(select(RefundLineItem).where(col(RefundLineItem.tenant_id) == shop.tenant_id)).all())


def _marks(shop):
    with transaction() as session:
        return len(session.exec(select(Refetch).where(col(Refetch.tenant_id) == shop.tenant_id)).all())


def _assert_lines_are_the_stores(shop):
    from models.orders import LineItem  # noqa: PLC0415

    with transaction() as session:
        alive = session.exec(
            select(Order.shopify_id).where(col(Order.tenant_id) == shop.tenant_id, col(Order.deleted_at).is_(None))
        ).all()
        lines = session.exec(select(LineItem).where(col(LineItem.tenant_id) == shop.tenant_id)).all()
    ours = {
        order_id: sorted(
            (line.shopify_id, line.current_quantity) for line in lines if line.order_shopify_id == order_id
        )
        for order_id in alive
    }
    stores = {}
    for order_id in alive:
        payload = shop.store.control("GET", f"shops/{shop.domain}/payload?kind=orders&id={order_id}")
        stores[order_id] = sorted((line["id"], line["current_quantity"]) for line in payload["line_items"])
    assert ours == stores
