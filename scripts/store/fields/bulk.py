"""Bulk operations: begun, looked up, listed, canceled."""

# ruff: noqa: ARG005 - every field is called alike, whether it needs the run or not

from typing import Any

from scripts.store.bulk import links
from scripts.store.bulk.operations import BulkOperation, InProgress
from scripts.store.bulk.rules import Invalid
from scripts.store.identity import parse_gid
from scripts.store.paging import Slice, list_slice
from scripts.store.run import Run
from scripts.store.search import Field, parse_search

Payload = dict[str, Any]

FIELDS = {
    "created_at": Field("date", lambda operation: operation.created_at),
    "completed_at": Field("date", lambda operation: operation.completed_at or 0),
    "id": Field("id", lambda operation: operation.id),
    "status": Field("text", lambda operation: operation.status),
    "operation_type": Field("text", lambda operation: "QUERY"),
}
SORTS = {
    "COMPLETED_AT": lambda operation: operation.completed_at or 0,
    "STATUS": lambda operation: operation.status,
}


def run_query(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    from scripts.store.bulk import running  # noqa: PLC0415 - it shows nodes by the fields, of which these are some

    try:
        begun = running.start(run.shop, run.outbox, arguments["query"], groups_objects=arguments["groupObjects"])
    except Invalid as problem:
        return {"bulkOperation": None, "userErrors": [_error(["query"], str(problem), "INVALID")]}
    except InProgress as problem:
        return {"bulkOperation": None, "userErrors": [_error(None, str(problem), "OPERATION_IN_PROGRESS")]}
    return {"bulkOperation": begun, "userErrors": []}


def cancel(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    operation = run.shop.bulk.get((parse_gid(arguments["id"]) or ("", 0))[1])
    if operation is None:
        return {"bulkOperation": None, "userErrors": [_error(["id"], "Bulk operation does not exist")]}
    if not run.shop.bulk.cancel(operation):
        message = f"A bulk operation cannot be canceled when it is {operation.status.lower()}"
        return {"bulkOperation": operation, "userErrors": [_error(None, message)]}
    return {"bulkOperation": operation, "userErrors": []}


def _error(field: list[str] | None, message: str, code: str | None = None) -> Payload:
    return {"field": field, "message": message, "code": code}


def operations(_: object, run: Run, arguments: dict[str, Any]) -> Slice:
    search = parse_search(arguments.get("query"), FIELDS, words=lambda operation: operation.query)
    run.warn_search(arguments["path"], arguments.get("query") or "", search.warnings)
    found = [item for item in run.shop.bulk.all() if all(test(item) for test in search.wanted)]
    key = SORTS.get(arguments.get("sortKey") or "")
    return list_slice(sorted(found, key=key) if key else found, arguments)


def url(operation: BulkOperation, run: Run) -> str | None:
    """Of a completed operation with rows."""
    has_link = operation.status == "COMPLETED" and operation.file_size
    return run.origin + links.path_of(run.shop, operation) if has_link else None


def partial_url(operation: BulkOperation, run: Run) -> str | None:
    """Of a failed operation that has written something."""
    has_link = operation.status == "FAILED" and operation.file_size
    return run.origin + links.path_of(run.shop, operation) if has_link else None


PLAIN = {
    "BulkOperation": {
        "id": "o.gid",
        "status": "o.status",
        "errorCode": "o.error_code",
        "createdAt": "utc(o.created_at)",
        "completedAt": "utc(o.completed_at)",
        "objectCount": "str(o.object_count)",
        "rootObjectCount": "str(o.root_object_count)",
        "fileSize": "None if o.file_size is None else str(o.file_size)",
        "query": "o.query",
        "type": "'QUERY'",
    },
    "BulkOperationUserError": {"field": "o['field']", "message": "o['message']", "code": "o['code']"},
    **{
        f"BulkOperation{action}Payload": {"bulkOperation": "o['bulkOperation']", "userErrors": "o['userErrors']"}
        for action in ("RunQuery", "Cancel")
    },
}
CALLS: dict[str, dict[str, Any]] = {
    "QueryRoot": {"bulkOperations": operations},
    "Mutation": {"bulkOperationRunQuery": run_query, "bulkOperationCancel": cancel},
    "BulkOperation": {"url": url, "partialDataUrl": partial_url},
}
TYPES = {BulkOperation: "BulkOperation"}
