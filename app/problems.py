"""Errors become answers here and nowhere else: application/problem+json (RFC 9457), without a stack trace."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Flask, Response, json, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from app.schemas import PROBLEM_CONTENT, Problem
from brokers.errors import BrokerUnavailable
from models.database import UNANSWERED
from models.sync_runs import RunInProgress
from models.tenant_changes import CredentialsNeeded
from models.tenants import ShopAlreadyExists, TenantInactive

logger = logging.getLogger(__name__)

#: Seconds after which it is worth asking again when something of ours is away.
RETRY_AFTER = 5


class Refusal(Exception):
    """A request that cannot be answered as asked. ``members`` stand in the document beside the usual ones."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


def unavailable(what: str) -> Refusal:
    return Refusal(503, f"{what}; please try again", headers={"Retry-After": str(RETRY_AFTER)})


def documented(*statuses: int) -> dict[int | str, Any]:
    """These statuses as OpenAPI's ``responses``; any other problem has the same shape."""
    described: dict[int | str, str] = {status: HTTPStatus(status).phrase for status in statuses}
    described["default"] = "Any other problem"
    return {status: {"description": what, "content": PROBLEM_CONTENT} for status, what in described.items()}


def answer(refusal: Refusal) -> Response:
    problem = Problem(
        title=HTTPStatus(refusal.status).phrase, status=refusal.status, detail=refusal.detail, **refusal.members
    )
    response = Response(
        json.dumps(problem.model_dump(mode="json", exclude_none=True)),
        status=refusal.status,
        content_type="application/problem+json",
    )
    response.headers.update(refusal.headers)
    return response


def refuse_invalid(error: ValidationError) -> NoReturn:
    """Raises the Refusal that names every field which is wrong, without repeating its value."""
    errors = [
        {
            "field": ".".join(map(str, item["loc"])),
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    detail = "; ".join(f"{each['field']}: {each['message']}" if each["field"] else each["message"] for each in errors)
    raise Refusal(400, detail, errors=errors) from None


def register(app: Flask) -> None:
    app.register_error_handler(Refusal, answer)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ShopAlreadyExists, _shop_exists)
    app.register_error_handler(TenantInactive, _conflict)
    app.register_error_handler(CredentialsNeeded, _conflict)
    app.register_error_handler(RunInProgress, _in_progress)
    app.register_error_handler(BrokerUnavailable, _broker_away)
    for unanswered in UNANSWERED:
        app.register_error_handler(unanswered, _postgres_away)
    app.register_error_handler(Exception, _unexpected)


def _http(error: HTTPException) -> Any:
    if error.code is None or error.code < 400 or error.response is not None:
        return error
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return answer(Refusal(error.code, error.description or HTTPStatus(error.code).phrase, headers=headers))


def _shop_exists(error: ShopAlreadyExists) -> Response:
    return answer(Refusal(409, f"{error} is a tenant already"))


def _conflict(error: TenantInactive | CredentialsNeeded) -> Response:
    return answer(Refusal(409, str(error)))


def _in_progress(error: RunInProgress) -> Response:
    return answer(Refusal(409, "a sync of this shop is running", syncId=str(error.run_id)))


def _broker_away(error: BrokerUnavailable) -> Response:
    logger.warning("%s is answered 503: %s", _where(), error)
    return answer(unavailable("the message broker does not take messages now"))


def _postgres_away(error: Exception) -> Response:
    # The driver's words, without the statement: what was being written is nobody's business in a log.
    logger.warning("%s is answered 503: Postgres: %s", _where(), str(getattr(error, "orig", None) or error).strip())
    return answer(unavailable("the database does not answer now"))


def _unexpected(error: Exception) -> Response:
    logger.error("%s failed", _where(), exc_info=error)
    return answer(Refusal(500, "this should not have happened; it is in the log of the web process"))


def _where() -> str:
    # The rule, not the address: what stands in a query is not for logs.
    return f"{request.method} {request.url_rule.rule if request.url_rule else 'an unknown address'}"
