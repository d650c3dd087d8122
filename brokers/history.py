"""What became of a message's deliveries: kept in its option ``broker_history``, which retries and replays carry along.

Only failed deliveries are noted, so that a message that succeeds at once carries nothing.
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from dramatiq.message import Message

from .leases import Delivery

OPTION = "broker_history"
#: Failures kept: the first, and the last so many less one. With what one takes they stay well below a kilobyte each.
KEPT = 10
#: Characters kept of an error.
ERROR_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery that failed.  ``count`` says how often the server had lent the message out since it was last enqueued."""

    sequence: int
    count: int
    #: Milliseconds since 1970.
    delivered: int
    failed: int
    #: Host and process id.
    worker: str
    error: str

    @property
    def delivered_at(self) -> datetime:
        return datetime.fromtimestamp(self.delivered / 1000, UTC)

    @property
    def failed_at(self) -> datetime:
        return datetime.fromtimestamp(self.failed / 1000, UTC)


def note(message: "Message[Any]", delivery: Delivery, error: BaseException | None) -> None:
    """Write a failed delivery into the message's history.  The same delivery twice is noted once."""
    attempts = of(message)
    if attempts and (attempts[-1].sequence, attempts[-1].count) == (delivery.sequence, delivery.count):
        return
    attempt = Attempt(
        sequence=delivery.sequence,
        count=delivery.count,
        delivered=int(delivery.received_at * 1000),
        failed=int(time.time() * 1000),
        worker=f"{socket.gethostname()}:{os.getpid()}",
        error=described(error)[:ERROR_LENGTH],
    )
    _keep(message, [*attempts, attempt])


def note_death(message: "Message[Any]", *, sequence: int, count: int, delivered: datetime, worker: str) -> None:
    """Write a delivery into the message's history that ended with its worker: known when it began, not when it ended."""
    at = int(delivered.timestamp() * 1000)
    attempt = Attempt(sequence, count, at, at, worker, "the worker was killed")
    if attempt not in (attempts := of(message)):
        _keep(message, [*attempts, attempt])


def _keep(message: "Message[Any]", attempts: list[Attempt]) -> None:
    if len(attempts) > KEPT:
        del attempts[1]
    message.options[OPTION] = [asdict(each) for each in attempts]


def described(error: BaseException | None) -> str:
    """An error as a text that can be stored, also when it cannot say what it is."""
    if error is None:
        return "rejected"
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception as worse:  # noqa: BLE001  anything may happen in a stranger's __str__
        text = f"{type(error).__name__}: ({type(worse).__name__} in its __str__)"
    return text.encode("utf-8", "backslashreplace").decode()


def of(message: "Message[Any]") -> tuple[Attempt, ...]:
    """The failed deliveries that a message knows of, oldest first."""
    noted = message.options.get(OPTION)
    return tuple(_attempt(each) for each in noted if _is_attempt(each)) if isinstance(noted, list | tuple) else ()


_TYPES = {field.name: field.type for field in fields(Attempt)}


def _is_attempt(noted: object) -> bool:
    return isinstance(noted, Mapping) and all(isinstance(noted.get(name), kind) for name, kind in _TYPES.items())  # type: ignore[arg-type]


def _attempt(noted: Mapping[str, Any]) -> Attempt:
    return Attempt(**{name: noted[name] for name in _TYPES})
