"""The mutations that delete orders and customers and merge customers."""

# ruff: noqa: ARG005 - every field is called alike, whether it needs the run or not

import uuid
from typing import Any

from scripts.store.actions import NotThere
from scripts.store.changes import ChangeRefused
from scripts.store.identity import gid, parse_gid
from scripts.store.run import Run

Payload = dict[str, Any]


def _number(text: str) -> int:
    return (parse_gid(text) or ("", 0))[1]


def delete_order(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    try:
        run.actions().delete_order(_number(arguments["orderId"]))
    except NotThere:
        error = {"field": ["orderId"], "message": "Order does not exist", "code": "NOT_FOUND"}
        return {"deletedId": None, "userErrors": [error]}
    return {"deletedId": arguments["orderId"], "userErrors": []}


def delete_customer(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    customer_id = arguments["input"]["id"]
    try:
        run.actions().delete_customer(_number(customer_id))
    except (NotThere, ChangeRefused) as problem:
        error = {"field": ["id"], "message": str(problem)}
        return {"deletedCustomerId": None, "shop": run.shop, "userErrors": [error]}
    return {"deletedCustomerId": customer_id, "shop": run.shop, "userErrors": []}


def merge_customers(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    """Done at once; customer two is kept."""
    one, two = _number(arguments["customerOneId"]), _number(arguments["customerTwoId"])
    try:
        kept = run.actions().merge_customers(one, two)
    except NotThere as problem:
        error = {"field": None, "message": str(problem), "code": "INVALID_CUSTOMER_ID"}
        return {"resultingCustomerId": None, "job": None, "userErrors": [error]}
    job = gid("Job", 0).replace("/0", f"/{uuid.uuid4()}")
    return {"resultingCustomerId": gid("Customer", kept.id), "job": {"id": job}, "userErrors": []}


PLAIN = {
    "OrderDeletePayload": {"deletedId": "o['deletedId']", "userErrors": "o['userErrors']"},
    "CustomerDeletePayload": {
        "deletedCustomerId": "o['deletedCustomerId']",
        "shop": "o['shop']",
        "userErrors": "o['userErrors']",
    },
    "CustomerMergePayload": {
        "resultingCustomerId": "o['resultingCustomerId']",
        "job": "o['job']",
        "userErrors": "o['userErrors']",
    },
    "Job": {"id": "o['id']", "done": "False"},
    "CustomerMergeRequest": {
        "jobId": "o",
        "resultingCustomerId": "None",
        "status": "'COMPLETED'",
        "customerMergeErrors": "()",
    },
    "CustomerMergeError": {"errorFields": "()", "message": "''"},
}
CALLS: dict[str, dict[str, Any]] = {
    "QueryRoot": {"customerMergeJobStatus": lambda _, run, arguments: arguments["jobId"]},
    "Mutation": {
        "orderDelete": delete_order,
        "customerDelete": delete_customer,
        "customerMerge": merge_customers,
    },
}
SCOPES = {
    ("Mutation", "orderDelete"): "write_orders",
    ("Mutation", "customerDelete"): "write_customers",
    ("Mutation", "customerMerge"): "write_customers",
}
