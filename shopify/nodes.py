"""GraphQL nodes: their shapes as types, and the way from an answer's node, or from a bulk file's lines, to a Row.

msgspec reads them, a file's straight from a line's bytes: a history is a million nodes, and to make dictionaries of them
first, and validate those, takes three times as long.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shopify import scalars
from shopify.errors import FileInvalid
from shopify.row import Row, RowRejected
from shopify.scalars import MoneySet
from shopify.transport import exact

#: As an answer is read: numbers with all of their digits.
_JSON = json.JSONDecoder(parse_float=exact, parse_constant=exact)


class Node(msgspec.Struct, rename="camel", gc=False):
    """A GraphQL object; its fields in our spelling. UNSET: it was not told. Unknown fields are none of our business."""


@dataclass(frozen=True, slots=True)
class As:
    """How a field's value becomes a column's. Raises ValueError for what cannot be stored; null stays null."""

    convert: Callable[[Any], Any]


class MoneyV2(Node):
    amount: str
    currency_code: str


class MoneyBag(Node):
    """One amount in the shop's currency and, where it was asked for, the buyer's."""

    shop_money: MoneyV2
    presentment_money: MoneyV2 | UnsetType | None = UNSET


class Reference(Node):
    """Another object, of which nothing but the id is told."""

    id: str


def _money_set(bag: MoneyBag) -> MoneySet:
    shop, presentment = bag.shop_money, bag.presentment_money
    buyers = None if presentment is None or presentment is UNSET else presentment.amount
    return _set_of(shop.amount, shop.currency_code, buyers)


@functools.lru_cache(maxsize=512)  # an order's totals are mostly one amount, and many are zero
def _set_of(amount: str, currency: str, buyers: str | None) -> MoneySet:
    presentment = None if buyers is None else scalars.decimal(buyers)
    return MoneySet(scalars.decimal(amount), scalars.currency(currency), presentment)


def shop_amount(bag: MoneyBag) -> Decimal:
    """The amount in the shop's currency. Raises ValueError."""
    scalars.currency(bag.shop_money.currency_code)
    return scalars.decimal(bag.shop_money.amount)


def _tags(tags: Sequence[str]) -> list[str]:
    return [scalars.text(tag) for tag in tags]


#: A state such as PAID in REST's lower case.
State = Annotated[str | UnsetType | None, As(scalars.state)]
Text = Annotated[str | UnsetType | None, As(scalars.text)]
Texts = Annotated[list[str] | UnsetType | None, As(_tags)]
Tags = Annotated[list[str] | UnsetType, As(_tags)]
Time = Annotated[str | UnsetType | None, As(scalars.time)]
Version = Annotated[str | UnsetType, As(scalars.time)]
Flag = bool | UnsetType | None
Count = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Currency = Annotated[str | UnsetType | None, As(scalars.currency)]
#: A decimal in text.
Amount = Annotated[str | UnsetType | None, As(scalars.decimal)]
Rate = Annotated[Decimal | UnsetType | None, As(scalars.rate)]
#: Both sides of a MoneyBag, and the shop's alone.
BothAmounts = Annotated[MoneyBag | UnsetType | None, As(_money_set)]
ShopAmount = Annotated[MoneyBag | UnsetType | None, As(shop_amount)]


def reference(kind: str) -> As:
    """Of a Reference to an object of a kind: the number in its id."""
    parse = scalars.gid(kind)
    return As(lambda found: parse(found.id))


# --- lists -----------------------------------------------------------------------------------------------------------

_Listed = TypeVar("_Listed", bound=Node)


class PageInfo(Node):
    has_next_page: bool


class Edge(Node, Generic[_Listed]):
    node: _Listed


class Connection(Node, Generic[_Listed]):
    """A nested connection, read as ``nodes`` or as ``edges``."""

    nodes: list[_Listed] | UnsetType = UNSET
    edges: list[Edge[_Listed]] | UnsetType = UNSET
    page_info: PageInfo | UnsetType = UNSET

    @property
    def listed(self) -> list[_Listed]:
        if self.nodes is not UNSET:
            return self.nodes
        return [] if self.edges is UNSET else [edge.node for edge in self.edges]

    @property
    def is_complete(self) -> bool:
        """Whether it said that nothing follows. One that was not asked may go on."""
        return self.page_info is not UNSET and not self.page_info.has_next_page


#: Of a list that a bulk file told.
_THE_END = PageInfo(has_next_page=False)


# --- values ----------------------------------------------------------------------------------------------------------


def told(node: Node) -> dict[str, Any]:
    """What a node told of its columns, under our names, converted. Raises ValueError, see ``_refusal``."""
    names, read, conversions = _columns(type(node))
    return {
        name: value if convert is None or value is None else convert(value)
        for name, convert, value in zip(names, conversions, read(node), strict=True)
        if value is not UNSET
    }


def complete(node: Node) -> dict[str, Any]:
    """The same with every column: None where it was not told. So are children."""
    names, read, conversions = _columns(type(node))
    return {
        name: None if value is None or value is UNSET else value if convert is None else convert(value)
        for name, convert, value in zip(names, conversions, read(node), strict=True)
    }


_Conversion = Callable[[Any], Any] | None


