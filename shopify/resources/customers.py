"""Customers: the queries, the node, the webhook payload."""

from collections.abc import Mapping
from typing import Annotated, Any, Required

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from shopify import cost
from shopify.mapping import GRAPHQL, REST, row, validated
from shopify.resource import PAGE_SIZE, Bulk, Resource, TopicKind, count_query, node_query, nodes_query, page_query
from shopify.row import Row
from shopify.scalars import Flag, Id, State, Tags, Text, Time, gid, object_of

_SELECTION = """id firstName lastName state note tags verifiedEmail createdAt updatedAt
      defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber }"""
#: defaultEmailAddress; a CustomerPhoneNumber is free.
_OBJECTS = (cost.OBJECT,)

_TEXT: TypeAdapter[str | None] = TypeAdapter(Text | None)


def _inside(key: str) -> PlainValidator:
    """The text in GraphQL's ``{key: text}``, or null."""

    def parse(value: object) -> str | None:
        if value is None:
            return None
        try:
            return _TEXT.validate_python(object_of(value, key).get(key))
        except ValidationError:
            raise ValueError(f"{key} is not text that can be stored") from None

    return PlainValidator(parse)


@with_config(GRAPHQL)
class _Node(TypedDict, total=False):
    shopify_id: Required[Annotated[int, PlainValidator(gid("Customer")), Field(validation_alias="id")]]
    updated_at: Time
    email: Annotated[str | None, _inside("emailAddress"), Field(validation_alias="defaultEmailAddress")]
    first_name: Text | None
    last_name: Text | None
    phone: Annotated[str | None, _inside("phoneNumber"), Field(validation_alias="defaultPhoneNumber")]
    state: State | None
    note: Text | None
    tags: Tags
    verified_email: Flag | None
    created_at: Time | None


@with_config(REST)
class _Payload(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    updated_at: Time | None
    email: Text | None
    first_name: Text | None
    last_name: Text | None
    phone: Text | None
    state: State | None
    note: Text | None
    tags: Tags | None
    verified_email: Flag | None
    created_at: Time | None


_NODE: TypeAdapter[Any] = TypeAdapter(_Node)
_PAYLOAD: TypeAdapter[Any] = TypeAdapter(_Payload)


def from_node(node: Mapping[str, Any]) -> Row:
    """A customer as a page or a fetch by id gives it. Raises RowRejected."""
    shape = validated(_NODE, node, resource=RESOURCE.name, gid_kind=RESOURCE.gid_kind)
    return row(shape, lists={}, required=(), gaps=())


def from_payload(payload: Mapping[str, Any]) -> Row:
    """A customer as its webhooks carry it, since 2025-01 without tags. Raises RowRejected."""
    shape = validated(_PAYLOAD, payload, resource=RESOURCE.name, gid_kind=RESOURCE.gid_kind)
    return row(shape, lists={}, required=(), gaps=())


RESOURCE = Resource(
    name="customers",
    gid_kind="Customer",
    node_field="customer",
    scope="read_customers",
    page_query=page_query("customers", "CustomerSortKeys", _SELECTION),
    page_cost=cost.connection(PAGE_SIZE, *_OBJECTS),
    node_query=node_query("customer", _SELECTION),
    node_cost=cost.OBJECT + sum(_OBJECTS),
    nodes_query=nodes_query("Customer", _SELECTION),
    count_query=count_query("customersCount"),
    count_cost=cost.COUNT,
    bulk=Bulk(_SELECTION),
    from_node=from_node,
    from_payload=from_payload,
    topics={
        "customers/create": TopicKind.WHOLE,
        "customers/update": TopicKind.WHOLE,
        "customers/enable": TopicKind.WHOLE,
        "customers/disable": TopicKind.WHOLE,
        "customers/delete": TopicKind.DELETE,
        "customers/merge": TopicKind.MERGE,
    },
    payload_marks=frozenset({"first_name", "last_name", "state", "verified_email"}),
    delete_extras=frozenset({"tax_exemptions"}),
)
