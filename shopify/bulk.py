"""Bulk operations: Shopify reads a whole resource by itself and leaves a file, of which a line is a node.

Admin API, "Perform bulk operations with the GraphQL Admin API". At most five run at once for an app and a shop.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shopify import cost
from shopify.errors import BulkOperationInProgress, QueryRefused, ShopUnavailable
from shopify.mapping import reason_of
from shopify.resource import Resource

#: Points of START and CANCEL, mutations, and of QUERY.
MUTATION_COST, QUERY_COST = 10, cost.OBJECT

# Grouped: a parent's children follow it directly, so that it is complete when the next parent begins.
START = """mutation Start($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: true) {
    bulkOperation { id status }
    userErrors { field message code }
  }
}"""
QUERY = """query Operation($id: ID!) {
  bulkOperation(id: $id) { id status errorCode objectCount fileSize url }
}"""
CANCEL = """mutation Cancel($id: ID!) {
  bulkOperationCancel(id: $id) { bulkOperation { id status } userErrors { field message } }
}"""


class BulkStatus(StrEnum):
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


#: It goes on by itself.
UNDER_WAY = frozenset({BulkStatus.CREATED, BulkStatus.RUNNING, BulkStatus.CANCELING})


def _number(value: object) -> object:
    """Counts are unsigned 64-bit numbers, which GraphQL tells as strings."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Number = Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_number)]


class BulkOperation(BaseModel):
    """A bulk operation as Shopify tells it. ``url`` is a signed link of another host: None while it runs, and without rows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    status: BulkStatus
    error_code: str | None = Field(default=None, validation_alias="errorCode")
    #: Lines of the file, children included.
    object_count: Number = Field(default=None, validation_alias="objectCount")
    #: Bytes of the file.
    file_size: Number = Field(default=None, validation_alias="fileSize")
    url: str | None = Field(default=None, repr=False)


def query_of(resource: Resource, search: str | None, *, newest_first: bool) -> str:
    """The query that a bulk operation runs: everything of a resource that ``search`` finds."""
    arguments = [f"query: {json.dumps(search)}"] if search else []
    arguments += ["reverse: true"] if newest_first else []
    listed = f"({', '.join(arguments)})" if arguments else ""
    return f"{{ {resource.connection}{listed} {{ edges {{ node {{ {resource.bulk.selection} }} }} }} }}"


def started(data: Mapping[str, Any]) -> str:
    """The new operation's id in the answer to START. Raises BulkOperationInProgress and QueryRefused."""
    payload = data.get("bulkOperationRunQuery")
    payload = payload if isinstance(payload, Mapping) else {}
    errors = [each for each in payload.get("userErrors") or () if isinstance(each, Mapping)]
    told = "; ".join(str(each.get("message", "")) for each in errors)[:300]
    if any(each.get("code") == "OPERATION_IN_PROGRESS" for each in errors):
        raise BulkOperationInProgress(told)
    if errors:
        raise QueryRefused(f"the bulk operation was refused: {told}")
    operation = payload.get("bulkOperation")
    found = operation.get("id") if isinstance(operation, Mapping) else None
    if not isinstance(found, str) or not found:
        raise ShopUnavailable("the answer about a new bulk operation makes no sense")
    return found


def operation_of(data: Mapping[str, Any]) -> BulkOperation | None:
    """The operation in the answer to QUERY. None: Shopify knows of none. Raises ShopUnavailable."""
    if data.get("bulkOperation") is None:
        return None
    try:
        return BulkOperation.model_validate(data["bulkOperation"])
    except ValidationError as error:
        reason = reason_of(error)
    raise ShopUnavailable(f"the answer about a bulk operation makes no sense: {reason}")
