"""Storing many messages at once: pipelined, or all of them or none.

Pipelined, many are under way at a time, each with a publish id of its own and repeated with that id until the server has
confirmed it. All or nothing is JetStream's atomic batch (ADR-50); its messages keep their publish ids too, so that a
batch whose confirmation was lost is recognised when it is repeated.
"""

import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dramatiq.message import Message

from .api import RETRY_PAUSE, WRONG_LAST_SEQUENCE, refusal
from .errors import (
    BrokerUnavailable,
    ConnectionLost,
    NoAnswer,
    NoResponders,
    NotStored,
    NotStoredYet,
    RequestRefused,
    StorageFull,
)
from .link import Link, Waiter
from .protocol import Msg, encode_headers, extend_headers
from .publisher import Publisher, check_size
from .unique import Claim
from .wire import Wire, check

#: Messages, and bytes of them, under way at a time: enough to keep the server busy, little to send again after a loss.
WINDOW, WINDOW_BYTES = 1024, 4 << 20
#: Messages, and bytes, that go out in one piece.
PIECE, PIECE_BYTES = 256, 1 << 18
#: Seconds without any answer after which the connection is suspected and what is under way is sent again.
ATTEMPT = 1.0
#: Messages of one atomic batch, which the server limits.
MOST_AT_ONCE = 1000
#: JetStream's error codes of atomic batches: a message of it is stored already; it was given up on the way.
DUPLICATE_IN_BATCH = 10201
BATCH_GIVEN_UP = frozenset({10176, 10210, 10211})


@dataclass(slots=True, eq=False)
class Item:
    """One message on its way."""

    message: "Message[Any]"
    publish_id: str
    subject: str
    headers: dict[str, str]
    body: bytes
    claim: Claim | None
    sequence: int | None = None
    error: Exception | None = None
    _block: bytes = b""

    def block(self) -> bytes:
        """The headers as they are sent."""
        if self.claim is not None:  # its headers change with what it finds
            return encode_headers({"Nats-Msg-Id": self.publish_id, **self.headers, **self.claim.headers})
        if not self._block:
            self._block = encode_headers({"Nats-Msg-Id": self.publish_id, **self.headers})
        return self._block

    def publish(self, publisher: Publisher, more: Mapping[str, str]) -> int:
        """Store it by itself, with some headers more. Returns its sequence."""
        headers = {**self.headers, **more}
        return publisher.publish(self.subject, self.body, publish_id=self.publish_id, headers=headers)


