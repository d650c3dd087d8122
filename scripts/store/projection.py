"""Queries compiled to Python: a page of 250 orders has some hundred thousand fields, too many for an interpreter.

Each selection becomes one function that builds its dict; fields are expressions over the record (``o``) or calls with the
run (``r``) where arguments, scopes or other records are needed. See fields/ for the fields themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.values import get_argument_values

from . import fields
from .cost import COUNT_COST, FREE_TYPES, MUTATION_COST, Price
from .moneybags import Amounts, MoneyBags, Names
from .paging import Slice, check_size
from .run import Run
from .selections import Selected, Selections, has_variable
from .validation import SCHEMA

Path = tuple[str, ...]
Project = Callable[[Any, Run], Any]
#: A part of a connection: of the page, or of an edge of it.
PagePart = Callable[[Slice, Run], Any]
EdgePart = Callable[[Slice, Any, Run], Any]


@dataclass(frozen=True)
class Compiled:
    """A query ready to run: its root function and its prices."""

    operation: OperationDefinitionNode
    project: Project
    prices: list[Price]
    is_introspection: bool = False


@dataclass(frozen=True)
class Spot:
    """A field that is being compiled; ``names`` is what its expression may use, under ``name`` and a letter."""

    kind: GraphQLObjectType
    node: FieldNode
    definition: GraphQLField
    sets: list[SelectionSetNode]
    names: dict[str, Any]
    name: str
    path: Path

    @property
    def field(self) -> str:
        return self.node.name.value

    @property
    def below(self) -> Any:
        return get_named_type(self.definition.type)

    @property
    def is_list(self) -> bool:
        kind = self.definition.type
        return is_list_type(kind.of_type if is_non_null_type(kind) else kind)


class Compiler:
    """Compiles one operation of a document that validation has passed."""

    def __init__(self, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._operation = operation
        self._selections = Selections(document)
        self._places = 0

    def compile(self) -> Compiled:
        root = SCHEMA.mutation_type if self._operation.operation.value == "mutation" else SCHEMA.query_type
        assert root is not None
        sets = [self._operation.selection_set]
        if {item.name for item in self._selections.of(root, sets).values()} & {"__schema", "__type"}:
            return Compiled(self._operation, lambda *_: {}, [], is_introspection=True)
        project, prices = self._object(root, sets, ())
        return Compiled(self._operation, project, prices)

    def _place(self) -> int:
        self._places += 1
        return self._places

    # Objects

    def _object(self, kind: GraphQLObjectType, sets: list[SelectionSetNode], path: Path) -> tuple[Project, list[Price]]:
        """The function that builds a dict of ``kind``, and the prices of its object fields."""
        names: dict[str, Any] = dict(fields.NAMES)
        plain: list[str] = []
        lines: list[str] = []
        apart: list[str] = []
        prices: list[Price] = []
        for number, (key, item) in enumerate(self._selections.of(kind, sets).items()):
            expression, price = self._field(kind, item, names, f"f{number}", (*path, key))
            if price:
                price.is_selected = item.condition
                prices.append(price)
            is_apart = self._is_apart(kind, item)
            if item.condition is None and not lines and not is_apart:
                plain.append(f"{key!r}: {expression}")
                continue
            line = expression if is_apart else f"d[{key!r}] = {expression}"
            if item.condition is not None:
                names[f"c{number}"] = item.condition
                line = f"if c{number}(r.values): {line}"
            (apart if is_apart else lines).append(line)
        lines += apart
        start = f"{{{', '.join(plain)}}}"
        body = [f"d = {start}", *lines, "return d"] if lines else [f"return {start}"]
        source = "def project(o, r):\n    " + "\n    ".join(body)
        exec(source, names)  # noqa: S102 - our own expressions, and keys of a query that validation passed
        return names["project"], prices

    def _is_apart(self, kind: GraphQLObjectType, item: Selected) -> bool:  # noqa: ARG002 - for a bulk query's compiler
        """Whether the field stands elsewhere than in its object: its expression runs once the dict ``d`` is whole."""
        return False

    def _any_object(self, kind: Any, sets: list[SelectionSetNode], path: Path) -> tuple[Project, list[Price]]:
        """Likewise for a type that may be an interface or a union: the record says which it is."""
        if isinstance(kind, GraphQLObjectType):
            return self._object(kind, sets, path)
        projects: dict[str, Project] = {}
        prices: list[Price] = []
        for possible in SCHEMA.get_possible_types(kind):
            projects[possible.name], own = self._object(possible, sets, path)
            prices = max(prices, own, key=_weight)
        return lambda o, r: projects[fields.type_name(o)](o, r), prices

    # Fields

    def _field(
        self, kind: GraphQLObjectType, item: Selected, names: dict[str, Any], name: str, path: Path
    ) -> tuple[str, Price | None]:
        """The expression for a field, and its price if it is an object."""
        if item.name == "__typename":
            return repr(kind.name), None
        spot = Spot(kind, item.nodes[0], kind.fields[item.name], item.sets, names, name, path)
        price: Price | None = None
        if is_leaf_type(spot.below):
            expression = self._value(spot)
        elif spot.below.name == "MoneyBag":
            names[name + "m"] = MoneyBags(self._money_fields(spot))
            expression = f"{name}m[{self._value(spot)}]"
        elif spot.below.name == "MoneyV2":
            names[name + "m"] = Amounts(self._names(spot.below, spot.sets))
            expression = f"{name}m[{self._value(spot)}]"
        elif spot.below.name.endswith("Connection"):
            expression, price = self._connection(spot)
        else:
            expression, price = self._composite(spot)
        scope = fields.SCOPES.get((kind.name, item.name))
        if scope:
            names[name + "g"] = (scope, path)
            expression = f"({expression}) if r.allows(*{name}g) else None"
        return expression, price

    def _value(self, spot: Spot) -> str:
        """The expression of the field's raw value."""
        plain = fields.PLAIN.get(spot.kind.name, {}).get(spot.field)
        if plain is not None:
            return f"({plain})"
        call = fields.CALLS[spot.kind.name][spot.field]
        spot.names[spot.name] = self._called(call, spot) if spot.definition.args else call
        return f"{spot.name}(o, r)"

    def _called(self, call: Any, spot: Spot) -> Project:
        """The field's function with its arguments, worked out now or, when they hold variables, once a run."""
        if not any(has_variable(argument.value) for argument in spot.node.arguments or ()):
            constant = self._checked(get_argument_values(spot.definition, spot.node), spot)
            return lambda o, r: call(o, r, constant)
        place = self._place()

        def with_variables(o: Any, r: Run) -> Any:
            arguments = r.arguments.get(place)
            if arguments is None:
                arguments = self._checked(get_argument_values(spot.definition, spot.node, r.variables), spot)
                r.arguments[place] = arguments
            return call(o, r, arguments)

        return with_variables

    def _checked(self, arguments: dict[str, Any], spot: Spot) -> dict[str, Any]:
        """The arguments with the field's path. Raises Refused for a malformed gid or a page size that is not allowed."""
        fields.check_ids(arguments, spot.path)
        if "first" in spot.definition.args and "after" in spot.definition.args:
            check_size(arguments, spot.field, spot.path)
        return {**arguments, "path": spot.path}

    def _composite(self, spot: Spot) -> tuple[str, Price]:
        """An object or a plain list of objects."""
        name, names = spot.name, spot.names
        own = COUNT_COST if spot.field.endswith("Count") else 0 if spot.below.name in FREE_TYPES else 1
        reference = fields.REFERENCES.get((spot.kind.name, spot.field))
        identity = self._identity(spot) if reference else None
        if reference and identity:
            names[name + "e"], names[name + "p"] = reference.exists, identity
            return f"({name}p({reference.number}) if {name}e(r, {reference.number}) else None)", Price(own)
        project, prices = self._any_object(spot.below, spot.sets, spot.path)
        if spot.kind is SCHEMA.mutation_type:
            own, prices = MUTATION_COST, []
        names[name + "p"] = project
        value = self._value(spot)
        price = Price(own, prices)
        if spot.is_list:
            return f"[{name}p(i, r) if i is not None else None for i in {value} or ()]", price
        if prices and not is_non_null_type(spot.definition.type):
            price.place = names[name + "n"] = self._place()
            return f"nullable(r, {value}, {name}p, {name}n)", price
        return f"maybe({value}, {name}p, r)", price

    def _connection(self, spot: Spot) -> tuple[str, Price]:
        place = self._place()
        parts: list[tuple[str, PagePart]] = []
        prices: list[Price] = []
        for key, item in self._selections.of(spot.below, spot.sets).items():
            path = (*spot.path, key)
            if item.name == "pageInfo":
                parts.append((key, _page_info(self._names(SCHEMA.type_map["PageInfo"], item.sets))))
                continue
            if item.name == "__typename":
                parts.append((key, _constant(spot.below.name)))
                continue
            kind = get_named_type(spot.below.fields[item.name].type)
            if item.name == "nodes":
                project, own = self._any_object(kind, item.sets, path)
                parts.append((key, _nodes(project)))
            else:
                edges, own = self._edges(kind, item.sets, path)
                parts.append((key, edges))
            prices += own

        def connection(page: Slice | None, r: Run) -> dict[str, Any] | None:
            if page is None:
                return None
            r.count(place, len(page.items))
            return {key: part(page, r) for key, part in parts}

        spot.names[spot.name + "c"] = connection
        return f"{spot.name}c({self._value(spot)}, r)", Price(2, prices, asked=_asked(spot.node), place=place)

    def _edges(self, kind: Any, sets: list[SelectionSetNode], path: Path) -> tuple[PagePart, list[Price]]:
        parts: list[tuple[str, EdgePart]] = []
        prices: list[Price] = []
        for key, item in self._selections.of(kind, sets).items():
            if item.name == "node":
                project, own = self._any_object(get_named_type(kind.fields["node"].type), item.sets, (*path, key))
                prices += own
                parts.append((key, _edge_node(project)))
            elif item.name == "cursor":
                parts.append((key, lambda page, node, _: page.cursor(node)))
            else:
                parts.append((key, lambda *_: kind.name))
        return lambda page, r: [{key: part(page, node, r) for key, part in parts} for node in page.items], prices

    # Small parts

    def _identity(self, spot: Spot) -> Callable[[int], dict[str, str]] | None:
        """A function of the id when nothing but the identity of the object is selected."""
        selected = self._selections.of(spot.below, spot.sets)
        texts = {
            "id": f"gid://shopify/{spot.below.name}/%d",
            "legacyResourceId": "%d",
            "__typename": f"{spot.below.name}%.0s",
        }
        if any(item.name not in texts or item.condition for item in selected.values()):
            return None
        forms = [(key, texts[item.name]) for key, item in selected.items()]
        return lambda number: {key: form % number for key, form in forms}

    def _money_fields(self, spot: Spot) -> list[tuple[str, str, Names]]:
        amount = SCHEMA.type_map["MoneyV2"]
        selected = self._selections.of(spot.below, spot.sets)
        return [(key, item.name, self._names(amount, item.sets)) for key, item in selected.items()]

    def _names(self, kind: Any, sets: list[SelectionSetNode]) -> Names:
        return [(key, item.name) for key, item in self._selections.of(kind, sets).items()]


