"""What a bulk query must keep to, and what Shopify answers to one that does not.

At least one connection and at most five, none deeper than two below the first, by ``edges { node }``; what holds a
connection selects its own ``id``; and no connection stands inside a list field.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from scripts.store.answers import Refused
from scripts.store.validation import SCHEMA, parse_query

MOST_CONNECTIONS = 5
#: Levels of connections below the first.
MOST_NESTED = 2
Path = tuple[str, ...]


class Invalid(Exception):
    """The query is refused (code INVALID); the message says which rule it breaks."""


@dataclass
class Connection:
    """A connection by its path of response keys; ``owner`` is the path of the object that holds it."""

    name: str
    owner: Path
    nested: int
    is_in_list: bool
    #: The paths of its edges' nodes, and whether ``nodes`` is selected.
    nodes: set[Path] = field(default_factory=set)
    is_flat: bool = False


def bulk_query(text: str) -> tuple[DocumentNode, OperationDefinitionNode]:
    """The document of a bulk query and its operation. Raises Invalid."""
    try:
        document = parse_query(text)
    except Refused as refused:
        raise Invalid(f"Invalid bulk query: {refused.errors[0]['message']}") from refused
    operations = [item for item in document.definitions if isinstance(item, OperationDefinitionNode)]
    if len(operations) != 1 or operations[0].operation is not OperationType.QUERY:
        raise Invalid("Invalid bulk query: it must hold exactly one query operation.")
    if operations[0].variable_definitions:
        raise Invalid("Invalid bulk query: variables are not supported.")
    survey = Survey(document)
    survey.object(SCHEMA.query_type, [operations[0].selection_set], ())
    _check(survey)
    return document, operations[0]


def _check(survey: "Survey") -> None:
    connections = list(survey.connections.values())
    if not connections:
        raise Invalid("Bulk queries must contain at least one connection.")
    if len(connections) > MOST_CONNECTIONS:
        raise Invalid(f"Bulk queries cannot contain more than {MOST_CONNECTIONS} connections.")
    if any(item.is_in_list for item in connections):
        raise Invalid("Queries that contain a connection field within a list field are not currently supported.")
    if any(item.nested > MOST_NESTED for item in connections):
        raise Invalid(f"Bulk queries cannot contain connections nested deeper than {MOST_NESTED} levels.")
    flat = [item.name for item in connections if item.is_flat or not item.nodes]
    if flat:
        raise Invalid(f"Bulk queries must select 'edges' with 'node' of a connection: {', '.join(flat)}.")
    nameless = [item.name for item in connections if item.owner and item.owner not in survey.with_id]
    if nameless:
        raise Invalid(
            "The parent 'node' field for a nested connection must select the 'id' field without an alias and must be of "
            f"'ID' return type. Connection fields without 'id': {', '.join(nameless)}."
        )
    outside = [path[0] for path in survey.roots if path not in survey.connections]
    if outside:
        raise Invalid(f"Top-level fields of a bulk query must be connections: {', '.join(outside)}.")


class Survey:
    """A walk over a query that validation has passed."""

    def __init__(self, document: DocumentNode) -> None:
        definitions = document.definitions
        self._fragments = {item.name.value: item for item in definitions if isinstance(item, FragmentDefinitionNode)}
        self.connections: dict[Path, Connection] = {}
        self.roots: list[Path] = []
        #: Objects that select their own ``id``, unaliased.
        self.with_id: set[Path] = set()

    def object(
        self, kind: Any, sets: Iterable[SelectionSetNode], path: Path, *, nested: int = 0, is_in_list: bool = False
    ) -> None:
        """Survey the selections of one object of the type ``kind``; ``nested`` is how many connections hold it."""
        for field_kind, node in self._fields(kind, sets):
            name = node.name.value
            if name == "id" and node.alias is None:
                self.with_id.add(path)
            if name.startswith("__") or node.selection_set is None:
                continue
            definition = field_kind.fields[name]
            below, own = get_named_type(definition.type), (*path, (node.alias or node.name).value)
            if not path:
                self.roots.append(own)
            if is_leaf_type(below):
                continue
            if below.name.endswith("Connection"):
                self._connection(below, node, own, nested, is_in_list=is_in_list)
                continue
            own_list = is_in_list or is_list_type(
                definition.type.of_type if is_non_null_type(definition.type) else definition.type
            )
            self.object(below, [node.selection_set], own, nested=nested, is_in_list=own_list)

    def _connection(self, kind: Any, node: FieldNode, path: Path, nested: int, *, is_in_list: bool) -> None:
        found = self.connections.setdefault(path, Connection(node.name.value, path[:-1], nested, is_in_list))
        assert node.selection_set is not None
        for page, part in self._fields(kind, [node.selection_set]):
            if part.name.value == "nodes":
                found.is_flat = True
            if part.name.value != "edges" or part.selection_set is None:
                continue
            edge = get_named_type(page.fields["edges"].type)
            for edge_kind, inner in self._fields(edge, [part.selection_set]):
                if inner.name.value != "node" or inner.selection_set is None:
                    continue
                key = (*path, (part.alias or part.name).value, (inner.alias or inner.name).value)
                found.nodes.add(key)
                below = get_named_type(edge_kind.fields["node"].type)
                self.object(below, [inner.selection_set], key, nested=nested + 1, is_in_list=is_in_list)

    def _fields(self, kind: Any, sets: Iterable[SelectionSetNode]) -> Iterable[tuple[Any, FieldNode]]:
        """The fields of selection sets with the type that each is selected of."""
        for selection in (item for group in sets for item in group.selections):
            if isinstance(selection, FieldNode):
                yield kind, selection
                continue
            fragment: FragmentDefinitionNode | InlineFragmentNode
            if isinstance(selection, FragmentSpreadNode):
                fragment = self._fragments[selection.name.value]
            else:
                assert isinstance(selection, InlineFragmentNode)
                fragment = selection
            condition = fragment.type_condition
            below = SCHEMA.type_map[condition.name.value] if condition else kind
            yield from self._fields(below, [fragment.selection_set])