class Bulk:
    """Stores items, and tells ``on_stored`` of each. ``patience``: seconds without any confirmation until it gives up."""

    def __init__(self, wire: Wire, publisher: Publisher, *, patience: float, on_stored: Callable[[Item], None]) -> None:
        self._wire = wire
        self._publisher = publisher
        self._patience = patience
        self._on_stored = on_stored

    def store_each(self, items: Sequence[Item]) -> None:
        """Store what can be stored. Raises NotStored for the others, MessageTooLarge before anything is sent."""
        self._check_sizes(items)
        _Pipeline(self._wire, self._publisher, self._patience, self._on_stored).run(items)
        for item in items:
            if item.claim is not None and isinstance(item.error, RequestRefused):
                self._settle_claim(item, item.claim, item.error)
        _raise_failures(items)

    def store_all_or_nothing(self, items: Sequence[Item]) -> None:
        """Store all items or none. Raises NotStored with all of them, MessageTooLarge before anything is sent."""
        if len(items) > MOST_AT_ONCE:
            raise ValueError(f"an atomic batch holds at most {MOST_AT_ONCE:,} messages, not {len(items):,}")
        if any(item.claim is not None for item in items):
            raise ValueError("unique messages cannot be stored all or nothing: whether one is stored depends on others")
        self._check_sizes(items)
        try:
            self._repeat_batch(items, time.monotonic() + self._patience)
        except RequestRefused as error:
            if error.code == DUPLICATE_IN_BATCH:
                # An earlier try, whose answer was lost, stored them; or an earlier run of the delivery that enqueues
                # them. Each answers for itself by its id, and what is missing of an earlier run is added.
                self.store_each(items)
                return
            self._fail_all(items, error)
        except BrokerUnavailable as error:
            self._fail_all(items, error)
        for item in items:
            self._on_stored(item)

    def _repeat_batch(self, items: Sequence[Item], deadline: float) -> None:
        while True:
            try:
                return self._store_batch(items, deadline)
            except StorageFull:
                raise
            except NoResponders:
                self._publisher.find_out_why(deadline)
            except BrokerUnavailable:
                if time.monotonic() + RETRY_PAUSE >= deadline:
                    raise
                time.sleep(RETRY_PAUSE)

    def _store_batch(self, items: Sequence[Item], deadline: float) -> None:
        """One try, as a batch of its own. The server checks everything at the last message, and answers that one."""
        link = self._wire.connected(deadline)
        waiter, sent_at = Waiter(), time.monotonic()
        batch, last = uuid.uuid4().hex, len(items)
        requests = []
        for number, item in enumerate(items, 1):
            more = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == last:
                more["Nats-Batch-Commit"] = "1"
            requests.append((item.subject, extend_headers(item.block(), more), item.body))
        tokens = link.send_all(waiter, requests)
        try:
            sequence = self._await_commit(link, waiter, tokens[-1], deadline)
        finally:
            for token in tokens:
                link.forget(token)
        if sequence is None:
            self._wire.suspect(link, sent_at)
            raise NoAnswer(f"NATS at {self._wire.address} did not confirm in time")
        for number, item in enumerate(items):
            item.sequence = sequence - last + 1 + number

    def _await_commit(self, link: Link, waiter: Waiter, commit: str, deadline: float) -> int | None:
        until = min(deadline, time.monotonic() + 2 * ATTEMPT)
        while link.wait(waiter, until):
            if waiter.error is not None:
                raise waiter.error
            while waiter.answers:
                token, answer = waiter.answers.popleft()
                check(answer, "a batch")
                content = json.loads(answer.data) if answer.data else {}
                if "error" in content:
                    error = content["error"]
                    if int(error.get("err_code", 0)) in BATCH_GIVEN_UP:
                        raise BrokerUnavailable(f"NATS gave up a batch: {error.get('description')}")
                    raise refusal(error, what="a batch")
                if token == commit:
                    return int(content["seq"])
        return None

    def _settle_claim(self, item: Item, claim: Claim, error: RequestRefused) -> None:
        if error.code not in WRONG_LAST_SEQUENCE:
            return
        deadline = time.monotonic() + self._patience

        def store(more: Mapping[str, str]) -> int:
            return item.publish(self._publisher, more)

        item.error = None
        try:
            item.sequence = claim.publish(store, deadline=deadline)
        except Exception as problem:  # noqa: BLE001  it is told in NotStored
            item.error = problem
        else:
            self._on_stored(item)

    def _check_sizes(self, items: Sequence[Item]) -> None:
        try:
            self._wire.await_connection(time.monotonic() + self._patience)
        except BrokerUnavailable as error:
            self._fail_all(items, error)
        limit = self._wire.max_payload
        for item in items:
            check_size(limit, item.body, item.block())

    def _fail_all(self, items: Sequence[Item], error: Exception) -> None:
        for item in items:
            item.error = error
        _raise_failures(items)


