"""Products with their variants: the queries, the node, the webhook payload."""

from collections.abc import Mapping
from typing import Annotated, Any, Required

from msgspec import UNSET, UnsetType, field
from pydantic import Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from shopify import cost, nodes
from shopify.mapping import REST, children, row, validated
from shopify.nodes import As, Connection, Node, told
from shopify.resource import (
    PAGE_SIZE,
    Bulk,
    Nested,
    Resource,
    TopicKind,
    count_query,
    nested_query,
    node_query,
    nodes_query,
    page_query,
)
from shopify.row import Row
from shopify.scalars import Count, Id, Money, State, Tags, Text, Time, gid

#: Variants asked for with each product of a page; those with more (2,048 at most) are fetched by id.
PAGE_VARIANTS = 100
#: A payload carries this many variants in full, and the rest as ids in ``variant_gids``.
PAYLOAD_VARIANTS = 100

_VARIANT = "id title sku price compareAtPrice position inventoryQuantity updatedAt"
_OWN = "id title handle status vendor productType tags publishedAt createdAt updatedAt"


def _selection(variants: int) -> str:
    return f"""
      {_OWN}
      variants(first: {variants}) {{ pageInfo {{ hasNextPage endCursor }} nodes {{ {_VARIANT} }} }}
    """


_VARIANT_COLUMNS = ("title", "sku", "price", "compare_at_price", "position", "inventory_quantity", "updated_at")


class _VariantNode(Node):
    shopify_id: Annotated[str, As(gid("ProductVariant"))] = field(name="id")
    title: nodes.Text = UNSET
    sku: nodes.Text = UNSET
    price: nodes.Amount = UNSET
    compare_at_price: nodes.Amount = UNSET
    position: nodes.Count | UnsetType | None = UNSET
    inventory_quantity: nodes.Count | UnsetType | None = UNSET
    updated_at: nodes.Time = UNSET


class _Node(Node):
    shopify_id: Annotated[str, As(gid("Product"))] = field(name="id")
    updated_at: nodes.Version = UNSET
    title: nodes.Text = UNSET
    handle: nodes.Text = UNSET
    status: nodes.State = UNSET
    vendor: nodes.Text = UNSET
    product_type: nodes.Text = UNSET
    tags: nodes.Tags = UNSET
    published_at: nodes.Time = UNSET
    created_at: nodes.Time = UNSET
    variants: Connection[_VariantNode] | UnsetType = UNSET


@with_config(REST)
class _VariantPayload(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    title: Text | None
    sku: Text | None
    price: Money | None
    compare_at_price: Money | None
    position: Count | None
    inventory_quantity: Count | None
    updated_at: Time | None


class _VariantGid(TypedDict):
    admin_graphql_api_id: Annotated[int, PlainValidator(gid("ProductVariant"))]


@with_config(REST)
class _Payload(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    updated_at: Time | None
    title: Text | None
    handle: Text | None
    status: State | None
    vendor: Text | None
    product_type: Text | None
    tags: Tags | None
    published_at: Time | None
    created_at: Time | None
    variants: list[_VariantPayload]
    variant_gids: list[_VariantGid] | None


_PAYLOAD: TypeAdapter[Any] = TypeAdapter(_Payload)


def _row(node: _Node) -> Row:
    shape = told(node)
    if node.variants is not UNSET and node.variants.is_complete:
        lists = {"variants": children(map(told, node.variants.listed), _VARIANT_COLUMNS)}
        return row(shape, lists=lists, required=(), gaps=())
    return row(shape, lists={}, required=(), gaps=["more variants than were read"])


def from_payload(payload: Mapping[str, Any]) -> Row:
    """A product as its webhooks carry it, with its first hundred variants. Raises RowRejected."""
    shape = validated(_PAYLOAD, payload, resource=RESOURCE.name)
    variants, gids = shape.pop("variants", None), shape.pop("variant_gids", None)
    if variants is None:
        return row(shape, lists={}, required=(), gaps=())
    if not _carries_all(variants, gids):
        return row(shape, lists={}, required=(), gaps=["more variants than the payload carries"])
    return row(shape, lists={"variants": children(variants, _VARIANT_COLUMNS)}, required=(), gaps=())


def _carries_all(variants: list[dict[str, Any]], gids: list[dict[str, Any]] | None) -> bool:
    if gids is None:
        return len(variants) < PAYLOAD_VARIANTS
    return {gid["admin_graphql_api_id"] for gid in gids} <= {variant["shopify_id"] for variant in variants}


RESOURCE = Resource(
    name="products",
    gid_kind="Product",
    node_field="product",
    scope="read_products",
    page_query=page_query("products", "ProductSortKeys", _selection(PAGE_VARIANTS)),
    page_cost=cost.connection(PAGE_SIZE, cost.connection(PAGE_VARIANTS)),
    node_query=node_query("product", _selection(PAGE_SIZE)),
    node_cost=cost.OBJECT + cost.connection(PAGE_SIZE),
    nodes_query=nodes_query("Product", _selection(PAGE_SIZE)),
    count_query=count_query("productsCount"),
    count_cost=cost.COUNT,
    bulk=Bulk(f"{_OWN} variants {{ edges {{ node {{ {_VARIANT} }} }} }}", {"ProductVariant": "variants"}),
    node=_Node,
    to_row=_row,
    from_payload=from_payload,
    topics={
        "products/create": TopicKind.WHOLE,
        "products/update": TopicKind.WHOLE,
        "products/delete": TopicKind.DELETE,
    },
    payload_marks=frozenset({"handle", "product_type", "variants"}),
    nested=(
        Nested(
            field="variants",
            query=nested_query("product", "variants", _VARIANT),
            cost=cost.OBJECT + cost.connection(PAGE_SIZE),
            root="product",
        ),
    ),
)
