"""Unique tasks: at most one queued (or queued and running) for each key.

The key stands in the subject, the same place whether a message can run now, has a lane or waits for its time. A publish
asks the server to store it only if nothing lies on any of these subjects, which the server checks and does in one step.
A message lies there until it is acknowledged, so a running one counts; for tasks that are unique only while queued, the
worker marks the message when it starts, and the publish then asks that the started one still is the last.

Retries pass: they are the message that is there already. So do replays.
"""

import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dramatiq.actor import Actor
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from . import cancel, identity
from .api import WRONG_LAST_SEQUENCE, Api, Stored
from .errors import AlreadyQueued, BrokerUnavailable, JetStreamError, RequestRefused
from .expectations import last_is
from .key_value import KeyValue
from .leases import Delivery
from .names import Names

logger = logging.getLogger(__name__)

#: Options of an actor and of a message. On an enqueued message ``unique`` is the key.
UNIQUE, WHILE = "unique", "unique_while"
QUEUED, QUEUED_OR_RUNNING = "queued", "queued_or_running"
#: The option that tells that ``enqueue`` stored nothing.
ALREADY_QUEUED = "already_queued"
#: Repeats the publish id where a schedule's firing does not remove it.
PUBLISH_ID = "Dramatiq-Publish-Id"
#: Characters of a key in a subject; a longer one is replaced by its digest.
LONGEST_KEY = 100
#: What stood in a publish's way has gone or started meanwhile, so it is tried again: at once, later after some seconds.
QUICK_LOOKS, LOOK_PAUSE = 3, 0.02
#: Options of messages that something waits for: a pipeline's next step, a group's callback.
CONTINUED = ("pipe_target", "group_completion_uuid")
#: The bucket of the marks of started messages, and the seconds that a mark stays: while running (no task should take
#: longer), and after the end, until the acknowledgement has certainly arrived.
STARTED_BUCKET, STARTED_TTL, ENDED_TTL = "unique", 7 * 86400.0, 60.0


def check_actor(options: Mapping[str, Any]) -> None:
    """Raises ValueError for an actor's options that mean nothing."""
    unique, until = options.get(UNIQUE), options.get(WHILE, QUEUED_OR_RUNNING)
    if not (unique in (None, False, True) or callable(unique)):
        raise ValueError(
            f"an actor's option {UNIQUE!r} is True, or a function of the message that returns a text or None"
        )
    if until not in (QUEUED, QUEUED_OR_RUNNING):
        raise ValueError(f"the option {WHILE!r} is {QUEUED!r} or {QUEUED_OR_RUNNING!r}, not {until!r}")


def place(message: "Message[Any]", actor: "Actor[Any, Any] | None") -> None:
    """Note in a message what it is unique by, so that retries and replays keep it. Raises ValueError."""
    options: Mapping[str, Any] = {} if actor is None else actor.options
    wanted = message.options.get(UNIQUE, options.get(UNIQUE))
    if callable(wanted):
        wanted = wanted(message)
    elif wanted is True:
        wanted = _key_of_call(message, actor)
    if wanted is None or wanted is False:
        for option in (UNIQUE, WHILE):
            message.options.pop(option, None)
        return
    if not isinstance(wanted, str):
        raise ValueError(f"the key of a unique message is a text, not {wanted!r}")  # noqa: TRY004  of an option
    check_actor({WHILE: (until := message.options.get(WHILE, options.get(WHILE, QUEUED_OR_RUNNING)))})
    is_long = not wanted or len(wanted) > LONGEST_KEY
    message.options[UNIQUE] = _digest(wanted) if is_long else wanted
    if until == QUEUED:
        message.options[WHILE] = QUEUED


def key_of(message: "Message[Any]") -> str:
    """The key that ``place`` noted; empty without one."""
    key = message.options.get(UNIQUE)
    return key if isinstance(key, str) else ""


