"""Enqueueing: from a call of ``enqueue`` to a message that the server confirmed."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dramatiq.common import current_millis, q_name
from dramatiq.errors import QueueNotFound
from dramatiq.message import Message

from . import cancel, groups, headers, identity, lanes, unique
from .bulk import Bulk, Item
from .cancel import Cancellation
from .dead_letters import NOTES
from .errors import MessageTooLarge
from .lanes import Bells
from .links import Links
from .names import Names
from .processing import ProcessingBroker
from .publisher import SHORT_DELAY, Publisher, placed
from .unique import Claim, Uniques

#: Dramatiq's own queue, which actors are on unless they say otherwise; it needs no declaration.
DEFAULT_QUEUE = "default"


class EnqueueingBroker(ProcessingBroker):
    """The part of the broker that stores messages."""

    queues: set[str]
    #: Set by the broker itself.
    _names: Names
    _links: Links
    _publisher: Publisher
    _publish_timeout: float
    _uniques: Uniques
    _bells: Bells
    _cancellation: Cancellation

    def enqueue(self, message: "Message[Any]", *, delay: int | None = None) -> "Message[Any]":
        """Store a message.  Returns after the server's acknowledgement.

        Parameters:
          message(Message): The message to enqueue.
          delay(int): Milliseconds before which it must not run.

        Raises:
          QueueNotFound: When its queue was never declared.
          BrokerUnavailable: When the server did not confirm within ``publish_timeout``.
          StorageFull: When the server has no room.
          MessageTooLarge: At once, when the server would not take it.
          AlreadyQueued: When it is unique, another is queued, and a pipeline or group waits for this very one.
        """
        try:
            return self._enqueue(message, delay)
        except Exception as error:
            self._note_failure(error)
            raise

    def enqueue_many(
        self, messages: "Iterable[Message[Any]]", *, delay: int | None = None, atomic: bool = False
    ) -> "list[Message[Any]]":
        """Store many messages, much faster than one by one.  Returns when all are confirmed.

        Each is a publish of its own, repeated by itself until it is confirmed; a failure of some does not concern the
        others.  With ``atomic`` all are stored or none.

        Parameters:
          messages(Iterable[Message]): The messages, of any actors and queues.  They are held in memory meanwhile.
          delay(int): Milliseconds before which none of them must run.
          atomic(bool): All or nothing.  At most 1,000 messages, none of them unique.

        Returns:
          list[Message]: What ``enqueue`` returns for each, in the same order.

        Raises:
          QueueNotFound: When a queue was never declared.  Nothing is stored then.
          MessageTooLarge: When the server would not take one of them.  Nothing is stored then.
          NotStored: When some, or with ``atomic`` all, were not stored; it holds them with their errors.
          NotStoredYet: The same, when waiting can cure it: a NotStored and a BrokerUnavailable.
        """
        try:
            prepared = [self.prepare(message, delay) for message in messages]
            items = [self._item(message, identity.publish_id(message), wait) for message, wait in prepared]
            if items:
                waits = dict(zip(items, (wait for _, wait in prepared), strict=True))
                self._store_many(items, waits, atomic=atomic)
        except Exception as error:
            self._note_failure(error)
            raise
        return [self._standing(item.message, item.claim) for item in items]

    async def enqueue_async(self, message: "Message[Any]", *, delay: int | None = None) -> "Message[Any]":
        """``enqueue`` for callers in an event loop, any loop: it goes on while the server is asked.

        Cancelling the caller does not take the message back: it may be stored all the same.

        Examples:

          >>> await broker.enqueue_async(add.message(1, 2))
        """
        return await asyncio.to_thread(self.enqueue, message, delay=delay)

    async def enqueue_many_async(
        self, messages: "Iterable[Message[Any]]", *, delay: int | None = None, atomic: bool = False
    ) -> "list[Message[Any]]":
        """``enqueue_many`` for callers in an event loop."""
        return await asyncio.to_thread(self.enqueue_many, messages, delay=delay, atomic=atomic)

    def prepare(self, message: "Message[Any]", delay: float | None = None) -> "tuple[Message[Any], float | None]":
        """The first half of ``enqueue``, which stores nothing: a message as middleware completed it, and its delay.

        Raises QueueNotFound, or ValueError for an option that cannot be kept.
        """
        queue_name = self._known(message.queue_name)
        message = message.copy(queue_name=queue_name)  # Retries passes a proxy, and goes on changing its options
        for option in (cancel.OPTION, unique.ALREADY_QUEUED):  # of an earlier enqueue
            message.options.pop(option, None)
        eta = message.options.pop("eta", None)
        if delay is None and isinstance(eta, int | float):
            delay = eta - current_millis()
        self._place(message)
        groups.enrol(message, self.middleware)
        self.emit_before("enqueue", message, delay)
        headers.check(message)
        return message, delay

    def enqueue_prepared(self, message: "Message[Any]", *, delay: float | None, publish_id: str) -> "Message[Any]":
        """The second half of ``enqueue``: returns when the message is stored, once for each publish id."""
        claim = self._uniques.claim(message, publish_id)
        try:
            self._store(message, publish_id, delay, claim)
        except MessageTooLarge:
            if not NOTES & message.options.keys():
                raise
            for note in NOTES & message.options.keys():  # made it too large, and are what can be missed
                del message.options[note]
            self._store(message, publish_id, delay, claim)
        standing = self._standing(message, claim)
        self.emit_after("enqueue", message, delay)
        return standing

    def cancel(self, message: "Message[Any] | str") -> bool:
        """Take a delayed message back.

        What ``enqueue`` or ``send_with_options`` returned knows where it waits: permission to publish is enough. A message
        id, or another copy of the message, is looked up (which needs direct reads of the stream), and everything delayed
        with that id is taken back, a delayed retry too.

        Best effort once due: what has fallen due is not stopped, nor is a delay below half a second.

        Parameters:
          message(Message | str): What ``enqueue`` returned, or a message id.

        Returns:
          bool: True when it was taken back and will not run; False when it was due, unknown, or cancelled already.

        Raises:
          BrokerUnavailable: When the server did not confirm in time.
        """
        return self._cancellation.cancel(message)

    # Parts

    def _known(self, queue_name: str) -> str:
        queue_name = q_name(queue_name)
        if queue_name not in self.queues and queue_name != DEFAULT_QUEUE:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        return queue_name

    def _enqueue(self, message: "Message[Any]", delay: float | None) -> "Message[Any]":
        message, delay = self.prepare(message, delay)
        return self.enqueue_prepared(message, delay=delay, publish_id=identity.publish_id(message))

    def _store(self, message: "Message[Any]", publish_id: str, delay: float | None, claim: Claim | None = None) -> None:
        item = self._item(message, publish_id, delay, claim)
        deadline = time.monotonic() + self._publish_timeout

        def store(more: Mapping[str, str]) -> int:
            return item.publish(self._publisher, more)

        item.sequence = store({}) if claim is None else claim.publish(store, deadline=deadline)
        self._note_stored(item, delay)

    def _item(self, message: "Message[Any]", publish_id: str, delay: float | None, claim: Claim | None = None) -> Item:
        delay = delay or 0
        work = lanes.work_subject(self._names, message)
        subject, more = (work, {}) if delay <= 0 else placed(work, self._schedule(message, publish_id, delay), delay)
        return Item(message, publish_id, subject, {**headers.of(message), **more}, message.encode(), claim)

    def _schedule(self, message: "Message[Any]", publish_id: str, delay: float) -> str:
        queue, actor, key = message.queue_name, message.actor_name, unique.key_of(message)
        due = time.time() + delay / 1000
        return self._names.schedule(queue, actor, key or publish_id, due=due, message_id=message.message_id)

    def _store_many(self, items: Sequence[Item], waits: Mapping[Item, float | None], *, atomic: bool) -> None:
        def stored(item: Item) -> None:
            self._note_stored(item, waits[item])
            self.emit_after("enqueue", item.message, waits[item])

        for item in items:
            item.claim = self._uniques.claim(item.message, item.publish_id)
        bulk = Bulk(self._links.wire(), self._publisher, patience=self._publish_timeout, on_stored=stored)
        if atomic:
            bulk.store_all_or_nothing(items)
        else:
            bulk.store_each(items)

    def _note_stored(self, item: Item, delay: float | None) -> None:
        if item.sequence is None:  # another stands for it
            return
        if (delay or 0) >= SHORT_DELAY:
            cancel.note(item.message, item.subject, item.sequence)
        else:
            self._bells.ring(item.message)

    def _standing(self, message: "Message[Any]", claim: Claim | None) -> "Message[Any]":
        return self._uniques.standing(message, claim) if claim is not None and claim.is_beaten else message

    def _note_failure(self, error: Exception) -> None:
        """After an actor, a message whose successor was not stored must not count as done."""
        processing = identity.current()
        if processing is not None and processing.is_after_actor:
            processing.failure = processing.failure or error

    def _place(self, message: "Message[Any]") -> None:
        """Note in a message what its actor's options say of it."""
        actor = self.actors.get(message.actor_name)
        lanes.place(message, {} if actor is None else actor.options)
        unique.place(message, actor)

    def _placed(self, message: "Message[Any]") -> "Message[Any]":
        message = message.copy()
        self._place(message)
        return message
