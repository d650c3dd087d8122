"""GraphQL errors in Shopify's words."""

from collections.abc import Sequence
from typing import Any

DOCUMENTATION = "https://shopify.dev/api/usage/rate-limits"


class Refused(Exception):
    """The whole query is refused: errors and no data."""

    def __init__(self, errors: Sequence[dict[str, Any]], *, with_cost: bool = False) -> None:
        super().__init__(errors[0]["message"])
        self.errors = list(errors)
        self.with_cost = with_cost


def error(
    message: str,
    code: str,
    *,
    path: Sequence[str | int] | None = None,
    locations: Sequence[dict[str, int]] | None = None,
    **extensions: Any,
) -> dict[str, Any]:
    answer: dict[str, Any] = {"message": message}
    if locations is not None:
        answer["locations"] = list(locations)
    if path is not None:
        answer["path"] = list(path)
    answer["extensions"] = {"code": code, **extensions}
    return answer


def throttled() -> dict[str, Any]:
    return error("Throttled", "THROTTLED", documentation=DOCUMENTATION)


def too_costly(cost: int, most: int) -> dict[str, Any]:
    message = f"Query cost is {cost}, which exceeds the single query max cost limit ({most})."
    return error(message, "MAX_COST_EXCEEDED", cost=cost, maxCost=most)


def access_denied(field: str, scope: str, path: Sequence[str | int]) -> dict[str, Any]:
    required = f"`{scope}` access scope."
    return error(
        f"Access denied for {field} field. Required access: {required}",
        "ACCESS_DENIED",
        path=path,
        documentation="https://shopify.dev/api/usage/access-scopes",
        requiredAccess=required,
    )


def internal(request_id: str) -> dict[str, Any]:
    message = (
        "Internal error. Looks like something went wrong on our end.\n"
        f"Request ID: {request_id} (include this in support requests)."
    )
    return error(message, "INTERNAL_SERVER_ERROR", requestId=request_id)
