"""What can go wrong between this process and NATS, as one small family.

Everything that passes by itself once NATS is well again is a ``BrokerUnavailable`` and so a ``BrokerConnectionError``:
Dramatiq's worker waits and tries again on those.
"""

from collections.abc import Sequence
from typing import Any

from dramatiq.errors import BrokerConnectionError, BrokerError
from dramatiq.message import Message
from dramatiq.middleware import SkipMessage


class BrokerUnavailable(BrokerConnectionError):
    """NATS cannot be reached, or did not confirm in time. A publish that raised this may still have been stored."""

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call]


class ConnectionLost(BrokerUnavailable):
    """The connection went away before the answer came: the request may or may not have been executed."""


class NoAnswer(BrokerUnavailable):
    """The server did not answer in time: the request may or may not have been executed."""


class NoResponders(BrokerUnavailable):
    """Nobody serves that subject: the stream or bucket does not exist, or has no leader at the moment."""


class JetStreamError(BrokerError):
    """What waiting does not cure."""

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call]


class StorageFull(BrokerUnavailable):
    """NATS refused a publish because its storage, or the account's share of it, is full. Nothing was removed for it."""


class MessageTooLarge(JetStreamError):
    """The message does not fit into what the server takes (its ``max_payload``). Trying again cannot help."""


class ServerTooOld(JetStreamError):
    """The server lacks a feature that a promise of this broker stands on."""


class RequestRefused(JetStreamError):
    """NATS answered a request with an error that waiting does not cure (a permission, a setting).

    ``code`` is JetStream's error code (``err_code``), 0 where there was none; ``status`` that of a direct read.
    """

    def __init__(self, message: str, code: int = 0, *, status: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class NotStored(JetStreamError):
    """Not all of many messages were stored.

    ``failures`` holds each of those with its error, in the order in which they were given; all others are stored. One
    whose error is BrokerUnavailable may be stored all the same: the server did not confirm it in time.
    """

    def __init__(self, failures: "Sequence[tuple[Message[Any], Exception]]", total: int) -> None:
        message, error = failures[0]
        super().__init__(f"{len(failures)} of {total} messages were not stored, the first, {message}: {error}")
        self.failures = tuple(failures)

    @property
    def messages(self) -> "list[Message[Any]]":
        """Those that were not stored."""
        return [message for message, _ in self.failures]


class NotStoredYet(NotStored, BrokerUnavailable):
    """Not all of many messages were stored, for reasons that pass by themselves."""


class AlreadyQueued(JetStreamError):
    """A unique message that a pipeline or group waits for cannot be enqueued: another one with its key is queued."""


class UnsafeSetting(RequestRefused):
    """A stream, a consumer or the server is set in a way that would break a promise. The message says what is needed."""


class KeyConflict(JetStreamError):
    """A create or update lost the race: the key's revision is not the expected one."""


class DeadLetterNotFound(JetStreamError, LookupError):
    """There is no dead letter with that sequence: it was replayed, purged, or never existed."""


class WorkerKilled(JetStreamError, SkipMessage):
    """A message killed the worker that ran it, again and again; it is dead-lettered without being run once more."""
