"""JetStream's management requests (``$JS.API.>``) and direct reads, as plain blocking calls."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .errors import BrokerUnavailable, RequestRefused, StorageFull
from .protocol import Msg
from .wire import Wire

#: JetStream's error codes (server/errors.json) by what a caller does about them.
STREAM_NOT_FOUND, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND = 10059, 10014, 10037
#: What the server answers to the removal of a sequence that is gone.
SEQUENCE_NOT_FOUND = 10057
STREAM_EXISTS_OTHERWISE = 10058
#: Too few servers for so many copies: a cluster may still be starting; a server that is alone will not be more.
NO_PEERS, NOT_CLUSTERED = 10005, 10074
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
#: Storage of the server, the account or the stream is used up.
FULL = frozenset({10002, 10023, 10028, 10047, 10077})
#: No leader yet, JetStream still starting, or the first try of the same publish still under way: worth another try.
PASSING = frozenset({10008, 10009, 10039, 10049, 10118, 10158})

#: Seconds between tries while JetStream starts or elects a leader.
RETRY_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies in a stream."""

    sequence: int
    subject: str
    body: bytes
    headers: Mapping[str, str]
    stored_at: datetime
    #: How many more match the same question behind this one.
    more: int


def refusal(error: Mapping[str, Any], *, what: str) -> BrokerUnavailable | RequestRefused:
    """The exception for an ``error`` object of JetStream's."""
    code, description = int(error.get("err_code", 0)), str(error.get("description", "unknown error"))
    if code in FULL:
        return StorageFull(f"NATS has no room for {what}: {description}")
    if code in PASSING or error.get("code") == 503:
        return BrokerUnavailable(f"NATS is not ready for {what}: {description}")
    return RequestRefused(f"NATS refused {what}: {description} ({code})", code)


class Api:
    """Asks JetStream. ``connection`` is called for each request, since a fork has a connection of its own."""

    def __init__(self, connection: Callable[[], Wire]) -> None:
        self._connection = connection

    def ask(self, subject: str, body: Mapping[str, Any] | None = None, *, deadline: float) -> dict[str, Any]:
        """One management request, repeated until ``deadline`` while JetStream is not ready.

        Raises BrokerUnavailable, StorageFull or RequestRefused.
        """
        payload = json.dumps(body).encode() if body else b""
        while True:
            try:
                answer = self._connection().request(f"$JS.API.{subject}", payload, deadline=deadline, attempt=2.0)
                content: dict[str, Any] = json.loads(answer.data)
                if "error" not in content:
                    return content
                raise refusal(content["error"], what=subject)
            except StorageFull:
                raise
            except BrokerUnavailable:
                if not self._connection().is_up or time.monotonic() + RETRY_PAUSE >= deadline:
                    raise
                time.sleep(RETRY_PAUSE)

    def first(self, stream: str, subject: str, *, deadline: float, after: int = 0) -> Stored | None:
        """The first message of a stream that matches, behind sequence ``after``. NoResponders without such a stream."""
        return self._read(stream, {"batch": 1, "seq": after + 1, "next_by_subj": subject}, deadline)

    def last(self, stream: str, subject: str, *, deadline: float) -> Stored | None:
        """The newest message of a subject."""
        return self._read(stream, {"last_by_subj": subject}, deadline)

    def at(self, stream: str, sequence: int, *, deadline: float) -> Stored | None:
        return self._read(stream, {"seq": sequence}, deadline)

    def delete(self, stream: str, sequence: int, *, deadline: float, overwrite: bool = False) -> bool:
        """Remove a message. False when it was gone. ``overwrite``: also from the server's disk, which takes longer."""
        request = {"seq": sequence, "no_erase": not overwrite}
        try:
            self.ask(f"STREAM.MSG.DELETE.{stream}", request, deadline=deadline)
        except RequestRefused as error:
            if error.code in {MESSAGE_NOT_FOUND, STREAM_NOT_FOUND, SEQUENCE_NOT_FOUND}:
                return False
            raise
        return True

    def any_of(self, stream: str, subjects: Sequence[str], *, deadline: float) -> Stored | None:
        """One message that matches one of many subjects. RequestRefused with status 413 when more than 1,024 match."""
        return self._read(stream, {"multi_last": list(subjects), "batch": 1}, deadline)

    def each(
        self, stream: str, subject: str, *, deadline: float, after: int = 0, limit: int | None = None
    ) -> Iterator[Stored]:
        """The messages that match, oldest first."""
        found = 0
        while limit is None or found < limit:
            stored = self.first(stream, subject, deadline=deadline, after=after)
            if stored is None:
                return
            yield stored
            found += 1
            after = stored.sequence

    def subjects(self, stream: str, subject: str, *, deadline: float) -> dict[str, int]:
        """How many messages of a stream lie on each subject that matches; none without such a stream."""
        found: dict[str, int] = {}
        while True:
            question = {"subjects_filter": subject, "offset": len(found)}
            try:
                info = self.ask(f"STREAM.INFO.{stream}", question, deadline=deadline)
            except RequestRefused as error:
                if error.code == STREAM_NOT_FOUND:
                    return found
                raise
            page: dict[str, int] = info["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= int(info.get("total", 0)):
                return found

    def _read(self, stream: str, question: Mapping[str, Any], deadline: float) -> Stored | None:
        subject = f"$JS.API.DIRECT.GET.{stream}"
        answer = self._connection().request(subject, json.dumps(question).encode(), deadline=deadline)
        state = answer.status
        if state is None:
            return _stored(answer)
        if state in {"404", "204"}:
            return None
        raise RequestRefused(f"NATS refused to read from {stream}: status {state}", status=state)


def _stored(message: Msg) -> Stored:
    headers = message.headers or {}
    return Stored(
        sequence=int(headers["Nats-Sequence"]),
        subject=headers["Nats-Subject"],
        body=message.data,
        headers=headers,
        stored_at=parse_time(headers["Nats-Time-Stamp"]),
        more=int(headers.get("Nats-Num-Pending", 0)),
    )


def parse_time(text: str) -> datetime:
    """A moment in UTC as the server writes it: RFC 3339 with nanoseconds, which Python's parser refuses."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}").replace(tzinfo=UTC)
