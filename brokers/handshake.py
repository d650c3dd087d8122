"""From addresses to a connection that may be used: which to try, TCP, greeting, TLS, login, and an inbox for the answers."""

import os
import random
import ssl
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .errors import BrokerUnavailable, ServerTooOld
from .options import OLDEST_SERVER, Options, too_old, version_of
from .protocol import PING, Control, Parser, encode_connect, encode_subscribe
from .sockets import NatsSocket, NothingYet

#: NATS's port where the address names none.
DEFAULT_PORT = 4222
#: The number of the subscription to the inbox; others count on from it.
INBOX_SID = 1


class Login(NamedTuple):
    """A connection on which the server let us in. Belongs to whoever gets it, who has to close it."""

    socket: NatsSocket
    #: Holds what has arrived already.
    parser: Parser
    #: The server's greeting.
    info: Mapping[str, Any]
    #: Subscribed to, with all that lies one token below, as ``INBOX_SID``.
    inbox: str


class Order:
    """In which order the servers are tried: at random, those that failed last, and those that the cluster told us of."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._urls = random.sample(urls, len(urls))
        self._tls_hosts: dict[str, str | None] = {}

    def log_in(self, options: Options, deadline: float) -> Login:
        """Enter the first that lets us in. Raises what the most telling failure raised, as ``shake_hands`` does."""
        failure: Exception | None = None
        urls = list(self._urls)
        for number, url in enumerate(urls):
            now = time.monotonic()
            # One that hangs leaves time for the others.
            share = now + max(0.05, (deadline - now) / (len(urls) - number))
            try:
                login = shake_hands(url, options, tls_host=self._tls_hosts.get(url), deadline=share)
            except (OSError, BrokerUnavailable, ServerTooOld, ValueError) as error:
                self._urls.remove(url)
                self._urls.append(url)
                if not isinstance(failure, ServerTooOld):  # the failure that says most
                    failure = error
            else:
                self._learn(url, login.info)
                return login
        assert failure is not None
        raise failure

    def _learn(self, url: str, info: Mapping[str, Any]) -> None:
        parts = urlsplit(url)
        told = info.get("connect_urls") or []
        for address in random.sample(told, len(told)):
            found = f"{parts.scheme}://{address}"
            if found not in self._urls:
                self._urls.append(found)
                self._tls_hosts[found] = self._tls_hosts.get(url) or parts.hostname  # a cluster tells bare addresses


def shake_hands(url: str, options: Options, *, tls_host: str | None, deadline: float) -> Login:
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
        connection.send(encode_subscribe(f"{inbox}.*", INBOX_SID))
    except BaseException:
        connection.close()
        raise
    return Login(connection, parser, info, inbox)


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
