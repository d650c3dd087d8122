"""Webhook subscriptions, and the mutations that make, change and delete things."""

# ruff: noqa: ARG005 - every field is called alike, whether it needs the run or not

from typing import Any

from scripts.store import clock
from scripts.store.identity import KINDS, gid, parse_gid
from scripts.store.paging import Slice, list_slice
from scripts.store.run import Run
from scripts.store.subscriptions import Subscription, address_error

Payload = dict[str, Any]


def _error(field: list[str] | None, message: str) -> dict[str, Any]:
    return {"field": field, "message": message}


def subscriptions(_: object, run: Run, arguments: dict[str, Any]) -> Slice:
    found = [item for _, item in sorted(run.shop.subscriptions.items())]
    if arguments.get("topics"):
        found = [item for item in found if item.topic in arguments["topics"]]
    if arguments.get("uri"):
        found = [item for item in found if item.uri == arguments["uri"]]
    return list_slice(found, arguments)


def _objection(run: Run, topic: str, given: Payload, *, besides: int | None = None) -> dict[str, Any] | None:
    uri = given.get("uri") or given.get("callbackUrl") or ""
    message = address_error(uri)
    taken = (
        item
        for item in run.shop.subscriptions.values()
        if (item.topic, item.uri) == (topic, uri) and item.id != besides
    )
    if message is None and any(item.filter == given.get("filter") for item in taken):
        message = "Address for this topic has already been taken"
    if message:
        return _error(["webhookSubscription", "callbackUrl"], message)
    if given.get("filter") and ":" not in given["filter"]:
        message = "The specified filter is invalid, please ensure you specify the field(s) you wish to filter on."
        return _error(["webhookSubscription"], message)
    return None


def create(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    given, topic = arguments["webhookSubscription"], arguments["topic"]
    with run.shop.lock:
        problem = _objection(run, topic, given)
        if problem:
            return {"webhookSubscription": None, "userErrors": [problem]}
        now = clock.now()
        number = max([KINDS["WebhookSubscription"] + run.shop.salt * 1_000_000, *run.shop.subscriptions]) + 1
        made = Subscription(
            id=number,
            topic=topic,
            uri=given.get("uri") or given["callbackUrl"],
            created_at=now,
            updated_at=now,
            include_fields=list(given.get("includeFields") or []),
            filter=given.get("filter"),
            name=given.get("name"),
        )
        run.shop.keep_subscription(number, made)
    return {"webhookSubscription": made, "userErrors": []}


def update(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    given = arguments["webhookSubscription"]
    with run.shop.lock:
        held = run.shop.subscriptions.get((parse_gid(arguments["id"]) or ("", 0))[1])
        if held is None:
            return {"webhookSubscription": None, "userErrors": [_error(["id"], "Webhook subscription does not exist")]}
        merged = {"uri": held.uri, "filter": held.filter, **given}
        problem = _objection(run, held.topic, merged, besides=held.id)
        if problem:
            return {"webhookSubscription": None, "userErrors": [problem]}
        fresh = Subscription(
            id=held.id,
            topic=held.topic,
            uri=merged.get("uri") or held.uri,
            created_at=held.created_at,
            updated_at=clock.now(),
            include_fields=list(given.get("includeFields", held.include_fields) or []),
            filter=merged.get("filter"),
            name=given.get("name", held.name),
        )
        run.shop.keep_subscription(held.id, fresh)
    return {"webhookSubscription": fresh, "userErrors": []}


def delete(_: object, run: Run, arguments: dict[str, Any]) -> Payload:
    number = (parse_gid(arguments["id"]) or ("", 0))[1]
    with run.shop.lock:
        if number not in run.shop.subscriptions:
            problem = _error(["id"], "Webhook subscription does not exist")
            return {"deletedWebhookSubscriptionId": None, "userErrors": [problem]}
        run.shop.keep_subscription(number, None)
    return {"deletedWebhookSubscriptionId": gid("WebhookSubscription", number), "userErrors": []}


PLAIN = {
    "WebhookSubscription": {
        "id": "f'gid://shopify/WebhookSubscription/{o.id}'",
        "legacyResourceId": "str(o.id)",
        "topic": "o.topic",
        "uri": "o.uri",
        "callbackUrl": "o.uri",
        "format": "'JSON'",
        "includeFields": "o.include_fields",
        "metafieldNamespaces": "()",
        "filter": "o.filter",
        "name": "o.name",
        "apiVersion": "'2026-10'",
        "createdAt": "utc(o.created_at)",
        "updatedAt": "utc(o.updated_at)",
    },
    "UserError": {"field": "o['field']", "message": "o['message']"},
    "CodedUserError": {"field": "o['field']", "message": "o['message']", "code": "o.get('code')"},
    **{
        f"WebhookSubscription{action}Payload": {
            "webhookSubscription": "o['webhookSubscription']",
            "userErrors": "o['userErrors']",
        }
        for action in ("Create", "Update")
    },
    "WebhookSubscriptionDeletePayload": {
        "deletedWebhookSubscriptionId": "o['deletedWebhookSubscriptionId']",
        "userErrors": "o['userErrors']",
    },
}

CALLS: dict[str, dict[str, Any]] = {
    "QueryRoot": {
        "webhookSubscriptions": subscriptions,
        "webhookSubscriptionsCount": lambda _, run, arguments: (len(run.shop.subscriptions), "EXACT"),
    },
    "Mutation": {
        "webhookSubscriptionCreate": create,
        "webhookSubscriptionUpdate": update,
        "webhookSubscriptionDelete": delete,
    },
}
TYPES = {Subscription: "WebhookSubscription"}