def _key_of_call(message: "Message[Any]", actor: "Actor[Any, Any] | None") -> str:
    """The same for the same call, however it is spelled: by position, by name, with a default left out."""
    arguments: object = [list(message.args), dict(message.kwargs)]
    if actor is not None:
        try:
            bound = inspect.signature(actor.fn).bind(*message.args, **message.kwargs)
        except (TypeError, ValueError):  # the call will fail, or the function has no signature
            pass
        else:
            bound.apply_defaults()
            arguments = [list(bound.args), bound.kwargs]
    return _digest(json.dumps(arguments, sort_keys=True, default=repr))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Claim:
    """One message's claim to its key: the headers of its publish, and what a refusal means.

    ``publish`` does it all for one message. Who publishes many at once sends each with ``headers``, and asks ``refused``
    when the server answers with one of ``WRONG_LAST_SEQUENCE``.
    """

    def __init__(
        self,
        message: "Message[Any]",
        publish_id: str,
        *,
        subject: str,
        look: Callable[[], list[Stored]],
        started: "Started",
    ) -> None:
        self._message = message
        self._publish_id = publish_id
        self._subject = subject
        self._look = look
        self._started = started
        self.headers = {**last_is(0, subject), PUBLISH_ID: publish_id}
        #: What was found in the stream after a refusal: this message itself, stored by an earlier try, or another.
        self.found: Stored | None = None

    @property
    def is_beaten(self) -> bool:
        """Whether another message with this key is queued, so that this one was not stored."""
        return self.found is not None and not self._is_own(self.found)

    def publish(self, store: Callable[[Mapping[str, str]], int], *, deadline: float) -> int | None:
        """Call ``store`` with headers until it is clear. Returns the sequence of the stored message; None when beaten.

        Raises what ``store`` does, BrokerUnavailable when it was not clear in time, AlreadyQueued.
        """
        tries = 0
        while True:
            try:
                return store(self.headers)
            except RequestRefused as error:
                if error.code not in WRONG_LAST_SEQUENCE:
                    raise
            if not self.refused():
                return None if self.found is None or self.is_beaten else self.found.sequence
            if time.monotonic() >= deadline:
                raise BrokerUnavailable(f"it did not become clear in time whether {self._message} is queued already")
            tries += 1
            if tries > QUICK_LOOKS:
                time.sleep(LOOK_PAUSE)

    def refused(self) -> bool:
        """Find out why the server refused. Returns whether to publish again, with the headers as they are now.

        Raises BrokerUnavailable, AlreadyQueued.
        """
        others = self._look()
        self.found = next((other for other in others if self._is_own(other)), None)
        if self.found is not None:
            return False  # the answer to an earlier try was lost
        waiting = [other for other in others if not self._has_made_room(other)]
        if not waiting:
            self.headers |= last_is(others[-1].sequence if others else 0, self._subject)
            return True
        if any(self._message.options.get(option) for option in CONTINUED):
            raise AlreadyQueued(f"{self._message} is queued already, but a pipeline or group waits for this very one")
        self.found = waiting[-1]
        return False

    def _is_own(self, stored: Stored) -> bool:
        return stored.headers.get(PUBLISH_ID) == self._publish_id

    def _has_made_room(self, stored: Stored) -> bool:
        return self._message.options.get(WHILE) == QUEUED and self._started.has(stored)


class Uniques:
    """Gives unique messages their claims."""

    def __init__(
        self,
        names: Names,
        api: Api,
        bucket: KeyValue,
        *,
        restore: "Callable[[Stored], Message[Any]]",
        timeout: float,
    ) -> None:
        self._names = names
        self._api = api
        self._restore = restore
        self._timeout = timeout
        self.started = Started(bucket)

    def claim(self, message: "Message[Any]", publish_id: str) -> Claim | None:
        """The claim of a message that is about to be published; None for one that passes."""
        key = key_of(message)
        processing = identity.current()
        if not key or (processing is not None and processing.is_of(message)):
            return None
        subject = self._names.same(message.queue_name, message.actor_name, key)
        return Claim(message, publish_id, subject=subject, look=lambda: self._all_on(subject), started=self.started)

    def standing(self, message: "Message[Any]", claim: Claim) -> "Message[Any]":
        """What ``enqueue`` returns for a message that was beaten: the one that is queued, marked as such."""
        assert claim.found is not None
        logger.debug("%s is queued already", message)
        message.options[ALREADY_QUEUED] = True
        try:
            standing = self._restore(claim.found)
        except DecodeError:
            return message
        standing.options[ALREADY_QUEUED] = True
        if self._names.is_schedule(claim.found.subject):
            cancel.note(standing, claim.found.subject, claim.found.sequence)
        return standing

    def _all_on(self, subject: str) -> list[Stored]:
        deadline = time.monotonic() + self._timeout
        return list(self._api.each(self._names.work_stream, subject, deadline=deadline))


class Started:
    """Which messages have started, of those that are unique only while they are queued."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    def has(self, stored: Stored) -> bool:
        stored_ms = (stored.stored_at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
        return self._bucket.get(_mark(stored.sequence, stored_ms)) is not None

    def begin(self, message: "Message[Any]", delivery: Delivery) -> None:
        """Free the key for another: this one starts."""
        self._write(message, delivery, STARTED_TTL)

    def end(self, message: "Message[Any]", delivery: Delivery, *, is_given_back: bool) -> None:
        # A mark outlasts its message: without one, a message whose acknowledgement is under way would count as waiting.
        self._write(message, delivery, None if is_given_back else ENDED_TTL)

    def _write(self, message: "Message[Any]", delivery: Delivery, ttl: float | None) -> None:
        if message.options.get(WHILE) != QUEUED or not key_of(message):
            return
        mark = _mark(delivery.sequence, delivery.stored_ns // 1_000_000)
        try:
            if ttl is None:
                self._bucket.delete(mark)
            else:
                self._bucket.put(mark, b"", ttl=ttl)
        except (BrokerUnavailable, JetStreamError) as error:
            # Then it counts as queued for as long as it runs: others are refused, and nothing is lost or doubled.
            logger.warning("message %s has started, but its key is not free: %s", message, error)


def _mark(sequence: int, stored_ms: int) -> str:
    return f"{sequence}-{stored_ms}"  # a stream that is made anew counts from one again
