"""Whatever happens in several shops, in whatever order we hear of it: the tables end equal to the store's own state.

Steps are drawn by Hypothesis: what happens in the shops, what arrives, what is lost, what a worker does next, who is
killed and who comes between. ``DRIVES=5000`` makes it long; the default keeps the suite short and draws the same each time.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from models.database import transaction
from models.sync_runs import Mode, RunInProgress
from shopify.resources import RESOURCES
from tests.tasks.stage import DrivenShop, Stage
from tests.tasks.stage_truth import differences
from tests.tasks.staging import Staging, own_database

pytestmark = pytest.mark.long

DRIVES = int(os.environ.get("DRIVES", "10"))
#: Seconds for all of them, on a busy machine.
PATIENCE = max(600, DRIVES * 10)
SHOPS = 2


# --- the steps -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deed:
    """``pick`` and ``other`` choose what it is done to, and with."""

    name: str
    pick: int
    other: int


@dataclass(frozen=True)
class Happens:
    """Deeds in a shop, one after the other, ``seconds`` between them."""

    shop: int
    deeds: tuple[Deed, ...]
    seconds: float


@dataclass(frozen=True)
class Arrives:
    pick: int
    again: bool


@dataclass(frozen=True)
class IsLost:
    pick: int


@dataclass(frozen=True)
class Works:
    """A worker takes one of the letters that are due, of a batch up to ``most``."""

    pick: int
    most: int


@dataclass(frozen=True)
class Passes:
    seconds: float


@dataclass(frozen=True)
class Syncs:
    shop: int
    #: Of what was updated in so many days; None: everything.
    days: int | None
    mode: Mode


@dataclass(frozen=True)
class OperationEnds:
    """Shopify carries out a bulk operation that was asked for."""

    pick: int


@dataclass(frozen=True)
class CatchesUp:
    shop: int


@dataclass(frozen=True)
class IsKilled:
    """Whoever is at work at the ``after``-th seam from now."""

    after: int


@dataclass(frozen=True)
class IsInterrupted:
    """At the ``after``-th seam from now the next ``steps`` steps come between."""

    after: int
    steps: int


@dataclass(frozen=True)
class Fails:
    """The shop's next answer is none."""

    shop: int
    fault: str


Step = (
    Happens | Arrives | IsLost | Works | Passes | Syncs | OperationEnds | CatchesUp | IsKilled | IsInterrupted | Fails
)


@dataclass(frozen=True)
class Chosen:
    """What a deed is done to, and with: ids of the shop's, and small numbers."""

    order: str
    buyer: str
    customer: str
    second: str
    product: str
    pick: int
    other: int

    @property
    def line(self) -> dict[str, Any]:
        return {"price": f"{5 + self.other}.25", "quantity": 1 + self.other % 3}

    @property
    def whose(self) -> dict[str, Any]:
        return {} if self.other == 2 else {"customerId": self.second}


#: By the deed's name, what the control endpoint is told of it.
DEEDS: dict[str, Callable[[Chosen], dict[str, Any]]] = {
    "place": lambda it: {"action": "createOrder", "lines": [it.line] * (1 + it.pick % 2), **it.whose},
    "place a test order": lambda it: {"action": "createOrder", "lines": [it.line], "test": True},
    "note": lambda it: {"action": "updateOrder", "id": it.order, "note": f"note {it.other}"},
    "tag": lambda it: {"action": "updateOrder", "id": it.order, "tags": [f"tag {it.other}"]},
    "pay": lambda it: {"action": "payOrder", "id": it.order},
    "fulfill": lambda it: {"action": "fulfillOrder", "id": it.order},
    "cancel": lambda it: {"action": "cancelOrder", "id": it.order},
    "refund a unit": lambda it: {"action": "refundOrder", "id": it.order, "quantity": 1},
    "refund all": lambda it: {"action": "refundOrder", "id": it.order},
    "refund in goodwill": lambda it: {"action": "refundOrder", "id": it.order, "amount": "1.00"},
    "add by edit": lambda it: {"action": "editOrder", "id": it.order, "add": it.line},
    "remove by edit": lambda it: {"action": "editOrder", "id": it.order, "remove": {"quantity": 1}},
    "delete an order": lambda it: {"action": "deleteOrder", "id": it.order},
    "create a customer": lambda it: {"action": "createCustomer", "firstName": f"Ada {it.other}"},
    "rename a customer": lambda it: {"action": "updateCustomer", "id": it.customer, "lastName": f"L. {it.other}"},
    "delete a customer": lambda it: {"action": "deleteCustomer", "id": it.customer},
    "merge": lambda it: {"action": "mergeCustomers", "one": it.customer, "two": it.second},
    "merge the buyer": lambda it: {"action": "mergeCustomers", "one": it.buyer, "two": it.second},
    "create a product": lambda it: {"action": "createProduct", "title": f"Product {it.other}"},
    "rename a product": lambda it: {"action": "updateProduct", "id": it.product, "title": f"Title {it.other}"},
    "delete a product": lambda it: {"action": "deleteProduct", "id": it.product},
}

