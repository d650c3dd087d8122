"""Who a publish is: the id by which JetStream recognises a repetition of it (``Nats-Msg-Id``).

Each call of ``enqueue`` is a publish of its own. Made outside of a worker its id is random, so that the same message
enqueued twice on purpose runs twice. Made while a delivery is processed it derives from that delivery's stream sequence
and from what is enqueued: when the delivery is repeated after a crash, its successors are recognised and not doubled.

What is enqueued counts, not only how many came before, so that an actor that takes another branch the second time loses
nothing: the n-th enqueue of the same actor with the same arguments within one delivery is the same publish. (After the
actor, for a retry, the n-th enqueue of the same actor.) A group's callback is the same publish whichever member enqueues it.
"""

import contextvars
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from dramatiq.message import Message, get_encoder

from . import members
from .members import Run
from .pauses import QueuePause


class Processing:
    """One delivery while its actor, and the middleware around it, runs."""

    __slots__ = (
        "_counts",
        "_groups",
        "failure",
        "is_after_actor",
        "is_over",
        "message",
        "message_ids",
        "once_all_is_stored",
        "pause",
        "sequence",
        "stored_ns",
        "stream",
    )

    def __init__(
        self, stream: str, sequence: int, message: "Message[Any] | None", pause: QueuePause, *, stored_ns: int = 0
    ) -> None:
        self.stream = stream
        self.sequence = str(sequence)
        #: When the message was stored: a stream that is made anew counts sequences from one again.
        self.stored_ns = stored_ns
        #: None for a batch.
        self.message = message
        self.message_ids: Collection[str] = () if message is None else (message.message_id,)
        #: The pause of the queue that the delivery came from.
        self.pause = pause
        #: How often each name was enqueued; made when something is.
        self._counts: Counter[str] | None = None
        self._groups: dict[str, Run] | None = None
        #: The actor is done; what is enqueued now is middleware's (a retry, a pipeline's next step, a callback).
        self.is_after_actor = False
        self.is_over = False
        #: The first enqueue after the actor that failed.
        self.failure: Exception | None = None
        #: What to do once there is no failure.
        self.once_all_is_stored: list[Callable[[], None]] = []

    @property
    def groups(self) -> "dict[str, Run]":
        """The groups that the actor ran, by the names that Dramatiq gave them."""
        if self._groups is None:
            self._groups = {}
        return self._groups

    def is_of(self, message: "Message[object]") -> bool:
        """Whether this is the message that is processed, about to be enqueued again."""
        return message.message_id in self.message_ids

    def next_id(self, message: "Message[object]") -> str:
        callback = None
        if self.message is not None and self.is_after_actor:
            callback = members.callback_id(self.message, message)
        name = callback or f"{self.stream}:{self.sequence}:{self._digest(message)}"
        if self._counts is None:
            self._counts = Counter()
        self._counts[name] += 1
        return f"{name}:{self._counts[name]}"

    def _digest(self, message: "Message[object]") -> str:
        # A retry is the message itself; new messages have random ids, which a repetition would not repeat.
        kind = "self" if self.is_of(message) else "new"
        content: dict[str, Any] = {"kind": kind, "queue": message.queue_name, "actor": message.actor_name}
        if not self.is_after_actor:  # middleware puts times and tracebacks into its messages' arguments
            content |= {"args": message.args, "kwargs": message.kwargs}
            group = members.group_of(message.options)
            if group is not None:
                content["group"] = group
        return hashlib.blake2b(get_encoder().encode(content), digest_size=12).hexdigest()

    @classmethod
    def of_all(cls, processings: "list[Processing]") -> "Processing":
        """A batch's: what it enqueues is recognised when the same messages, all of them and no other, come again."""
        first = processings[0]
        if len(processings) == 1:
            return first
        batch = cls(first.stream, 0, None, first.pause, stored_ns=first.stored_ns)
        sequences = ",".join(sorted(each.sequence for each in processings))
        batch.sequence = "batch-" + hashlib.blake2b(sequences.encode(), digest_size=12).hexdigest()
        batch.message_ids = frozenset().union(*(each.message_ids for each in processings))
        return batch


# A context variable, since asyncio carries it from the worker's thread into an async actor.
_current: contextvars.ContextVar[Processing | None] = contextvars.ContextVar("processing", default=None)


def current() -> Processing | None:
    """The delivery that this thread or task is processing."""
    processing = _current.get()
    return None if processing is None or processing.is_over else processing


def begin(processing: Processing) -> None:
    processing.is_over = False
    _current.set(processing)


def end() -> None:
    processing = _current.get()
    if processing is not None:
        processing.is_over = True  # for tasks that outlive the message and still see it
        _current.set(None)


@contextmanager
def nothing_is_processed() -> Iterator[None]:
    """Enqueue as if from outside, whatever this thread is processing."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def publish_id(message: "Message[object]") -> str:
    """The id of one call of ``enqueue``."""
    processing = current()
    return os.urandom(16).hex() if processing is None else processing.next_id(message)
