"""Customers: the queries, the node, the webhook payload."""

from collections.abc import Mapping
from typing import Annotated, Any, Required

from msgspec import UNSET, UnsetType, field
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from shopify import cost, nodes
from shopify.mapping import REST, row, validated
from shopify.nodes import As, Node, told
from shopify.resource import PAGE_SIZE, Bulk, Resource, TopicKind, count_query, node_query, nodes_query, page_query
from shopify.row import Row
from shopify.scalars import Flag, Id, State, Tags, Text, Time, gid, text

_SELECTION = """id firstName lastName state note tags verifiedEmail createdAt updatedAt
      defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber }"""
#: defaultEmailAddress; a CustomerPhoneNumber is free.
_OBJECTS = (cost.OBJECT,)


class _EmailAddress(Node):
    email_address: str | UnsetType | None = UNSET


class _PhoneNumber(Node):
    phone_number: str | UnsetType | None = UNSET


def _inside(key: str) -> As:
    """The text in an object, which may have none."""

    def convert(found: Node) -> str | None:
        value = getattr(found, key)
        return None if value is None or value is UNSET else text(value)

    return As(convert)


class _Node(Node):
    shopify_id: Annotated[str, As(gid("Customer"))] = field(name="id")
    updated_at: nodes.Version = UNSET
    email: Annotated[_EmailAddress | UnsetType | None, _inside("email_address")] = field(
        name="defaultEmailAddress", default=UNSET
    )
    first_name: nodes.Text = UNSET
    last_name: nodes.Text = UNSET
    phone: Annotated[_PhoneNumber | UnsetType | None, _inside("phone_number")] = field(
        name="defaultPhoneNumber", default=UNSET
    )
    state: nodes.State = UNSET
    note: nodes.Text = UNSET
    tags: nodes.Tags = UNSET
    verified_email: nodes.Flag = UNSET
    created_at: nodes.Time = UNSET


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


_PAYLOAD: TypeAdapter[Any] = TypeAdapter(_Payload)


def _row(node: _Node) -> Row:
    return row(told(node), lists={}, required=(), gaps=())


def from_payload(payload: Mapping[str, Any]) -> Row:
    """A customer as its webhooks carry it, since 2025-01 without tags. Raises RowRejected."""
    shape = validated(_PAYLOAD, payload, resource=RESOURCE.name)
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
    node=_Node,
    to_row=_row,
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
