"""The downloads of results: whole or by Range, with the faults of a download, from the file and with constant memory."""

import hmac
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qsl

from scripts.store import clock
from scripts.store.faults import DOWNLOADS, Fault
from scripts.store.shop import Shop

from .links import PATH, signature
from .operations import BulkOperation

BLOCK = 256 * 1024
RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
#: Downloads remembered for GET /control/shops/{shop}/bulk.
REMEMBERED = 200
#: Parts that a trickle is sent in, each second.
TRICKLE = 10
ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"


class Output(Protocol):
    def write(self, data: bytes, /) -> Any: ...
    def flush(self) -> None: ...


@dataclass
class Download:
    """An answer whose body is sent in pieces. ``length`` is the Content-Length that is announced."""

    status: int
    headers: dict[str, str]
    length: int
    send: Callable[[Output], None]
    #: Whether the connection is closed after what was sent, because it is less than announced.
    is_cut: bool = False


@dataclass(eq=False)
class Sent:
    """What is known of a download, for the control endpoint."""

    operation: BulkOperation
    status: int
    start: int
    bytes: int = 0
    lines: int = 0
    has_token: bool = False
    faults: list[str] = field(default_factory=list)


class Downloads:
    """Answers the links of one market's shops."""

    def __init__(self) -> None:
        self._sent: deque[Sent] = deque(maxlen=REMEMBERED)

    def of(self, shop: Shop) -> list[Sent]:
        """The shop's downloads, oldest first."""
        return [item for item in list(self._sent) if shop.bulk.get(item.operation.id) is item.operation]

    def answer(self, shop: Shop | None, path: str, query: str, headers: Mapping[str, str]) -> Download:
        """The answer to a GET of ``path``, which matches PATH."""
        match = PATH.match(path)
        operation = shop.bulk.get(int(match["number"])) if shop and match else None
        if shop is None or operation is None or operation.is_active:
            return NOT_FOUND
        given = dict(parse_qsl(query))
        if not hmac.compare_digest(signature(shop, path, given.get("Expires", "")), given.get("Signature", "")):
            return _error(403, "SignatureDoesNotMatch", "Access denied.")
        faults = {fault.kind: fault for fault in shop.faults.strike(DOWNLOADS)}
        sent = Sent(operation, 200, 0, has_token="X-Shopify-Access-Token" in headers, faults=sorted(faults))
        self._sent.append(sent)
        if "download_expired" in faults or operation.link_expires_at <= clock.now():
            sent.status = 403
            return _error(403, "ExpiredToken", "The provided token has expired.")
        if not shop.bulk.path(operation).exists():
            sent.status = 404
            return NOT_FOUND
        if "download_unavailable" in faults:
            sent.status = faults["download_unavailable"].status
            return _error(sent.status, "ServiceUnavailable", "We encountered an internal error. Please try again.")
        return self._file(shop, operation, headers, faults, sent)

    def _file(
        self,
        shop: Shop,
        operation: BulkOperation,
        headers: Mapping[str, str],
        faults: dict[str, Fault],
        sent: Sent,
    ) -> Download:
        path = shop.bulk.path(operation)
        size = path.stat().st_size
        own = {
            "Content-Type": "application/jsonl",
            "Accept-Ranges": "bytes",
            "ETag": f'"{operation.id:x}-{size:x}"',
            "Last-Modified": formatdate((operation.completed_at or 0) // clock.SECOND, usegmt=True),
        }
        start, end = 0, size
        asked = None if "download_ignores_range" in faults else _range(headers, own, size)
        if asked is not None:
            start, end = asked
            if start >= size:
                sent.status = 416
                return _error(416, "InvalidRange", "The requested range cannot be satisfied.", size=size)
            own["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            sent.status = 206
        sent.start = start
        cut = faults.get("download_cut") or faults.get("download_short")
        last = min(end, start + cut.bytes) if cut else end
        pieces = Pieces(shop, path, faults, sent)
        is_short = "download_short" in faults and "download_cut" not in faults
        return Download(
            sent.status,
            own,
            (last if is_short else end) - start,
            lambda out: pieces.send(out, start, last),
            is_cut=last < end and not is_short,
        )


class Pieces:
    """Sends a part of a file, slowly or held between two lines where a fault wants it."""

    def __init__(self, shop: Shop, path: Path, faults: dict[str, Fault], sent: Sent) -> None:
        self._gate = shop.bulk.gate
        self._path = path
        self._faults = faults
        self._sent = sent

    def send(self, out: Output, start: int, end: int) -> None:
        """Raises operations.Stopped when the store closes."""
        with self._path.open("rb") as file:
            held = self._faults.get("download_held")
            if held:
                start = self._send_held(out, file, start, end, held.lines)
            file.seek(start)
            slow = self._faults.get("download_slow")
            block = max(1, slow.bytes_per_second // TRICKLE) if slow else BLOCK
            while start < end:
                data = file.read(min(block, end - start))
                self._put(out, data)
                start += len(data)
                if slow:
                    out.flush()
                    self._gate.sleep(len(data) / slow.bytes_per_second)

    def _send_held(self, out: Output, file: BinaryIO, start: int, end: int, lines: int) -> int:
        """Send line by line, held behind the line ``lines`` of the file and wherever that leads. Returns how far it came."""
        position = 0
        hold_at: int | None = lines
        for passed, line in enumerate(file):
            if hold_at is None:
                return max(start, position)
            if position >= start and passed >= hold_at:
                out.flush()
                more = self._gate.pass_by(self._sent)
                hold_at = None if more is None else passed + more
            part = line[max(0, start - position) : max(0, end - position)]
            if part:
                self._put(out, part)
            position += len(line)
            if position >= end:
                break
        return max(start, min(position, end))

    def _put(self, out: Output, data: bytes) -> None:
        out.write(data)
        self._sent.bytes += len(data)
        self._sent.lines += data.count(b"\n")


def _range(headers: Mapping[str, str], own: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """The first byte asked for and the one behind the last, None for the whole file; the first may lie beyond the end."""
    match = RANGE.match(headers.get("Range") or "")
    condition = headers.get("If-Range")
    if match is None or (condition and condition not in {own["ETag"], own["Last-Modified"]}):
        return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)) if last != "0" else size, size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _error(status: int, code: str, message: str, *, size: int | None = None) -> Download:
    """Trouble in the words of the storage that holds the files."""
    body = ERROR.format(code=code, message=message).encode()
    headers = {"Content-Type": "application/xml; charset=UTF-8"}
    if size is not None:
        headers["Content-Range"] = f"bytes */{size}"
    return Download(status, headers, len(body), lambda out: out.write(body))


NOT_FOUND = _error(404, "NoSuchKey", "The specified key does not exist.")
