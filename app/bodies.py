"""Request bodies: requests that change state take JSON only, small and well-formed, before anything looks at them."""

import math
import time
from typing import Any, BinaryIO

from flask import Request, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app import connections
from app.problems import Refusal

#: Bytes of a request's body, but for webhooks: the largest thing that anybody has to tell us is a handful of secrets.
MAX_BODY = 64 * 1024
#: Bytes per second that a body has to arrive with, beyond the patience that every request gets.
SLOWEST = 100_000
#: Seconds after which no body is waited for, however large: Shopify itself has given up long before.
LONGEST = 20.0
READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS"})


def read_body(most: int) -> bytes:
    """The body, of ``most`` bytes at most. Raises RequestEntityTooLarge, without reading much further.

    Raises Refusal: 408 for one that does not arrive in time, 400 for one that is malformed; the connection ends then.

    Werkzeug cuts a body without a length at its limit and says nothing, so its limit is one byte beyond ours.
    """
    if (request.content_length or 0) > most:
        raise RequestEntityTooLarge
    request.max_content_length = most + 1
    arrival = connections.current()
    body = request.get_data() if arrival is None else _arriving(arrival)
    if len(body) > most:
        raise RequestEntityTooLarge
    if arrival is not None:
        arrival.due = math.inf
    return body


class Paced:
    """A body's stream that puts off the end of patience by what has arrived, not by what was announced."""

    def __init__(self, stream: BinaryIO, arrival: connections.Arrival) -> None:
        self._stream = stream
        self._arrival = arrival
        begun = time.monotonic()
        arrival.due, self._end = begun + connections.PATIENCE, begun + LONGEST

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._arrival.due = min(self._arrival.due + len(piece) / SLOWEST, self._end)
        return piece


def _arriving(arrival: connections.Arrival) -> bytes:
    request.environ["wsgi.input"] = Paced(request.environ["wsgi.input"], arrival)
    refusal = Refusal(400, "the body is malformed: its chunks cannot be told apart, or it ends early")
    try:
        body = request.get_data()
    except (ParseException, BadRequest):  # the latter is Werkzeug's for a connection that ended
        if not arrival.is_cut:
            arrival.close()
            raise refusal from None
    else:
        if not arrival.is_cut:
            return body
    arrival.close()
    raise Refusal(408, "the body did not arrive in time")


class JsonRequest(Request):
    """A request whose empty body counts as an empty object."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        return super().get_json(force, silent, cache) if self.get_data() else {}


def require_json() -> None:
    """Before each request that may change something. Raises Refusal 400, RequestEntityTooLarge, UnsupportedMediaType."""
    if request.method in READ_ONLY or request.routing_exception is not None or request.path == "/api/webhooks":
        return
    body = read_body(MAX_BODY)
    if not request.is_json and (request.mimetype or body):
        raise UnsupportedMediaType("the body must be JSON, sent as application/json")
    try:
        content = request.get_json()
    except RecursionError:
        raise Refusal(400, "the body's JSON is nested too deeply") from None
    except BadRequest:
        raise Refusal(400, "the body is not JSON, although it says so") from None
    if not isinstance(content, dict):
        raise Refusal(400, "the body must be a JSON object")
