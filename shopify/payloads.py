"""What the body of a webhook says happened.

Only the body is signed. The topic is a header and could be anybody's, so a body counts for a topic only when it has that
topic's shape, and for a shop only when no other shop is named inside.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NotRequired

from pydantic import StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from shopify import events, shop
from shopify.errors import PayloadRejected, UnknownTimeZone
from shopify.mapping import reason_of
from shopify.resource import Resource, TopicKind
from shopify.resources import of_topic
from shopify.scalars import Id, Text, gid, rest_id
from shopify.transport import exact

#: Where a body names the shop that it is of.
_SHOP_KEYS = ("myshopify_domain", "shop_domain")


def event_of(topic: str, body: bytes, shop_domain: str) -> events.Event:
    """What the body of a webhook of ``topic`` says happened in ``shop_domain``.

    Raises PayloadRejected for a body that lacks its topic's shape or names another shop, and RowRejected for a
    resource that cannot be stored.
    """
    resource = of_topic(topic)
    if resource is not None:
        return _READERS[resource.topics[topic]](resource, topic, _parsed(body, shop_domain))
    reader = _TOPICS.get(topic)
    return events.Unknown(topic) if reader is None else reader(_parsed(body, shop_domain))


def names_another_shop(topic: str, body: bytes, shop_domain: str) -> bool:
    """Whether the body of a topic that names its shop names another. False for all other topics, without a look."""
    if topic not in _NAMING_TOPICS:
        return False
    try:
        payload = _json(body)
    except PayloadRejected:
        return False
    return _is_of_another(payload, shop_domain)


def _json(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body.decode("utf-8"), parse_float=exact, parse_constant=exact)
    except (ValueError, RecursionError):
        raise PayloadRejected("the body is not JSON") from None
    if not isinstance(payload, dict):
        raise PayloadRejected("the body is not an object")
    return payload


def _parsed(body: bytes, shop_domain: str) -> dict[str, Any]:
    payload = _json(body)
    if _is_of_another(payload, shop_domain):
        raise PayloadRejected("the body names another shop")
    return payload


def _is_of_another(payload: Mapping[str, Any], shop_domain: str) -> bool:
    named = [payload[key] for key in _SHOP_KEYS if key in payload]
    return any(not isinstance(name, str) or name.lower() != shop_domain.lower() for name in named)


def _whole(resource: Resource, _topic: str, payload: dict[str, Any]) -> events.Event:
    if not resource.payload_marks & payload.keys():
        raise PayloadRejected(f"the body is not one of the {resource.name}")
    _require_own_gid(resource, payload)
    return events.Upsert(resource.name, resource.from_payload(payload))


def _delete(resource: Resource, _topic: str, payload: dict[str, Any]) -> events.Event:
    if payload.keys() - {"id", "admin_graphql_api_id"} - resource.delete_extras:
        raise PayloadRejected("a delete's body has nothing but ids")
    _require_own_gid(resource, payload)
    return events.Delete(resource.name, _id(payload.get("id")))


def _require_own_gid(resource: Resource, payload: Mapping[str, Any]) -> None:
    """The body of one kind of thing, sent under another's topic, gives itself away by its global id."""
    if _named(resource.gid_kind, payload) not in (None, payload.get("id")):
        raise PayloadRejected("the body's ids contradict each other")


def _named(gid_kind: str, payload: Mapping[str, Any]) -> int | None:
    """The number in the body's own global id, None without one. Raises PayloadRejected for another kind's."""
    if "admin_graphql_api_id" not in payload:
        return None
    try:
        return gid(gid_kind)(payload["admin_graphql_api_id"])
    except ValueError:
        raise PayloadRejected(f"the body's global id is not one of {gid_kind}") from None


def _fetch(resource: Resource, topic: str, payload: dict[str, Any]) -> events.Event:
    part = resource.parts[topic]
    if not part.marks & payload.keys():
        raise PayloadRejected(f"the body is not one of {topic}")
    if part.gid_kind is not None:
        _named(part.gid_kind, payload)
    found: Any = payload
    for step in part.id_path:
        found = found.get(step) if isinstance(found, dict) else None
    return events.Fetch(resource.name, _id(found), reason=f"{topic} tells of it in part")


def _id(value: Any) -> int:
    try:
        return rest_id(value)
    except ValueError:
        raise PayloadRejected("the body has no id of its topic's kind") from None


#: A merge is told by its success too, whose word is not documented; these words are none of success.
_NOT_MERGED = frozenset({"failed", "requested", "in_progress", "queued", "pending", "canceled", "cancelled"})


def _merge(_resource: Resource, _topic: str, payload: dict[str, Any]) -> events.Event:
    customer = gid("Customer")
    try:
        kept = customer(payload.get("admin_graphql_api_customer_kept_id"))
        deleted = customer(payload.get("admin_graphql_api_customer_deleted_id"))
    except ValueError:
        raise PayloadRejected("a merge's body has no two customers") from None
    if kept == deleted:
        raise PayloadRejected("a merge's two customers are one")
    status = str(payload.get("status", "")).lower()
    if status in _NOT_MERGED or payload.get("errors"):
        return events.MergeNotDone(kept, deleted, status=status[:50])
    return events.Merge(kept, deleted)


