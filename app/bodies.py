"""Request bodies: requests that change state take JSON only, small and well-formed, before anything looks at them."""

from typing import Any

from flask import Request, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app.problems import Refusal

#: Bytes of a request's body, but for webhooks: the largest thing that anybody has to tell us is a handful of secrets.
MAX_BODY = 64 * 1024
READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS"})


def read_body(most: int) -> bytes:
    """The body, of ``most`` bytes at most. Raises RequestEntityTooLarge, without reading much further.

    Werkzeug cuts a body without a length at its limit and says nothing, so its limit is one byte beyond ours.
    """
    if (request.content_length or 0) > most:
        raise RequestEntityTooLarge
    request.max_content_length = most + 1
    body = request.get_data()
    if len(body) > most:
        raise RequestEntityTooLarge
    return body


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
    if not isinstance(content, dict):
        raise Refusal(400, "the body must be a JSON object")