class _Pipeline:
    """Items under way, those still to be sent, and what came of the others."""

    def __init__(self, wire: Wire, publisher: Publisher, patience: float, on_stored: Callable[[Item], None]) -> None:
        self._wire = wire
        self._publisher = publisher
        self._patience = patience
        self._on_stored = on_stored
        self._todo: deque[Item] = deque()
        self._out: dict[str, Item] = {}
        self._out_bytes = 0
        self._deadline = 0.0
        #: Nobody took an item, or JetStream was not ready for it: worth another try in a moment.
        self._obstacle: BrokerUnavailable | None = None

    def run(self, items: Sequence[Item]) -> None:
        self._todo.extend(items)
        self._deadline = time.monotonic() + self._patience
        while self._todo or self._out:
            try:
                self._overcome_obstacle()
                self._talk(self._wire.connected(self._deadline))
            except (StorageFull, RequestRefused) as error:
                self._give_up(error)
            except BrokerUnavailable as error:
                self._take_back()
                if time.monotonic() + RETRY_PAUSE >= self._deadline:
                    self._give_up(error)
            except BaseException:
                self._out.clear()
                raise

    def _talk(self, link: Link) -> None:
        """Send and listen until all is confirmed, something stands in the way, or the connection is gone."""
        waiter = Waiter()
        try:
            while self._out or (self._todo and self._obstacle is None):
                sent_at = self._send_some(link, waiter)
                until = min(sent_at + ATTEMPT, self._deadline)
                if not link.wait(waiter, until):
                    self._wire.suspect(link, sent_at)
                    raise NoAnswer(f"NATS at {self._wire.address} did not confirm in time")
                if waiter.error is not None:
                    raise waiter.error
                while waiter.answers:
                    token, answer = waiter.answers.popleft()
                    item = self._out.pop(token)
                    self._out_bytes -= len(item.body)
                    self._settle(item, answer)
        finally:
            for token in self._out:
                link.forget(token)

    def _send_some(self, link: Link, waiter: Waiter) -> float:
        # Only once half of them are confirmed: pieces are cheaper than single messages.
        if self._obstacle is None and len(self._out) <= WINDOW // 2:
            while self._todo and len(self._out) < WINDOW and self._out_bytes < WINDOW_BYTES:
                piece: list[Item] = []
                size = 0
                while self._todo and len(piece) < PIECE and size < PIECE_BYTES:
                    piece.append(self._todo.popleft())
                    size += len(piece[-1].body)
                try:
                    tokens = link.send_all(waiter, ((each.subject, each.block(), each.body) for each in piece))
                except ConnectionLost:
                    self._todo.extendleft(reversed(piece))
                    raise
                self._out.update(zip(tokens, piece, strict=True))
                self._out_bytes += size
        return time.monotonic()

    def _settle(self, item: Item, answer: Msg) -> None:
        try:
            check(answer, item.subject)
            content = json.loads(answer.data)
            if "error" in content:
                raise refusal(content["error"], what=f"a message on {item.subject}")
        except StorageFull as error:
            item.error = error
            raise
        except BrokerUnavailable as error:
            self._obstacle = error
            self._todo.append(item)
        except RequestRefused as error:
            item.error = error
        else:
            item.sequence = int(content["seq"])
            self._deadline = time.monotonic() + self._patience
            self._on_stored(item)

    def _overcome_obstacle(self) -> None:
        obstacle, self._obstacle = self._obstacle, None
        if isinstance(obstacle, NoResponders):
            self._publisher.find_out_why(self._deadline)
        elif obstacle is not None:
            if time.monotonic() + RETRY_PAUSE >= self._deadline:
                raise obstacle
            time.sleep(RETRY_PAUSE)

    def _take_back(self) -> None:
        """What was under way is sent again, with the same ids, in its order."""
        self._todo.extendleft(reversed(self._out.values()))
        self._out.clear()
        self._out_bytes = 0

    def _give_up(self, error: Exception) -> None:
        self._take_back()
        for item in self._todo:
            item.error = error
        self._todo.clear()


def _raise_failures(items: Sequence[Item]) -> None:
    failures = [(item.message, item.error) for item in items if item.error is not None]
    if failures:
        passes = all(isinstance(error, BrokerUnavailable) for _, error in failures)
        raise (NotStoredYet if passes else NotStored)(failures, len(items))
