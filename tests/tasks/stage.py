"""A stage on which nothing happens by itself: time, Shopify, the queue and the workers move only when a test says so.

Postgres is real, and so are the actors and the simulated store. NATS is a list of letters that keeps what NATS promises:
every letter is delivered until it is settled, never before it is due, in any order; a publish id is stored once within its
window. SIGKILL is an exception at a *seam*: before or after a commit, a publish, a question to a shop. No thread runs, so
the same steps end the same every time.
"""

import base64
import io
import json
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import urllib3
from pydantic import SecretStr
from sqlalchemy import text

from brokers import identity
from brokers.identity import Processing
from brokers.pauses import QueuePause
from models import tenants
from models.database import engine, transaction
from scripts.store.clock import parse
from scripts.store.control import Control, ControlError, Keeper
from scripts.store.market import Market
from scripts.store.outbox import Outbox
from scripts.store.server import Dropped, Site
from shopify.errors import ShopUnavailable
from shopify.transport import Reply
from shopify.webhooks import WebhookHeaders
from tests.shopify.budget_simulation import MemoryStore

#: Shortly before a day ends where the shops are.
START = parse("2026-11-20T04:55:00Z")
#: Where the simulated store would be, had it a socket.
ORIGIN = "http://127.0.0.1:1"
#: Microseconds that every step takes.
TICK = 1_000
#: Points a second of every shop: budgets have tests of their own.
RATE = 100_000


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


class Time:
    """What our clock says, in microseconds since 1970. Shopify's is ``skew`` microseconds ahead of it."""

    def __init__(self) -> None:
        self.instant, self.skew = START, 0

    def now(self, _: Any = None) -> datetime:
        self.instant += 1  # two looks at a clock differ
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.instant)

    def seconds(self) -> float:
        return self.instant / 1e6

    def shopifys(self) -> int:
        return self.instant + self.skew

    def pass_(self, seconds: float) -> None:
        self.instant += int(seconds * 1e6)

    def reach(self, instant: int) -> None:
        self.instant = max(self.instant, instant)


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """A message that NATS holds."""

    message: Any
    sequence: int
    #: As time counts.
    due: int

    @property
    def lane(self) -> tuple[str, str]:
        return self.message.actor_name, str(self.message.args[0]) if self.message.args else ""


class Queue:
    """What was published and is not settled."""

    def __init__(self, time: Time, *, window: float) -> None:
        self._time, self._window = time, window
        self._known: dict[str, float] = {}
        self._sequence = 0
        self.letters: list[Letter] = []

    def store(self, message: Any, *, delay: float | None, publish_id: str) -> None:
        now = self._time.instant
        if now - self._known.get(publish_id, float("-inf")) < self._window * 1_000_000:
            return
        self._known[publish_id] = now
        self._sequence += 1
        self.letters.append(Letter(message, self._sequence, now + int((delay or 0) * 1000)))

    def due(self) -> list[Letter]:
        return [letter for letter in self.letters if letter.due <= self._time.instant]


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """A delivery on its way from Shopify."""

    shop: "DrivenShop"
    topic: str
    headers: dict[str, str]
    body: bytes
    #: Epoch seconds, by our clock.
    at: float


class FileAnswer:
    """An answer to ``requests.get``, of a bulk operation's file."""

    def __init__(self, download: Any) -> None:
        self.status_code, self.headers = download.status, download.headers
        self._body, self._is_cut = io.BytesIO(), download.is_cut
        download.send(self._body)
        self._body.seek(0)
        self.raw = self

    def __enter__(self) -> "FileAnswer":
        return self

    def __exit__(self, *failure: object) -> None:
        pass

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        read = self._body.read(size)
        if not read and self._is_cut:
            raise urllib3.exceptions.ProtocolError("cut off")
        return read


@dataclass(frozen=True, slots=True, eq=False)
class DrivenShop:
    domain: str
    tenant_id: uuid.UUID
    store: Any


