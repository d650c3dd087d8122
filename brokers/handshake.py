"""From an address to a connection that may be used: TCP, greeting, TLS, login, and an inbox for the answers."""

import os
import ssl
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .errors import BrokerUnavailable
from .link import Link
from .options import OLDEST_SERVER, Options, too_old, version_of
from .protocol import PING, Control, Parser, encode_connect, encode_subscribe
from .sockets import NatsSocket, NothingYet

#: NATS's port where the address names none.
DEFAULT_PORT = 4222


def shake_hands(url: str, options: Options, *, tls_host: str | None, deadline: float) -> Link:
    """Connect to one server. ``tls_host``: the name on its certificate where the address does not say it.

    Raises OSError, BrokerUnavailable, ServerTooOld.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = NatsSocket.connect(host, parts.port or DEFAULT_PORT, deadline=deadline)
    try:
        info = connection.read_greeting(deadline=deadline)
        if _wants_tls(info, is_asked_for=parts.scheme == "tls" or options.tls is not None):
            context = options.tls or ssl.create_default_context()
            connection.encrypt(context, tls_host or host, deadline=deadline)
        _check_version(info, options)
        connection.use_ticks()
        parser, inbox = Parser(), f"{options.inbox_prefix}.{uuid.uuid4().hex}"
        login = options.login(info.get("nonce"))
        connection.send(encode_connect(_ABOUT_US | {"name": f"dramatiq-{os.getpid()}"} | login) + PING)
        _await_pong(connection, parser, deadline)
        connection.send(encode_subscribe(f"{inbox}.*"))
    except BaseException:
        connection.close()
        raise
    return Link(connection, parser, info=info, inbox=inbox)


_ABOUT_US: dict[str, Any] = {
    "verbose": False,
    "pedantic": False,
    "lang": "python-dramatiq",
    "version": "1",
    "protocol": 1,
    "headers": True,
    "no_responders": True,
    "echo": False,
}


def _wants_tls(info: Mapping[str, Any], *, is_asked_for: bool) -> bool:
    if is_asked_for and not (info.get("tls_required") or info.get("tls_available")):
        raise BrokerUnavailable("the server offers no TLS")
    return is_asked_for or bool(info.get("tls_required"))


def _check_version(info: Mapping[str, Any], options: Options) -> None:
    version = version_of(str(info.get("version", "")))
    if version < OLDEST_SERVER:
        raise too_old(version, options.servers.shown, what="schedules need", oldest=OLDEST_SERVER)


def _await_pong(connection: NatsSocket, parser: Parser, deadline: float) -> None:
    """The server answers our PING once it has let us in."""
    while True:
        try:
            data = connection.receive()
        except NothingYet:
            data = None
        if data == b"":
            raise ConnectionResetError("the server closed the connection during the login")
        for frame in parser.feed(data or b""):
            if isinstance(frame, Control) and frame.kind == "PONG":
                return
            if isinstance(frame, Control) and frame.kind == "-ERR":
                raise BrokerUnavailable(frame.text.strip("'"))
        if time.monotonic() >= deadline:
            raise TimeoutError("the server did not answer in time")