_READERS: Mapping[TopicKind, Callable[[Resource, str, dict[str, Any]], events.Event]] = {
    TopicKind.WHOLE: _whole,
    TopicKind.DELETE: _delete,
    TopicKind.FETCH: _fetch,
    TopicKind.MERGE: _merge,
}


# --- topics of the shop and the app ----------------------------------------------------------------------------------


class _Scopes(TypedDict):
    previous: list[Text]
    current: list[Text]


class _Bulk(TypedDict):
    admin_graphql_api_id: Annotated[str, StringConstraints(pattern=r"^gid://shopify/BulkOperation/[0-9]+$")]
    status: Text
    error_code: Text | None


class _Person(TypedDict, total=False):
    id: Id | None
    email: Text | None
    phone: Text | None


class _Request(TypedDict, total=False):
    id: Id | None


class _DataRequest(TypedDict):
    shop_domain: Text
    customer: _Person
    orders_requested: list[Id]
    data_request: _Request


class _Redaction(TypedDict):
    shop_domain: Text
    customer: _Person
    orders_to_redact: NotRequired[list[Id]]


@with_config(extra="forbid")  # a customer's redaction under this topic must not erase the shop
class _ShopRedaction(TypedDict):
    shop_domain: Text
    shop_id: Id


_ONLY_IN_DATA_REQUESTS = frozenset({"orders_requested", "data_request"})
_SCOPES: TypeAdapter[Any] = TypeAdapter(_Scopes)
_BULK: TypeAdapter[Any] = TypeAdapter(_Bulk)
_DATA_REQUEST: TypeAdapter[Any] = TypeAdapter(_DataRequest)
_REDACTION: TypeAdapter[Any] = TypeAdapter(_Redaction)
_SHOP_REDACTION: TypeAdapter[Any] = TypeAdapter(_ShopRedaction)


def _shape(adapter: TypeAdapter[Any], payload: dict[str, Any]) -> Any:
    try:
        return adapter.validate_python(payload)
    except ValidationError as error:
        raise PayloadRejected(reason_of(error)) from None


def _shop(payload: dict[str, Any]) -> shop.ShopInfo:
    try:
        return shop.from_payload(payload)
    except ValidationError as error:
        raise PayloadRejected(reason_of(error)) from None
    except UnknownTimeZone as error:
        raise PayloadRejected(str(error)) from None


def _uninstalled(payload: dict[str, Any]) -> events.Event:
    if "myshopify_domain" not in payload:
        raise PayloadRejected("the body names no shop")
    try:
        return events.AppUninstalled(_shop(payload))
    except PayloadRejected:
        return events.AppUninstalled(None)  # work for the shop has to stop whatever else stands in there


def _shop_updated(payload: dict[str, Any]) -> events.Event:
    return events.ShopUpdated(_shop(payload))


def _scopes_updated(payload: dict[str, Any]) -> events.Event:
    shape = _shape(_SCOPES, payload)
    return events.ScopesUpdated(frozenset(shape["previous"]), frozenset(shape["current"]))


def _bulk_finished(payload: dict[str, Any]) -> events.Event:
    shape = _shape(_BULK, payload)
    return events.BulkFinished(shape["admin_graphql_api_id"], shape["status"], shape["error_code"])


def _data_requested(payload: dict[str, Any]) -> events.Event:
    shape = _shape(_DATA_REQUEST, payload)
    person = shape["customer"]
    return events.DataRequested(
        person.get("id"),
        tuple(shape["orders_requested"]),
        shape["data_request"].get("id"),
        person.get("email"),
        person.get("phone"),
    )


def _redact_customer(payload: dict[str, Any]) -> events.Event:
    if payload.keys() & _ONLY_IN_DATA_REQUESTS:  # whoever asks what is stored must not have it erased
        raise PayloadRejected("the body is a data request's")
    shape = _shape(_REDACTION, payload)
    person = shape["customer"]
    return events.RedactCustomer(
        person.get("id"), tuple(shape.get("orders_to_redact", ())), person.get("email"), person.get("phone")
    )


def _redact_shop(payload: dict[str, Any]) -> events.Event:
    return events.RedactShop(_shape(_SHOP_REDACTION, payload)["shop_id"])


#: These bodies name their shop.
_NAMING: Mapping[str, Callable[[dict[str, Any]], events.Event]] = {
    "app/uninstalled": _uninstalled,
    "shop/update": _shop_updated,
    "customers/data_request": _data_requested,
    "customers/redact": _redact_customer,
    "shop/redact": _redact_shop,
}
_NAMING_TOPICS = frozenset(_NAMING)
_TOPICS: Mapping[str, Callable[[dict[str, Any]], events.Event]] = {
    **_NAMING,
    "app/scopes_update": _scopes_updated,
    "bulk_operations/finish": _bulk_finished,
}
