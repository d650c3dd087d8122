"""Inventory levels: how many of an inventory item are where. The resource is the item, which lists its levels.

What is inferred from the Admin API 2026-07 and was not seen in answers of the platform:

- ``inventoryItems`` takes no sort key and lists by id; there is no count of them.
- ``updatedAt`` of an item tells of the item alone: it stays when a level changes. So a level's webhook has its item read
  again, and a lost one is mended by the next whole sync, not by reading what was updated.
- A level's global id, ``gid://shopify/InventoryLevel/1?inventory_item_id=2``, is its number with its item's: the number
  alone may be that of other items' levels at the same location.
- An item's webhooks hold no levels, and a level's the available quantity alone.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Required

from msgspec import UNSET, UnsetType, field
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from shopify import cost, nodes
from shopify.mapping import REST, children, row, validated
from shopify.nodes import As, Connection, Node, told
from shopify.resource import (
    PAGE_SIZE,
    Bulk,
    Nested,
    Part,
    Resource,
    TopicKind,
    nested_query,
    node_query,
    nodes_query,
    page_query,
)
from shopify.row import Row
from shopify.scalars import Flag, Id, Text, Time, gid

#: Levels asked for with each item of a page; an item at more locations is fetched by id.
PAGE_LEVELS = 20
#: Shopify's names of the quantities that we keep, which are our columns too.
QUANTITIES = ("available", "on_hand", "committed", "incoming", "reserved")

_NAMES = ", ".join(f'"{name}"' for name in QUANTITIES)
_LEVEL = f"id updatedAt location {{ id }} quantities(names: [{_NAMES}]) {{ name quantity }}"
_OWN = "id sku tracked createdAt updatedAt"
#: The location and the list of quantities.
_LEVEL_OBJECTS = (cost.OBJECT, cost.OBJECT)
_LEVEL_COLUMNS = ("location_shopify_id", "updated_at", *QUANTITIES)


def _selection(levels: int) -> str:
    return f"""
      {_OWN}
      inventoryLevels(first: {levels}) {{ pageInfo {{ hasNextPage endCursor }} nodes {{ {_LEVEL} }} }}
    """


def _level_id(value: str) -> int:
    """The number in a level's global id, whose item is its parent's."""
    return gid("InventoryLevel")(value.partition("?")[0])


class _Quantity(Node):
    name: str
    quantity: nodes.Count


class _LevelNode(Node):
    shopify_id: Annotated[str, As(_level_id)] = field(name="id")
    location_shopify_id: Annotated[nodes.Reference | UnsetType | None, nodes.reference("Location")] = field(
        name="location", default=UNSET
    )
    quantities: list[_Quantity] | UnsetType = UNSET
    updated_at: nodes.Time = UNSET


class _Node(Node):
    shopify_id: Annotated[str, As(gid("InventoryItem"))] = field(name="id")
    updated_at: nodes.Version = UNSET
    sku: nodes.Text = UNSET
    tracked: nodes.Flag = UNSET
    created_at: nodes.Time = UNSET
    inventory_levels: Connection[_LevelNode] | UnsetType = UNSET


@with_config(REST)
class _Payload(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    updated_at: Time | None
    sku: Text | None
    tracked: Flag | None
    created_at: Time | None


_PAYLOAD: TypeAdapter[Any] = TypeAdapter(_Payload)


def _row(node: _Node) -> Row:
    shape = told(node)
    levels = node.inventory_levels
    if levels is UNSET or not levels.is_complete:
        return row(shape, lists={}, required=(), gaps=["more levels than were read"])
    lists = {"inventory_levels": children(map(_with_quantities, levels.listed), _LEVEL_COLUMNS)}
    return row(shape, lists=lists, required=(), gaps=())


def _with_quantities(level: _LevelNode) -> dict[str, Any]:
    quantities = [] if level.quantities is UNSET else level.quantities
    return told(level) | {each.name: each.quantity for each in quantities if each.name in QUANTITIES}


def from_payload(payload: Mapping[str, Any]) -> Row:
    """An item as its webhooks carry it, without its levels. Raises RowRejected."""
    shape = validated(_PAYLOAD, payload, resource=RESOURCE.name)
    return row(shape, lists={}, required=(), gaps=["the payload has no levels"])


_LEVEL_CHANGED = Part(id_path=("inventory_item_id",), marks=frozenset({"inventory_item_id"}))

RESOURCE = Resource(
    name="inventory_items",
    gid_kind="InventoryItem",
    node_field="inventoryItem",
    scope="read_inventory",
    is_optional=True,
    changes_often=True,
    is_sortable=False,
    page_query=page_query("inventoryItems", None, _selection(PAGE_LEVELS)),
    page_cost=cost.connection(PAGE_SIZE, cost.connection(PAGE_LEVELS, *_LEVEL_OBJECTS)),
    node_query=node_query("inventoryItem", _selection(PAGE_SIZE)),
    node_cost=cost.OBJECT + cost.connection(PAGE_SIZE, *_LEVEL_OBJECTS),
    nodes_query=nodes_query("InventoryItem", _selection(PAGE_SIZE)),
    count_query=None,
    count_cost=0,
    bulk=Bulk(f"{_OWN} inventoryLevels {{ edges {{ node {{ {_LEVEL} }} }} }}", {"InventoryLevel": "inventoryLevels"}),
    node=_Node,
    to_row=_row,
    from_payload=from_payload,
    topics={
        "inventory_items/create": TopicKind.WHOLE,
        "inventory_items/update": TopicKind.WHOLE,
        "inventory_items/delete": TopicKind.DELETE,
        "inventory_levels/connect": TopicKind.FETCH,
        "inventory_levels/update": TopicKind.FETCH,
        "inventory_levels/disconnect": TopicKind.FETCH,
    },
    payload_marks=frozenset({"tracked", "country_code_of_origin", "harmonized_system_code"}),
    parts={
        "inventory_levels/connect": _LEVEL_CHANGED,
        "inventory_levels/update": _LEVEL_CHANGED,
        "inventory_levels/disconnect": _LEVEL_CHANGED,
    },
    nested=(
        Nested(
            field="inventoryLevels",
            query=nested_query("inventoryItem", "inventoryLevels", _LEVEL),
            cost=cost.OBJECT + cost.connection(PAGE_SIZE, *_LEVEL_OBJECTS),
            root="inventoryItem",
        ),
    ),
)
