"""NATS's client protocol: bytes in, frames out, and the lines that we send ourselves.

Source: docs.nats.io, "Client Protocol", and ADR-4 for headers.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

PING, PONG = b"PING\r\n", b"PONG\r\n"
_LINE_END = b"\r\n"
_HEADERS_BEGIN = b"NATS/1.0"


class ProtocolError(ConnectionError):
    """What came is not NATS."""


class Msg(NamedTuple):
    """A message that the server sent us: an answer, or what we subscribed to."""

    subject: str
    data: bytes
    #: With ``Status`` and ``Description`` where the first line has them (503, 404, 408 and so on).
    headers: Mapping[str, str] | None
    #: The subscription that it came for, as we numbered it.
    sid: bytes = b""
    #: Where an answer to it is expected; empty where none is.
    reply: str = ""

    @property
    def status(self) -> str | None:
        """The status of an answer that carries no data: 404, 408, 409, 503 and so on."""
        return self.headers.get("Status") if self.headers else None


class Control(NamedTuple):
    """Anything else: ``PING``, ``PONG``, ``+OK``, ``-ERR`` with its text, ``INFO`` with its JSON."""

    kind: str
    text: str


class Parser:
    """Cuts what arrives into frames, whatever the pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Msg | Control]:
        """The frames that are complete now. Raises ProtocolError."""
        buffer = self._rest + data if self._rest else data
        frames: list[Msg | Control] = []
        position = 0
        while (end := buffer.find(_LINE_END, position)) >= 0:
            words = buffer[position:end].split(b" ")
            if words[0] in {b"MSG", b"HMSG"}:
                body = end + 2
                after = body + _length(words[-1])
                if after + 2 > len(buffer):
                    break
                frames.append(_msg(words, buffer[body:after]))
                position = after + 2
            else:
                kind, _, text = buffer[position:end].decode("utf-8", "replace").partition(" ")
                frames.append(Control(kind.upper(), text))
                position = end + 2
        self._rest = buffer[position:]
        return frames


def _length(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise ProtocolError("the server's answer is not NATS") from None


def _msg(words: list[bytes], content: bytes) -> Msg:
    # MSG <subject> <sid> [reply] <bytes> and HMSG <subject> <sid> [reply] <bytes of headers> <bytes of all>
    subject, sid = words[1].decode(), words[2]
    if words[0] == b"MSG":
        return Msg(subject, content, None, sid, words[3].decode() if len(words) > 4 else "")
    size = _length(words[-2])
    reply = words[3].decode() if len(words) > 5 else ""
    return Msg(subject, content[size:], _parse_headers(content[:size]), sid, reply)


def _parse_headers(block: bytes) -> dict[str, str]:
    first, *lines = block.decode("utf-8", "surrogateescape").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    status, _, description = first[len(_HEADERS_BEGIN) :].strip().partition(" ")
    if status:
        headers["Status"] = status
        headers["Description"] = description.strip()
    return headers


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """The block of headers as it is sent, nothing for none. Raises ValueError for a line break in one of them."""
    if not headers:
        return b""
    text = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
    if text.count("\n") >= len(headers) or text.count("\r") >= len(headers):
        raise ValueError("a header must not contain a line break")
    return b"NATS/1.0\r\n%s\r\n\r\n" % text.encode("utf-8", "surrogateescape")


def extend_headers(block: bytes, more: Mapping[str, str]) -> bytes:
    """An encoded block with some headers more."""
    return block[: -len(_LINE_END)] + encode_headers(more)[len(_HEADERS_BEGIN) + len(_LINE_END) :]


def encode_publish(subject: str, reply: str, headers: bytes, body: bytes) -> bytes:
    """A message as it is sent. Empty ``reply`` and ``headers`` are left out."""
    where = f"{subject} {reply}" if reply else subject
    if headers:
        return f"HPUB {where} {len(headers)} {len(headers) + len(body)}\r\n".encode() + headers + body + _LINE_END
    return f"PUB {where} {len(body)}\r\n".encode() + body + _LINE_END


def encode_subscribe(subject: str, sid: int) -> bytes:
    return f"SUB {subject} {sid}\r\n".encode()


def encode_unsubscribe(sid: int) -> bytes:
    return f"UNSUB {sid}\r\n".encode()


def encode_connect(options: Mapping[str, Any]) -> bytes:
    return f"CONNECT {json.dumps(options)}\r\n".encode()
