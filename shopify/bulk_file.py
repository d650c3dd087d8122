"""A bulk operation's file, read from any byte on, in slices of whole resources: memory stays the same however long it is."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from msgspec import UNSET

from shopify.errors import FileInvalid, LinkExpired, ShopUnavailable
from shopify.nodes import Lines, parsed
from shopify.resource import Resource

#: Seconds to connect, and seconds without a byte: less than a worker has to stop.
TIMEOUT = (3.05, 10.0)
#: Seconds of one download: whoever reads on needs no more than some of them, unless a line trickles for ever.
LONGEST = 300.0
#: Bytes of one slice, some five hundred orders, and resources, of which smaller ones are more. Statements and temporary tables
#: cost each the same, however many; a worker holds two slices as objects of ten times their bytes.
SLICE, SLICE_RESOURCES = 2 * 1024 * 1024, 1_000
#: Bytes of the first slice, and each is twice the one before: whoever is killed soon after has got on.
FIRST_SLICE = 128 * 1024
#: Seconds after which a slice is given as it is, so that what trickles is kept too.
SLICE_SECONDS = 1.0
#: Bytes of one line. An order's own fields are a few thousand.
MAX_LINE = 16 * 1024 * 1024

_CHUNK = 256 * 1024


@dataclass(slots=True)
class Slice:
    """Some resources with their lists complete, and the byte of the file that follows them."""

    resources: list[Lines] = field(default_factory=list)
    #: Lines, children included.
    objects: int = 0
    end: int = 0


@contextmanager
def download(url: str, *, start: int = 0, timeout: tuple[float, float] = TIMEOUT) -> Iterator[Iterator[bytes]]:
    """The file's bytes from ``start`` on, in chunks. No token goes there: the link itself is signed.

    Raises LinkExpired and ShopUnavailable, also while the chunks are read.
    """
    if urlsplit(url).scheme not in {"https", "http"}:
        raise ShopUnavailable("the link to a bulk operation's file is none")
    # Raised outside the except blocks: a requests exception refers to the request, and so to the signed link.
    try:
        response = requests.get(
            url,
            headers={"Range": f"bytes={start}-", "Accept-Encoding": "identity"},
            timeout=timeout,
            stream=True,
            allow_redirects=False,
            auth=_no_netrc,
        )
    except requests.RequestException as error:
        failure = type(error).__name__
    else:
        with response:
            yield _chunks(response, start)
        return
    raise ShopUnavailable(f"a bulk operation's file cannot be read ({failure})")


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _chunks(response: requests.Response, start: int) -> Iterator[bytes]:
    status = response.status_code
    if status == 416:  # nothing follows
        return
    if status in {401, 403, 404, 410}:
        raise LinkExpired(f"the link to a bulk operation's file has expired (HTTP {status})")
    if status not in {200, 206}:
        raise ShopUnavailable(f"a bulk operation's file cannot be read (HTTP {status})")
    to_skip = start if status == 200 else 0  # a server that knows no ranges gives everything
    if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise ShopUnavailable("a bulk operation's file is answered with another part than was asked for")
    try:
        for chunk in _within(response, LONGEST):
            skipped = min(to_skip, len(chunk))
            to_skip -= skipped
            if len(chunk) > skipped:
                yield chunk[skipped:]
    except (urllib3.exceptions.HTTPError, OSError) as error:
        failure = type(error).__name__
    else:
        return
    raise ShopUnavailable(f"a bulk operation's file was cut off ({failure})")


def _within(response: requests.Response, seconds: float) -> Iterator[bytes]:
    ends = time.monotonic() + seconds
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        if time.monotonic() > ends:
            raise TimeoutError
        yield chunk


def slices(
    resource: Resource, chunks: Iterable[bytes], *, start: int, size: int | None, most: int = SLICE
) -> Iterator[Slice]:
    """The resources of a file from the byte ``start`` on, which is the first of a resource's own line.

    ``size``: bytes of the whole file; what ends before was cut off. ``most``: bytes of a slice, but for its last resource.
    Raises FileInvalid, and ShopUnavailable at a cut, after what was whole before it.
    """
    whole, began = Slice(end=start), time.monotonic()
    enough = min(FIRST_SLICE, most)
    last = _Group(start)
    cut: ShopUnavailable | None = None
    try:
        for line, end in _lines(chunks, start, size):
            head = _head(resource, line)
            if head.parent is not UNSET:
                last.add(resource, head, line, end)
                continue
            last.move_to(whole)
            is_full = whole.end - start >= enough or len(whole.resources) >= SLICE_RESOURCES
            if whole.resources and (is_full or time.monotonic() - began > SLICE_SECONDS):
                yield whole
                start, began = whole.end, time.monotonic()
                whole, enough = Slice(end=start), min(2 * enough, most)
            last = _Group(end, head.id, Lines(line, []), objects=1)
    except ShopUnavailable as error:
        cut = error
    if cut is None:
        last.move_to(whole)
    if whole.resources:
        yield whole
    if cut is not None:
        raise cut


class _Head(msgspec.Struct, gc=False):
    """What tells a line's place in the file."""

    id: Any = None
    parent: Any = msgspec.field(name="__parentId", default=UNSET)


_HEAD = msgspec.json.Decoder(_Head)


def _head(resource: Resource, line: bytes) -> _Head:
    try:
        return _HEAD.decode(line)
    except (ValueError, RecursionError):
        node = parsed(line, resource=resource.name)  # msgspec refuses more, such as half of a surrogate pair
    return _Head(node.get("id"), node.get("__parentId", UNSET))


@dataclass(slots=True)
class _Group:
    """A resource and its children, as far as they have come; ``end`` is the byte after them."""

    end: int
    id: Any = None
    lines: Lines | None = None
    objects: int = 0

    def add(self, resource: Resource, child: _Head, line: bytes, end: int) -> None:
        if self.lines is None or self.id != child.parent:
            raise FileInvalid("a child does not follow its parent")
        self.lines.children.append((_connection(resource, child.id), line))
        self.objects += 1
        self.end = end

    def move_to(self, whole: Slice) -> None:
        if self.lines is not None:
            whole.resources.append(self.lines)
        whole.objects += self.objects
        whole.end = self.end


def _lines(chunks: Iterable[bytes], start: int, size: int | None) -> Iterator[tuple[bytes, int]]:
    """Each line that is not empty, and the offset of the byte after it. The last line of all may have no newline.

    Raises FileInvalid, and ShopUnavailable where the file ends before its ``size``.
    """
    rest, offset = b"", start
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            offset += len(line) + 1
            if line and not line.isspace():
                yield line, offset
        if len(rest) > MAX_LINE:
            raise FileInvalid(f"a line is longer than {MAX_LINE} bytes")
    end = offset + len(rest)
    if size is not None and end < size:
        raise ShopUnavailable(f"a bulk operation's file was cut off after {end} of {size} bytes")
    if rest and not rest.isspace():
        yield rest, end


def _connection(resource: Resource, child_id: Any) -> str:
    if child_id is None and resource.bulk.unnamed is not None:
        return resource.bulk.unnamed
    kind = str(child_id or "").removeprefix("gid://shopify/").partition("/")[0]
    try:
        return resource.bulk.connections[kind]
    except KeyError:
        raise FileInvalid(f"a child of the {resource.name} is none that was asked for") from None