@functools.cache
def _columns(kind: type[Node]) -> tuple[tuple[str, ...], Callable[[Node], tuple[Any, ...]], tuple[_Conversion, ...]]:
    """The fields that become columns: their names, what reads them, and what converts each. The others hold nodes."""
    hints = get_type_hints(kind, include_extras=True)
    conversions = {name: _conversion(hint) for name, hint in hints.items()}
    names = tuple(name for name, hint in hints.items() if conversions[name] is not None or not _holds_nodes(hint))
    read = attrgetter(*names) if len(names) > 1 else lambda node: (getattr(node, names[0]),)
    return names, read, tuple(conversions[name] for name in names)


def _conversion(hint: object) -> _Conversion:
    return next((each.convert for each in getattr(hint, "__metadata__", ()) if isinstance(each, As)), None)


def _holds_nodes(hint: object) -> bool:
    origin = get_origin(hint) or hint
    return (isinstance(origin, type) and issubclass(origin, Node)) or any(map(_holds_nodes, get_args(hint)))


def _refusal(node: Node, path: str = "") -> str | None:
    """The first value that cannot be stored, and why: found once something was refused."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(type(node))}
    for name, hint in get_type_hints(type(node), include_extras=True).items():
        value, at, convert = getattr(node, name), f"{path}{names[name]}", _conversion(hint)
        if value is None or value is UNSET:
            continue
        if convert is not None:
            try:
                convert(value)
            except ValueError as error:
                return f"{at} {error}"
            continue
        inside = enumerate(value) if isinstance(value, list) else [(None, value)]
        for place, each in inside:
            if isinstance(each, Node):
                refusal = _refusal(each, f"{at}." if place is None else f"{at}.{place}.")
                if refusal is not None:
                    return refusal
    return None


def _reason_of(error: msgspec.ValidationError) -> str:
    """``lineItems.nodes.0.id is missing``, of msgspec's "Object missing required field `id` - at `$.lineItems.nodes[0]`"."""
    claim, _, place = str(error).partition(" - at `$")
    path = place.removesuffix("`").replace("[", ".").replace("]", "").lstrip(".")
    missing = claim.removeprefix("Object missing required field `")
    if missing != claim:
        return f"{f'{path}.' if path else ''}{missing.removesuffix('`')} is missing"
    return f"{path} {claim[:1].lower()}{claim[1:]}".lstrip()


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lines:
    """A resource's own line of a bulk file, and its children's, each with the connection that it is of."""

    own: bytes
    children: list[tuple[str, bytes]]


class Shape(Generic[_Listed]):
    """How a resource's nodes are read: the type of its node, and what makes a row of it."""

    def __init__(self, node: type[_Listed], to_row: Callable[[_Listed], Row], *, resource: str, gid_kind: str) -> None:
        self._resource, self._gid_kind = resource, gid_kind
        self._node, self._to_row = node, to_row
        self._decoder = msgspec.json.Decoder(node)
        connections = _connections(node)
        #: By GraphQL's name of a connection: our name of it, and what reads a line of it.
        self._fields = {name: field for name, (field, _) in connections.items()}
        self._decoders = {name: msgspec.json.Decoder(kind) for name, (_, kind) in connections.items()}

    def from_node(self, raw: object) -> Row:
        """The row of a node as a page or a fetch by id gives it. Raises RowRejected."""
        try:
            node = msgspec.convert(raw, self._node)
        except msgspec.ValidationError as error:
            reason = _reason_of(error)
        except RecursionError:
            reason = "is nested too deeply"
        else:
            try:
                return self._to_row(node)
            except ValueError as error:
                reason = _refusal(node) or str(error)
        raise RowRejected(self._resource, self._id_of(raw), reason, raw)

    def from_lines(self, lines: Lines) -> Row:
        """The row of what a bulk file tells of one resource. Raises RowRejected, and FileInvalid for what is no JSON."""
        try:
            node = self._decoder.decode(lines.own)
            lists: dict[str, list[Any]] = {name: [] for name in self._fields}
            for connection, line in lines.children:
                lists[connection].append(self._decoders[connection].decode(line))
            for connection, name in self._fields.items():
                setattr(node, name, Connection(nodes=lists[connection], page_info=_THE_END))
            return self._to_row(node)
        except (ValueError, RecursionError):
            return self.from_node(self._parsed(lines))  # which tells what is wrong with it

    def _parsed(self, lines: Lines) -> Any:
        node = parsed(lines.own, resource=self._resource)
        for connection in self._fields:
            own = [line for name, line in lines.children if name == connection]
            children = [parsed(line, resource=self._resource) for line in own]
            node[connection] = {"nodes": children, "pageInfo": {"hasNextPage": False}}
        return node

    def _id_of(self, raw: object) -> int | None:
        """The id of a refused resource, if that much can be told."""
        try:
            return scalars.gid(self._gid_kind)(raw.get("id") if isinstance(raw, dict) else None)
        except ValueError:
            return None


def parsed(line: bytes, *, resource: str) -> dict[str, Any]:
    """A line of a bulk file as an answer's node would be, also where msgspec refuses it. Raises FileInvalid."""
    try:
        node = _JSON.decode(line.decode())
    except (ValueError, RecursionError):
        node = None
    if not isinstance(node, dict):
        raise FileInvalid(f"a line of the {resource} is no JSON object")
    return node


def _connections(node: type[Node]) -> dict[str, tuple[str, type[Node]]]:
    """A node's connections by GraphQL's name: our name, and the type of what they list."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(node)}
    alternatives = ((name, each) for name, hint in get_type_hints(node).items() for each in get_args(hint))
    return {names[name]: (name, get_args(each)[0]) for name, each in alternatives if get_origin(each) is Connection}