#: By the fault's name, what it needs to be told.
FAULTS: dict[str, dict[str, int]] = {
    "drop": {},
    "server_error": {},
    "internal": {},
    "rate_limited": {},
    "bulk_failed": {"lines": 8},
    "bulk_canceled": {"lines": 8},
    "bulk_short": {"lines": 8},
    "bulk_ungrouped": {},
    "bulk_link_expired": {},
    "download_unavailable": {},
    "download_cut": {"bytes": 4_000},
}

#: What happened before anybody listened: a bulk file tells refunds only in part.
OF_OLD = (Deed("refund a unit", -1, 0), Deed("refund all", -2, 0))

#: The oldest and the newest of their kind: few, so that much befalls the same.
picks = st.integers(-2, 2)
shops = st.integers(0, SHOPS - 1)
#: Where most can go wrong: a version that comes after a merge or a deletion that it knew nothing of.
often = ["merge the buyer", "merge the buyer", "note", "note", "delete an order", "rename a customer"]
deeds = st.builds(Deed, st.sampled_from(sorted(DEEDS) + often), picks, picks)
happens = st.builds(Happens, shops, st.lists(deeds, max_size=10).map(tuple), st.sampled_from([0, 0.4, 1.1, 1.1, 40]))
arrives = st.builds(Arrives, st.integers(0, 20), st.booleans())
works = st.builds(Works, st.integers(0, 20), st.sampled_from([1, 2, 100]))
passes = st.builds(Passes, st.sampled_from([0.3, 1, 2.5, 30, 70, 200]))
modes = st.sampled_from([Mode.PAGES, Mode.BULK])
rare = st.one_of(
    st.builds(IsLost, st.integers(0, 20)),
    st.builds(Syncs, shops, st.sampled_from([None, None, 1]), modes),
    st.builds(OperationEnds, st.integers(0, 5)),
    st.builds(CatchesUp, shops),
    st.builds(Fails, shops, st.sampled_from(sorted(FAULTS))),
)
interruptions = st.one_of(
    st.builds(IsKilled, st.integers(0, 12)), st.builds(IsInterrupted, st.integers(0, 12), st.integers(2, 8))
)
other_step = st.one_of(arrives, arrives, works, works, works, passes, rare, interruptions, interruptions)
#: Something happens, and other steps follow, eight times: a single list would be drawn short.
steps = st.tuples(*[st.tuples(happens, st.lists(other_step, max_size=10))] * 8).map(
    lambda parts: [each for begun, others in parts for each in (begun, *others)]
)


# --- carrying them out -----------------------------------------------------------------------------------------------


class Drive:
    """Carries steps out, some of them in the middle of others."""

    def __init__(self, stage: Stage, steps: Sequence[Step]) -> None:
        self._stage = stage
        self._steps: Iterator[Step] = iter(steps)

    def run(self) -> None:
        for step in self._steps:
            self._carry_out(step)

    def _carry_out(self, step: Step) -> None:  # noqa: C901  one case for each kind of step
        stage = self._stage
        match step:
            case Happens(shop, deeds, seconds):
                for deed in deeds:
                    stage.act(stage.shops[shop], DEEDS[deed.name](chosen(stage.shops[shop], deed)))
                    stage.time.pass_(seconds)
            case Arrives() | IsLost():
                self._deliver(step)
            case Works(pick, most):
                stage.relay()
                if due := stage.queue.due():
                    stage.work(due[pick % len(due)], most=most)
            case Passes(seconds):
                stage.time.pass_(seconds)
            case Syncs(shop, days, mode):
                begin_sync(stage, stage.shops[shop], mode, days)
            case OperationEnds(pick):
                stage.end_operation(pick)
            case CatchesUp(shop):
                catch_up(stage, stage.shops[shop])
            case Fails(shop, fault):
                stage.fail_next(stage.shops[shop], {fault: {"next": 1, **FAULTS[fault]}})
            case IsKilled(after):
                stage.interrupt(after)
            case IsInterrupted(after, count):
                stage.interrupt(after, lambda: self._come_between(count))

    def _deliver(self, step: Arrives | IsLost) -> None:
        if not self._stage.sent:
            return
        sent = self._stage.sent[step.pick % len(self._stage.sent)]
        if isinstance(step, IsLost):
            self._stage.lose(sent)
        else:
            self._stage.deliver(sent, again=step.again)

    def _come_between(self, count: int) -> None:
        for _ in range(count):
            if (step := next(self._steps, None)) is None:
                return
            self._carry_out(step)


