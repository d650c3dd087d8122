"""Looking, about once a second, at what a queue's lanes hold: finds what no bell told of, and whether the queue is paused."""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable

from .api import STREAM_NOT_FOUND
from .connection import Connection
from .errors import BrokerUnavailable
from .names import Names, from_token
from .sources import Place

#: Seconds between two looks, not the same for all workers.
SHORTEST, LONGEST = 0.6, 1.0
#: A look that takes long (many unique keys) is followed by a rest of so many times its length.
REST = 20
#: Seconds for an answer. There is none where the permission to ask lacks.
TIMEOUT = 2.0
#: Seconds until a server is asked again that is not ready.
NOT_READY_PAUSE = 0.2

logger = logging.getLogger(__name__)


class Looks:
    """The looks of one consumer. Lives in the event loop."""

    def __init__(
        self,
        names: Names,
        queue: str,
        connection: Connection,
        *,
        on_pause: Callable[[bool], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._stream = names.work_stream
        self._subject = names.looks_at(queue)
        self._pause_subject = names.pause(queue)
        self._on_pause = on_pause
        self._on_failure = on_failure
        self._hurry = asyncio.Event()
        #: When the last look began, on the monotonic clock.
        self.asked_at = 0.0

    def hasten(self) -> None:
        """Look at once."""
        self._hurry.set()

    async def each(self) -> AsyncIterator[set[Place] | None]:
        """The places that hold something, again and again; None when there was no answer.

        A server that is not ready is asked until it is: whether the queue is paused has to be known before anything starts.
        """
        while True:
            self._hurry.clear()
            self.asked_at = time.monotonic()
            try:
                subjects = await self._subjects()
            except TimeoutError:
                self._on_failure("no answer when looking at them, as where a permission lacks")
                yield None
            except (BrokerUnavailable, ValueError) as error:
                logger.debug("looking at %s: %s: %s", self._subject, type(error).__name__, error)
                await asyncio.sleep(NOT_READY_PAUSE)
                continue
            else:
                self._on_pause(self._pause_subject in subjects)
                yield _places(subjects)
            rest = random.uniform(SHORTEST, LONGEST) + REST * _cost(self.asked_at)  # noqa: S311
            try:
                await asyncio.wait_for(self._hurry.wait(), rest)
            except TimeoutError:
                continue

    async def _subjects(self) -> set[str]:
        subjects: set[str] = set()
        while True:
            body = json.dumps({"subjects_filter": self._subject, "offset": len(subjects)}).encode()
            session = await self._connection.session()
            message = await session.ask(f"$JS.API.STREAM.INFO.{self._stream}", body, timeout=TIMEOUT)
            if message.status == "503":
                raise ValueError("no leader yet, or no JetStream")
            content = json.loads(message.data)
            if "error" in content:
                if content["error"].get("err_code") == STREAM_NOT_FOUND:
                    return set()
                raise ValueError(content["error"].get("description"))
            page = (content.get("state") or {}).get("subjects") or {}
            subjects.update(page)
            if not page or len(subjects) >= int(content.get("total", 0)):
                return subjects


def _cost(began: float) -> float:
    return max(0.0, time.monotonic() - began - 0.05)


def _places(subjects: Iterable[str]) -> set[Place]:
    """``<namespace>.lane.<queue>.<lane>.<priority>.<actor>.<key>`` each."""
    split = (subject.split(".") for subject in subjects)
    tokens = {(parts[3], parts[4]) for parts in split if len(parts) == 7}
    return {(from_token(lane), int(priority)) for lane, priority in tokens if priority.isdigit()}
