"""A blocking socket to one NATS server, plain or encrypted, from the TCP handshake to the server's greeting."""

import json
import socket
import ssl
import struct
import threading
import time
from typing import Any, Self

from .protocol import ProtocolError

#: Seconds after which a read that found nothing returns to its caller, who looks at deadlines then.
TICK = 0.1
#: Seconds that a server may take to read what we send.
SEND_TIMEOUT = 1.0
#: Bytes of one read.
CHUNK = 65536


class NothingYet(Exception):
    """A read found nothing within a tick."""


class NatsSocket:
    """One connection's bytes. One thread may read while another sends.

    Encryption goes through memory: OpenSSL's own sockets must not be read and written by two threads at once.
    """

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._tls: Tls | None = None

    @classmethod
    def connect(cls, host: str, port: int, *, deadline: float) -> Self:
        raw = socket.create_connection((host, port), _remaining(deadline))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return cls(raw)

    def read_greeting(self, *, deadline: float) -> dict[str, Any]:
        """The server's INFO, and not a byte more: what follows may be the TLS handshake."""
        line = b""
        while not line.endswith(b"\r\n"):
            self._raw.settimeout(_remaining(deadline))
            seen = self._raw.recv(CHUNK, socket.MSG_PEEK)
            if not seen:
                raise ConnectionResetError("the server closed the connection at once")
            line += self._raw.recv(seen.find(b"\n") + 1 or len(seen))
            if not line.startswith(b"INFO "[: len(line)]) or len(line) > CHUNK:
                raise ProtocolError("what answers there is not NATS")
        info: dict[str, Any] = json.loads(line[5:])
        return info

    def encrypt(self, context: ssl.SSLContext, host: str, *, deadline: float) -> None:
        self._tls = Tls(context, host)
        self._tls.handshake(self._raw, deadline)

    def use_ticks(self) -> None:
        """From now on reads return after a tick at the latest, by the kernel's own clock: no system call more for it."""
        self._raw.settimeout(None)
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(TICK * 1e6)))
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_TIMEOUT), 0))

    def send(self, data: bytes) -> None:
        """Raises OSError, also when the server did not read in time: part of it may be sent then."""
        self._raw.sendall(data if self._tls is None else self._tls.encrypt(data))

    def receive(self, *, wait: bool = True) -> bytes:
        """What there is, empty at the end. Raises NothingYet and OSError."""
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            data = self._raw.recv(CHUNK, flags)
            if self._tls is not None:
                while data and not (clear := self._tls.decrypt(data)):
                    data = self._raw.recv(CHUNK, flags)
                return clear if data else b""
        except BlockingIOError:
            raise NothingYet from None
        return data

    def hand_over(self) -> "tuple[socket.socket, Tls | None]":
        """The socket, which does not block from now on, and its encryption, for an event loop to use."""
        self._raw.setblocking(False)
        return self._raw, self._tls

    def shut(self) -> None:
        """Wake whoever reads, and tell the server. The descriptor stays until ``close``: nobody else may get its number."""
        try:
            self._raw.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was first
            return

    def close(self) -> None:
        self._raw.close()


class Tls:
    """One connection's encryption, in memory."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._lock = threading.Lock()

    def handshake(self, raw: socket.socket, deadline: float) -> None:
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                raw.settimeout(_remaining(deadline))
                raw.sendall(self._outgoing.read())
                data = raw.recv(CHUNK)
                if not data:
                    raise ConnectionResetError("the server ended the TLS handshake") from None
                self._incoming.write(data)
            else:
                raw.sendall(self._outgoing.read())
                return

    def encrypt(self, data: bytes) -> bytes:
        """What is to be sent for ``data``."""
        with self._lock:
            self._object.write(data)
            return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """What is complete of what was received. Raises OSError when the other side ended or broke it."""
        parts = []
        with self._lock:
            self._incoming.write(data)
            try:
                while part := self._object.read(CHUNK):
                    parts.append(part)
            except ssl.SSLWantReadError:
                pass
        return b"".join(parts)


def _remaining(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the server did not answer in time")
    return seconds