def _constant(value: str) -> PagePart:
    return lambda *_: value


def _nodes(project: Project) -> PagePart:
    return lambda page, r: [project(item, r) for item in page.items]


def _edge_node(project: Project) -> EdgePart:
    return lambda _, node, r: project(node, r)


def _page_info(selected: Names) -> PagePart:
    reads: dict[str, Callable[[Slice], Any]] = {
        "hasNextPage": lambda page: page.has_next,
        "hasPreviousPage": lambda page: page.has_previous,
        "startCursor": lambda page: page.cursor(page.items[0]) if page.items else None,
        "endCursor": lambda page: page.cursor(page.items[-1]) if page.items else None,
        "__typename": lambda _: "PageInfo",
    }
    chosen = [(key, reads[name]) for key, name in selected]
    return lambda page, _: {key: read(page) for key, read in chosen}


def _asked(node: FieldNode) -> Callable[[Mapping[str, Any]], int]:
    """How many edges the arguments ask for."""
    arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
    size = arguments.get("first") or arguments.get("last")
    if isinstance(size, VariableNode):
        name = size.name.value
        return lambda variables: variables.get(name) or 0
    number = int(getattr(size, "value", 0) or 0)
    return lambda _: number


def _weight(prices: list[Price]) -> int:
    """What prices come to when every page is of ten, to compare them before the variables are known."""
    return sum(price.own + _weight(price.children) * (10 if price.asked else 1) for price in prices)