def chosen(shop: DrivenShop, deed: Deed) -> Chosen:
    def one(table: Any, number: int) -> str:
        ids = sorted(table.rows)
        return str(ids[number % len(ids)]) if ids else "1"

    store, pick, other = shop.store, deed.pick, deed.other
    order, customer = one(store.orders, pick), one(store.customers, pick)
    row = store.orders.rows.get(int(order))
    buyer = str(row.customer_id) if row is not None and row.customer_id else customer
    return Chosen(order, buyer, customer, one(store.customers, other), one(store.products, pick), pick, other)


def begin_sync(stage: Stage, shop: DrivenShop, mode: Mode, days: int | None = None) -> None:
    from tasks import sync  # noqa: PLC0415

    since = None if days is None else (stage.time.now() - timedelta(days=days)).date()

    def begin() -> None:
        with suppress(RunInProgress):
            sync.begin(shop.tenant_id, mode=mode, since=since)

    stage.start(begin)


def catch_up(stage: Stage, shop: DrivenShop) -> None:
    from tasks import catching_up  # noqa: PLC0415

    stage.call(catching_up.catch_up, str(shop.tenant_id))


# --- what must hold --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def staging(postgres) -> Iterator[Staging]:
    with own_database(postgres, "drive"), pytest.MonkeyPatch.context() as patch:
        yield Staging(patch)


def all_differences(stage: Stage, *, is_told_by_webhooks: bool = False) -> list[str]:
    return [
        f"{shop.domain}: {difference}"
        for shop in stage.shops
        for difference in differences(shop, is_told_by_webhooks=is_told_by_webhooks)
    ]


#: The topic whose loss a look does not mend: Shopify moves the orders without a change of theirs, and no event names them.
SILENT = "customers/merge"


@pytest.mark.timeout(PATIENCE)
@settings(
    max_examples=DRIVES,
    derandomize="DRIVES" not in os.environ,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@example(  # a merge is heard of before what its customer's order was told of earlier
    steps=[
        Happens(0, (Deed("note", 1, 0),), 1.1),
        Happens(0, (Deed("merge the buyer", 1, 1),), 1.1),
        Arrives(1, again=False),
        Works(0, 100),
        Arrives(0, again=False),
        Works(0, 100),
    ],
    losses=False,
    begun=False,
    history=(Mode.PAGES, Mode.PAGES),
    fault=None,
    order=0,
    skew=0,
)
@example(  # a second operation's file tells once more what the first one's told in part
    steps=[],
    losses=False,
    begun=False,
    history=(Mode.BULK, Mode.BULK),
    fault="bulk_short",
    order=0,
    skew=0,
)
@given(
    steps=steps,
    losses=st.sampled_from([False, False, True]),
    begun=st.sampled_from([False, False, True]),
    history=st.tuples(modes, modes),
    fault=st.sampled_from([None, None, *sorted(FAULTS)]),
    order=st.integers(0, 99),
    skew=st.sampled_from([0, 0, -900_000, 900_000]),
)
def test_whatever_happens_the_tables_end_equal_to_the_store(  # noqa: PLR0917  Hypothesis names them
    staging, steps, losses, begun, history, fault, order, skew
):
    first, last = history
    with staging.fresh() as stage:
        stage.time.skew, stage.chance = skew, random.Random(order)
        # Given shops whose histories were read, or are about to be
        for number in range(SHOPS):
            shop = stage.open_shop(seed=number + 1, orders=5, customers=3, products=2)
            for deed in OF_OLD:
                stage.act(shop, DEEDS[deed.name](chosen(shop, deed)))
            stage.sent.clear()
            stage.time.pass_(300)  # longer ago than what a sync reads once more
            if fault is not None:
                stage.fail_next(shop, {fault: {"next": len(RESOURCES), **FAULTS[fault]}})
            begin_sync(stage, shop, first)
        if not begun:
            stage.drain()
        # When everything happens
        Drive(stage, [step for step in steps if losses or not isinstance(step, IsLost)]).run()
        stage.disarm()
        stage.drain()
        # Then what webhooks told of is here, but for those that were lost
        if not stage.lost:
            assert all_differences(stage, is_told_by_webhooks=True) == []
        # And what was updated or deleted unheard is found by the next look
        stage.time.pass_(3600)
        for shop in stage.shops:
            catch_up(stage, shop)
        stage.drain()
        if not any(each.topic == SILENT for each in stage.lost):
            assert all_differences(stage, is_told_by_webhooks=True) == []
        # And a whole sync leaves no difference at all
        for shop in stage.shops:
            begin_sync(stage, shop, last)
        stage.drain()
        assert all_differences(stage) == []
        assert statuses(stage) == ["completed"] * SHOPS


def statuses(stage: Stage) -> list[str]:
    """How the latest run of each shop ended."""
    with transaction() as session:
        rows = session.execute(
            text("select distinct on (tenant_id) status from sync_runs order by tenant_id, started_at desc")
        )
        return [row.status for row in rows]
