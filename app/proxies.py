"""Forwarded headers: who the client is when a platform's router stands before us."""

import functools
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class NearbyProxy:
    """Believes the nearest hop's ``X-Forwarded-For`` and ``-Proto`` when that hop is in a private network.

    A router or reverse proxy of ours is (Heroku's, a container's neighbour, this machine); whoever reaches us straight
    from the internet could write anything there.
    """

    def __init__(self, application: "WSGIApplication") -> None:
        self._direct = application
        self._proxied = ProxyFix(application, x_for=1, x_proto=1)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        through = self._proxied if _is_private(environ.get("REMOTE_ADDR", "")) else self._direct
        return through(environ, start_response)


#: Addresses that are remembered: a router's machines are few, and each request comes from one of them.
_REMEMBERED = 1024


@functools.lru_cache(_REMEMBERED)
def _is_private(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:  # a Unix socket has none: only this machine can reach it
        return True
