"""Lanes and priorities of messages: where each one is published, and the bell that tells workers of it.

A lane keeps messages of one kind (say of one tenant) apart from the others, so that a long queue of one delays no other;
within a lane the higher ``broker_priority`` goes first. Both are fixed at the first enqueue and kept in the message's
options, so that retries, delays, dead letters and replays keep them.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from dramatiq.message import Message

from . import unique
from .names import Names, from_token, to_token
from .wire import Wire

logger = logging.getLogger(__name__)

#: The options of a message, and of an actor; ``broker_priority`` is named as Dramatiq's RabbitMQ broker names it.
LANE, PRIORITY, LIMIT = "lane", "broker_priority", "lane_limit"
#: The option of an actor that says in which lane the dead letters of its messages without one are found.
DEAD_LANE = "dead_letter_lane"
HIGHEST_PRIORITY = 255
#: Bytes of a lane's name: it becomes part of a subject and of a consumer's name.
MAX_LANE = 128
#: Seconds between two bells of one process for the same place. Whoever hears one looks once more a little later.
BELL_PAUSE = 0.05
#: Places whose last bell is remembered.
MAX_RUNG = 4096


def place(message: "Message[Any]", actor_options: Mapping[str, Any]) -> None:
    """Fix a message's lane and priority in its options, unless they are.

    Raises ValueError for a lane that is not a short text, or a priority that is not 0 to 255.
    """
    options = message.options
    if PRIORITY not in options and actor_options.get(PRIORITY) is not None:
        options[PRIORITY] = actor_options[PRIORITY]
    if LANE not in options and actor_options.get(LANE) is not None:
        lane = actor_options[LANE]
        options[LANE] = lane(message) if callable(lane) else lane
    _check(options.get(LANE), options.get(PRIORITY))


def lane_of(message: "Message[Any]") -> str:
    """A message's lane; "" when it has none."""
    lane = message.options.get(LANE)
    return lane if isinstance(lane, str) else ""


def dead_lane_of(message: "Message[Any]", actor_options: Mapping[str, Any]) -> str:
    """The lane in which a message's dead letter is found. Whatever is wrong with the actor's option, it is buried."""
    lane = lane_of(message) or actor_options.get(DEAD_LANE) or ""
    try:
        lane = lane(message) if callable(lane) else lane
        _check(lane, None)
    except Exception:
        logger.exception("%s of %s does not tell a lane", DEAD_LANE, message.actor_name)
        return ""
    return lane or ""


def priority_of(message: "Message[Any]") -> int:
    priority = message.options.get(PRIORITY)
    return priority if isinstance(priority, int) and 0 <= priority <= HIGHEST_PRIORITY else 0


def work_subject(names: Names, message: "Message[Any]", *, default_key: str = "") -> str:
    """Where a message is published that can run now."""
    lane, priority, key = lane_of(message), priority_of(message), unique.key_of(message) or default_key
    return names.work(message.queue_name, message.actor_name, lane=lane, priority=priority, key=key)


def check_actor(options: Mapping[str, Any]) -> None:
    """Raises ValueError for an actor's option that cannot be kept."""
    limit = options.get(LIMIT)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"{LIMIT} must be a whole number from 1, not {limit!r}")
    for lane in (options.get(LANE), options.get(DEAD_LANE)):
        _check(None if callable(lane) else lane, options.get(PRIORITY))


def _check(lane: object, priority: object) -> None:
    if lane is not None and (not isinstance(lane, str) or len(lane.encode("utf-8", "surrogatepass")) > MAX_LANE):
        raise ValueError(f"a lane must be a text of at most {MAX_LANE} bytes, not {lane!r}")
    is_number = isinstance(priority, int) and not isinstance(priority, bool)
    if priority is not None and not (is_number and 0 <= priority <= HIGHEST_PRIORITY):  # type: ignore[operator]
        raise ValueError(f"{PRIORITY} must be a whole number from 0 to {HIGHEST_PRIORITY}, not {priority!r}")


class Bells:
    """Tells the workers of a queue that a place has something which their standing pull does not bring."""

    def __init__(self, names: Names, connection: Callable[[], Wire]) -> None:
        self._names = names
        self._connection = connection
        self._rung: dict[tuple[str, str, int], float] = {}

    def ring(self, message: "Message[Any]") -> None:
        """Tell of a message that was stored. Nothing is told of the main line, nor twice within a moment."""
        lane, priority = lane_of(message), priority_of(message)
        if not (lane or priority):
            return
        place_, now = (message.queue_name, lane, priority), time.monotonic()
        if now - self._rung.get(place_, 0.0) < BELL_PAUSE:
            return
        if len(self._rung) >= MAX_RUNG:
            self._rung.clear()
        self._rung[place_] = now
        payload = f"{to_token(lane)}.{priority}".encode()
        self._connection().tell(self._names.bell(message.queue_name), payload)

    def look(self, queue: str) -> None:
        """Have the workers of a queue look at once what there is."""
        self._connection().tell(self._names.bell(queue), b"")


def rung(payload: bytes) -> tuple[str, int] | None:
    """The lane and priority that a bell tells of; None when it tells to look."""
    lane, _, priority = payload.decode("ascii", "replace").partition(".")
    return (from_token(lane), int(priority)) if priority.isdigit() else None
