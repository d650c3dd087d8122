"""A small key-value store in JetStream with compare-and-set and a life time for each key.

The buckets are NATS key-value buckets (other clients can read them); they are made on first use. ``limit_marker_ttl``
stays unset: keys that expire leave no marker that other clients would take for a value. What a bucket stored it also tells to
those who wait for it (``watches.py``).
"""

import asyncio
import contextlib
import json
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .api import RETRY_PAUSE, WRONG_LAST_SEQUENCE, Api, Stored, refusal
from .connection import Connection
from .errors import BrokerUnavailable, KeyConflict, MessageTooLarge, NoResponders, RequestRefused
from .names import to_token
from .streams import NANOSECONDS, Streams
from .watches import Watches
from .wire import Wire

#: Seconds in which a repeated write is recognised; only the tries of one call repeat.
DUPLICATE_WINDOW = 30
#: Seconds that the marker of a deletion stays, so that watchers and mirrors see it.
MARKER_TTL = 60


#: Bytes that a write's headers take at most.
HEADERS = 512


@dataclass(frozen=True, slots=True)
class Entry:
    value: bytes
    #: What ``update`` has to name in order to win.
    revision: int


class KeyValue:
    """One bucket. Keys are any text, values any bytes. Every method raises BrokerUnavailable after the timeout."""

    def __init__(
        self,
        bucket: str,
        connection: Callable[[], Wire],
        streams: Streams,
        *,
        consuming: Callable[[], Connection],
        told: str,
        ttl: float | None,
        memory: bool,
        replicas: int,
        timeout: float,
    ) -> None:
        self._bucket = bucket
        self._stream = f"KV_{bucket}"
        self._connection = connection
        self._consuming = consuming
        self._api = Api(connection)
        self._streams = streams
        self._told = told
        self._watches: Watches | None = None
        self._ttl = ttl
        self._memory = memory
        self._replicas = replicas
        self._timeout = timeout

    def get(self, key: str) -> Entry | None:
        """The key's value and revision, or None: never set, deleted or expired."""
        stored = self._last_of(self._subject(key), time.monotonic() + self._timeout)
        return None if stored is None or _is_marker(stored) else Entry(stored.body, stored.sequence)

    def create(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Set a key that has no value, and return its revision. Raises KeyConflict when it has one."""
        deadline = time.monotonic() + self._timeout
        try:
            return self._write(key, value, deadline, expected=0, ttl=ttl)
        except KeyConflict:
            stored = self._last_of(self._subject(key), deadline)
            if stored is not None and not _is_marker(stored):
                raise
            return self._write(key, value, deadline, expected=0 if stored is None else stored.sequence, ttl=ttl)

    def update(self, key: str, value: bytes, revision: int, ttl: float | None = None) -> int:
        """Replace the value that has this revision, and return the new one. Raises KeyConflict when it has another."""
        return self._write(key, value, time.monotonic() + self._timeout, expected=revision, ttl=ttl)

    def put(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Set a key whatever it was, and return its revision.

        ``ttl``: seconds until it expires. The server counts whole seconds: it is rounded up.
        """
        return self._write(key, value, time.monotonic() + self._timeout, ttl=ttl)

    def revision(self) -> int:
        """The newest revision of all keys, for ``put_if_unchanged``; 0 while there is none."""
        stored = self._last_of(f"$KV.{self._bucket}.>", time.monotonic() + self._timeout)
        return 0 if stored is None else stored.sequence

    def put_if_unchanged(self, key: str, value: bytes, revision: int, ttl: float | None = None) -> int:
        """Set a key if no key of the bucket was written since this ``revision()``, or raise KeyConflict."""
        headers = {"Nats-Expected-Last-Subject-Sequence-Subject": f"$KV.{self._bucket}.>"}
        deadline = time.monotonic() + self._timeout
        return self._write(key, value, deadline, expected=revision, ttl=ttl, headers=headers)

    def delete(self, key: str) -> None:
        """Remove a key's value, if it has one."""
        headers = {"KV-Operation": "DEL", "Nats-TTL": f"{MARKER_TTL}s"}
        self._write(key, b"", time.monotonic() + self._timeout, headers=headers)

    def wait(self, key: str, timeout: float | None) -> Entry | None:
        """The key's value as soon as it has one, or None after ``timeout`` seconds (None: never). Does not poll.

        An outage of NATS meanwhile is waited out.
        """
        with self._all_watches().value_of(to_token(key)) as value:
            try:
                return Entry(*value.result(timeout))
            except TimeoutError:
                return None

    async def wait_async(self, key: str, timeout: float | None) -> Entry | None:  # noqa: ASYNC109 (as ``wait`` has it)
        """The same for callers in an event loop."""
        with self._all_watches().value_of(to_token(key)) as value, contextlib.suppress(TimeoutError):
            return Entry(*await asyncio.wait_for(asyncio.wrap_future(value), timeout))
        return None

    def ensure(self, deadline: float) -> None:
        """Create or update the bucket."""
        config: dict[str, Any] = {
            "name": self._stream,
            "subjects": [f"$KV.{self._bucket}.>"],
            "storage": "memory" if self._memory else "file",
            "num_replicas": self._replicas,
            "max_msgs_per_subject": 1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": int((self._ttl or 0) * NANOSECONDS),
            "discard": "new",
            "allow_direct": True,
            "allow_msg_ttl": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "republish": {"src": f"$KV.{self._bucket}.>", "dest": f"{self._told}.>"},
            "duplicate_window": int(min(self._ttl or DUPLICATE_WINDOW, DUPLICATE_WINDOW) * NANOSECONDS),
        }
        self._streams.apply(config, deadline)

    def _all_watches(self) -> Watches:
        connection = self._consuming()
        watches = self._watches
        if watches is None or watches.connection is not connection:
            watches = self._watches = Watches(
                connection,
                stream=self._stream,
                source=f"$KV.{self._bucket}",
                told=self._told,
                replicas=self._replicas,
            )
        return watches

    def _subject(self, key: str) -> str:
        return f"$KV.{self._bucket}.{to_token(key)}"

    def _last_of(self, subject: str, deadline: float) -> Stored | None:
        while True:
            try:
                return self._api.last(self._stream, subject, deadline=deadline)
            except NoResponders:
                self._create_bucket(deadline)

    def _write(
        self,
        key: str,
        value: bytes,
        deadline: float,
        *,
        expected: int | None = None,
        ttl: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        # The id makes a repeated try answer as the first did, instead of conflicting with it.
        headers = {"Nats-Msg-Id": uuid.uuid4().hex, **(headers or {})}
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        if ttl is not None:
            headers["Nats-TTL"] = f"{max(1, math.ceil(ttl))}s"
        connection = self._connection()
        connection.await_connection(deadline)
        if len(value) + HEADERS > connection.max_payload:
            raise MessageTooLarge(
                f"the value of key {key!r} has {len(value):,} bytes, but NATS takes {connection.max_payload:,}"
            )
        while True:
            try:
                answer = self._connection().request(self._subject(key), value, headers, deadline=deadline)
            except NoResponders:
                self._create_bucket(deadline)
                continue
            content = json.loads(answer.data)
            if "error" not in content:
                return int(content["seq"])
            error = refusal(content["error"], what=f"key {key!r}")
            if isinstance(error, RequestRefused) and error.code in WRONG_LAST_SEQUENCE:
                raise KeyConflict(f"key {key!r} was changed meanwhile")
            if isinstance(error, RequestRefused) or time.monotonic() + RETRY_PAUSE >= deadline:
                raise error
            time.sleep(RETRY_PAUSE)

    def _create_bucket(self, deadline: float) -> None:
        if time.monotonic() + RETRY_PAUSE >= deadline:
            raise BrokerUnavailable(f"NATS is up, but bucket {self._bucket} has no leader or does not exist")
        self.ensure(deadline)


def _is_marker(stored: Stored) -> bool:
    return "KV-Operation" in stored.headers
