"""A bulk operation's file, read from any byte on, in slices of whole resources: memory stays the same however long it is."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import requests
import urllib3

from shopify.errors import FileInvalid, LinkExpired, ShopUnavailable
from shopify.resource import Resource
from shopify.transport import exact

#: Seconds to connect, and seconds without a byte: less than a worker has to stop.
TIMEOUT = (3.05, 10.0)
#: Bytes of one slice: some two thousand orders. Statements and temporary tables cost each the same, however many.
SLICE = 8 * 1024 * 1024
#: Seconds after which a slice is given as it is, so that what trickles is kept too.
SLICE_SECONDS = 5.0
#: Bytes of one line. An order's own fields are a few thousand.
MAX_LINE = 16 * 1024 * 1024

_CHUNK = 256 * 1024
_DECODER = json.JSONDecoder(parse_float=exact, parse_constant=exact)


@dataclass(slots=True)
class Slice:
    """Some resources with their lists complete, and the byte of the file that follows them."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
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
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            if to_skip:
                skipped = min(to_skip, len(chunk))
                to_skip -= skipped
                chunk = chunk[skipped:]
            if chunk:
                yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        failure = type(error).__name__
    else:
        return
    raise ShopUnavailable(f"a bulk operation's file was cut off ({failure})")


def slices(
    resource: Resource, chunks: Iterable[bytes], *, start: int, size: int | None, most: int = SLICE
) -> Iterator[Slice]:
    """The resources of a file from the byte ``start`` on, which is the first of a resource's own line.

    ``size``: bytes of the whole file; what ends before was cut off. Raises FileInvalid, and ShopUnavailable at a cut,
    after what was whole before it.
    """
    whole, began = Slice(end=start), time.monotonic()
    last = _Group(start)
    cut: ShopUnavailable | None = None
    try:
        for node, end in _nodes(resource, chunks, start, size):
            if "__parentId" in node:
                last.add(resource, node, end)
                continue
            last.move_to(whole)
            if whole.nodes and (whole.end - start >= most or time.monotonic() - began > SLICE_SECONDS):
                yield whole
                start, began = whole.end, time.monotonic()
                whole = Slice(end=start)
            last = _Group.of(resource, node, end)
    except ShopUnavailable as error:
        cut = error
    if cut is None:
        last.move_to(whole)
    if whole.nodes:
        yield whole
    if cut is not None:
        raise cut


@dataclass(slots=True)
class _Group:
    """A resource and its children, as far as they have come; ``end`` is the byte after them."""

    end: int
    node: dict[str, Any] | None = None
    objects: int = 0

    @classmethod
    def of(cls, resource: Resource, node: dict[str, Any], end: int) -> Self:
        for connection in resource.bulk.connections.values():
            node[connection] = {"nodes": [], "pageInfo": {"hasNextPage": False}}
        return cls(end, node, objects=1)

    def add(self, resource: Resource, child: dict[str, Any], end: int) -> None:
        if self.node is None or self.node.get("id") != child.pop("__parentId"):
            raise FileInvalid("a child does not follow its parent")
        self.node[_connection(resource, child)]["nodes"].append(child)
        self.objects += 1
        self.end = end

    def move_to(self, whole: Slice) -> None:
        if self.node is not None:
            whole.nodes.append(self.node)
        whole.objects += self.objects
        whole.end = self.end


def _nodes(
    resource: Resource, chunks: Iterable[bytes], start: int, size: int | None
) -> Iterator[tuple[dict[str, Any], int]]:
    """Each line's node, and the offset of the byte after the line."""
    offset = start
    for lines in _lines(chunks, start, size):
        for line, node in zip(lines, _decoded(resource, lines), strict=True):
            offset += len(line) + 1
            if node is not None:
                yield node, offset if size is None else min(offset, size)


def _lines(chunks: Iterable[bytes], start: int, size: int | None) -> Iterator[list[bytes]]:
    """The lines of each chunk, without their newlines. The last line of all may have none.

    Raises FileInvalid, and ShopUnavailable where the file ends before its ``size``.
    """
    rest, end = b"", start
    for chunk in chunks:
        end += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
        if len(rest) > MAX_LINE:
            raise FileInvalid(f"a line is longer than {MAX_LINE} bytes")
    if size is not None and end < size:
        raise ShopUnavailable(f"a bulk operation's file was cut off after {end} of {size} bytes")
    if rest:
        yield [rest]


def _decoded(resource: Resource, lines: Sequence[bytes]) -> list[dict[str, Any] | None]:
    """The lines' nodes; None of an empty one. All at once, so that they share their keys: it takes half the time."""
    told = [line for line in lines if line.strip()]
    nodes = _json(b"[" + b",".join(told) + b"]")
    if not isinstance(nodes, list) or len(nodes) != len(told) or not all(isinstance(node, dict) for node in nodes):
        raise FileInvalid(f"a line of the {resource.name} is no JSON object")
    if len(told) == len(lines):
        return nodes
    left = iter(nodes)
    return [next(left) if line.strip() else None for line in lines]


def _json(text: bytes) -> Any:
    try:
        return _DECODER.decode(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _connection(resource: Resource, child: dict[str, Any]) -> str:
    if child.get("id") is None and resource.bulk.unnamed is not None:
        return resource.bulk.unnamed
    kind = str(child.get("id", "")).removeprefix("gid://shopify/").partition("/")[0]
    try:
        return resource.bulk.connections[kind]
    except KeyError:
        raise FileInvalid(f"a child of the {resource.name} is none that was asked for") from None