class Stage:
    """Shops, what is on its way from them, and a worker that does one thing at a time.

    ``interrupt`` arranges what happens at a seam: ``interrupt(5, action)`` calls ``action`` at the fifth from now on. Where a
    transaction is open nobody else can do anything, so an action that is no kill then waits for the next seam.
    """

    def __init__(self, time: Time, broker: Any) -> None:
        self.time = time
        self.queue = Queue(time, window=broker.duplicate_window)
        self.shops: list[DrivenShop] = []
        self.sent: list[Sent] = []
        #: Bulk operations that Shopify has not carried out yet.
        self.operations: list[Callable[[], None]] = []
        #: Deliveries that will never come.
        self.lost: list[Sent] = []
        self.kills = 0
        #: Open transactions: while there is one, nobody else can do anything.
        self.open_transactions = 0
        self.budgets = MemoryStore()
        #: In which order things happen that nobody put in an order.
        self.chance = random.Random(0)
        self._broker = broker
        self._directory = Path(tempfile.mkdtemp(prefix="stage-"))
        self._market = Market(self._directory)
        self._outbox = Outbox(Keeper(), "http://127.0.0.1/")
        self._outbox.disorder.twice_permille = self._outbox.disorder.late_permille = 0
        self._control = Control(self._market, self._outbox, SimpleNamespace(rate=0.0))  # type: ignore[arg-type]
        self._site = Site(self._market, self._control)
        self._armed: list[tuple[int, Callable[[], None] | None]] = []
        self._is_working = self._is_outbox_full = False

    def close(self) -> None:
        self._market.close()
        shutil.rmtree(self._directory)

    # The seams

    def interrupt(self, after: int, action: Callable[[], None] | None = None) -> None:
        """At the ``after``-th seam from now: ``action``, or a kill without one."""
        self._armed.append((after, action))

    def disarm(self) -> None:
        self._armed.clear()

    def cross(self) -> None:
        """A seam: somebody may be killed here, or others may do something meanwhile."""
        self.time.instant += 1
        if not self._is_working or not self._armed:
            return
        after, action = self._armed[0]
        if after > 0:
            self._armed[0] = (after - 1, action)
        elif action is None:
            self._armed.pop(0)
            self.kills += 1
            raise Killed
        elif not self.open_transactions:
            self._armed.pop(0)
            action()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        before, self._is_working = self._is_working, True
        try:
            yield
        finally:
            self._is_working = before

    # Shops

    def open_shop(self, *, seed: int, orders: int, customers: int, products: int, **choice: Any) -> DrivenShop:
        domain = f"shop-{len(self.shops)}.myshopify.com"
        chosen = {"orders": orders, "customers": customers, "products": products, "days": 40, "isLive": False}
        body = {"domain": domain, "seed": seed, **chosen, **choice}
        made = self._control.answer("POST", "/control/shops", {}, body)
        change = {"restoreRate": RATE, "bucketSize": RATE * 20}
        self._control.answer("PATCH", f"/control/shops/{domain}", {}, change)
        with transaction() as session:
            tenant, _ = tenants.create(
                session,
                shop_domain=domain,
                access_token=SecretStr(made["accessToken"]),
                webhook_secret=SecretStr(made["webhookSecret"]),
            )
        store = self._market.get(domain)
        store.bulk.pace.created_seconds = 0
        shop = DrivenShop(domain, tenant.id, store)
        self.shops.append(shop)
        return shop

    def act(self, shop: DrivenShop, *deeds: dict[str, Any]) -> None:
        """Something happens in a shop, and its webhooks are on their way. What the shop refuses does not happen."""
        self.time.instant += TICK
        try:
            done = self._control.answer(
                "POST", f"/control/shops/{shop.domain}/actions", {}, {"actions": list(deeds), "webhooks": "return"}
            )
        except (ControlError, StopIteration):
            return
        self.sent += [
            Sent(shop, each["topic"], each["headers"], base64.b64decode(each["body"]), self.time.seconds())
            for each in done["webhooks"]
        ]

    def fail_next(self, shop: DrivenShop, fault: dict[str, Any]) -> None:
        shop.store.faults.configure(fault)

    def answer(self, url: str, **request: Any) -> Reply:
        """Takes the place of ``shopify.transport.post``."""
        headers = {**request["headers"], "Content-Type": "application/json"}
        try:
            answer = self._site.answer(
                "POST", url.removeprefix(ORIGIN), headers, json.dumps(request["payload"]).encode()
            )
        except Dropped:
            raise ShopUnavailable("no connection, or one cut off") from None
        return Reply(answer.status, answer.headers, answer.encoded())

    def file(self, url: str, **request: Any) -> FileAnswer:
        """Takes the place of ``requests.get``."""
        parts = urlsplit(url)
        return FileAnswer(self._site.answer("GET", f"{parts.path}?{parts.query}", request["headers"], b""))

    def end_operation(self, pick: int) -> None:
        """Shopify carries out a bulk operation: its file tells what is so now."""
        if self.operations:
            self.time.instant += TICK
            self.operations.pop(pick % len(self.operations))()

    # Work

    def deliver(self, sent: Sent, *, again: bool = False) -> None:
        """The web process takes a delivery. Killed before it answers, or ``again``: Shopify sends it once more."""
        from tasks import webhooks  # noqa: PLC0415

        self.time.instant += TICK
        try:
            with self._at_work():
                webhooks.accept(sent.shop.tenant_id, WebhookHeaders.of(sent.headers), sent.body)
        except Killed:
            return
        if not again and sent in self.sent:
            self.sent.remove(sent)

    def lose(self, sent: Sent) -> None:
        self.sent.remove(sent)
        self.lost.append(sent)

    def call(self, actor: Any, *arguments: Any) -> None:
        """Somebody else sends a message: a cron, the command line."""
        self.queue.store(actor.message(*arguments), delay=None, publish_id=uuid.uuid4().hex)

    def start(self, begin: Callable[[], Any]) -> None:
        """The web process starts something. It may be killed over it."""
        try:
            with self._at_work():
                begin()
        except Killed:
            return

    def note_outbox(self) -> None:
        self._is_outbox_full = True

    def relay(self) -> None:
        """Publish what transactions left in the outbox."""
        from tasks.outbox import outbox  # noqa: PLC0415

        if self._is_outbox_full:
            self._is_outbox_full = False
            outbox.relay(engine())

    def work(self, letter: Letter, *, most: int = 1) -> None:
        """A worker takes a letter, or up to ``most`` of a batch's, and settles it unless it is killed."""
        self.time.instant += TICK
        actor = self._broker.get_actor(letter.message.actor_name)
        is_batch = "batch_size" in actor.options
        letters = [each for each in self.queue.due() if each.lane == letter.lane][:most] if is_batch else [letter]
        if letter not in letters:
            letters = [letter]
        for each in letters:
            self.queue.letters.remove(each)
        try:
            with self._at_work(), _processing(letters):
                if is_batch:
                    actor.fn([each.message for each in letters])
                else:
                    actor.fn(*letter.message.args, **letter.message.kwargs)
        except Killed:
            self.queue.letters += letters

    def drain(self) -> None:
        """Everything that Shopify sent arrives, every letter is worked, and time goes on until nothing is left to do."""
        from tasks import tending  # noqa: PLC0415

        for _ in range(30):
            self.note_outbox()
            self._work_all()
            self.time.pass_(150)  # beyond what makes runs and marks count as forgotten
            with _processing([]):
                tending.tend.fn()
            self.relay()
            if not self.queue.letters and not self.unfinished():
                return
        raise AssertionError(f"it never comes to rest: {self.unfinished()}")

    def _work_all(self) -> None:
        """Whatever can happen next, in the order that ``chance`` gives."""
        for _ in range(5000):
            self.relay()
            due = self.queue.due()
            if self.operations and (not due or self.chance.random() < 0.3):
                self.end_operation(self.chance.randrange(100))
            elif self.sent and (not due or self.chance.random() < 0.5):
                self.deliver(self.chance.choice(self.sent))
            elif due:
                self.work(self.chance.choice(due), most=self.chance.choice([1, 3, 100]))
            elif self.queue.letters:
                self.time.reach(min(letter.due for letter in self.queue.letters))
            else:
                return
        names = sorted({letter.message.actor_name for letter in self.queue.letters})
        raise AssertionError(f"letters beget letters without an end: {names}")

    def unfinished(self) -> dict[str, int]:
        with transaction() as session:
            found = {
                "runs": session.execute(text("select count(*) from sync_runs where status = 'running'")).scalar_one(),
                "marks": session.execute(text("select count(*) from refetches")).scalar_one(),
                "outbox": session.execute(text("select count(*) from dramatiq_outbox")).scalar_one(),
            }
        return {name: count for name, count in found.items() if count}


@contextmanager
def _processing(letters: Sequence[Letter]) -> Iterator[None]:
    """What a worker enqueues derives its identity from what it works on. Workers may interrupt each other."""
    outer = identity.current()
    each = [
        Processing("stream", letter.sequence, letter.message, QueuePause(letter.message.queue_name))
        for letter in letters
    ]
    if each:
        identity.begin(Processing.of_all(each))
    try:
        yield
    finally:
        identity.end()
        if outer is not None:
            identity.begin(outer)
