"""What a query selects: fields by response key, with fragments spread and @include / @skip as conditions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLUnionType,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

from .validation import SCHEMA

Condition = Callable[[Mapping[str, Any]], bool]


@dataclass
class Selected:
    """A field of a selection: its nodes (several when it is selected twice) and the condition on it."""

    nodes: list[FieldNode]
    condition: Condition | None

    @property
    def name(self) -> str:
        return self.nodes[0].name.value

    @property
    def sets(self) -> list[SelectionSetNode]:
        return [node.selection_set for node in self.nodes if node.selection_set]


class Selections:
    """The fragments of a document, and the fields that selection sets come to with them."""

    def __init__(self, document: DocumentNode) -> None:
        definitions = document.definitions
        self._fragments = {item.name.value: item for item in definitions if isinstance(item, FragmentDefinitionNode)}

    def of(
        self, kind: GraphQLNamedType, sets: Iterable[SelectionSetNode], condition: Condition | None = None
    ) -> dict[str, Selected]:
        """The fields selected of ``kind``, by response key."""
        found: dict[str, Selected] = {}
        for selection in (item for group in sets for item in group.selections):
            own = both(condition, _condition(selection))
            if isinstance(selection, FieldNode):
                key = (selection.alias or selection.name).value
                _merge(found, key, Selected([selection], own))
                continue
            fragment: FragmentDefinitionNode | InlineFragmentNode
            if isinstance(selection, FragmentSpreadNode):
                fragment = self._fragments[selection.name.value]
            else:
                assert isinstance(selection, InlineFragmentNode)
                fragment = selection
            if fragment.type_condition and not _applies(fragment.type_condition.name.value, kind):
                continue
            for key, item in self.of(kind, [fragment.selection_set], own).items():
                _merge(found, key, item)
        return found


def _merge(found: dict[str, Selected], key: str, item: Selected) -> None:
    known = found.get(key)
    if known is None:
        found[key] = item
        return
    known.nodes.extend(item.nodes)
    one, other = known.condition, item.condition
    if one is None or other is None:
        known.condition = None
    else:
        known.condition = lambda variables: one(variables) or other(variables)


def _applies(name: str, kind: GraphQLNamedType) -> bool:
    condition = SCHEMA.type_map[name]
    if condition is kind:
        return True
    is_abstract = isinstance(condition, GraphQLInterfaceType | GraphQLUnionType)
    return is_abstract and SCHEMA.is_sub_type(condition, kind)  # type: ignore[arg-type]


def _condition(selection: Any) -> Condition | None:
    found: Condition | None = None
    for directive in selection.directives or ():
        is_include = directive.name.value == "include"
        found = both(found, _directive(directive.arguments[0].value, is_include=is_include))
    return found


def _directive(argument: Any, *, is_include: bool) -> Condition:
    if isinstance(argument, VariableNode):
        name = argument.name.value
        return lambda variables: bool(variables.get(name)) == is_include
    value = bool(argument.value)
    return lambda _: value == is_include


def both(one: Condition | None, other: Condition | None) -> Condition | None:
    if one is None or other is None:
        return one or other
    return lambda variables: one(variables) and other(variables)


def has_variable(value: Any) -> bool:
    """Whether a literal holds a variable anywhere."""
    if isinstance(value, VariableNode):
        return True
    inner = getattr(value, "values", None) or [item.value for item in getattr(value, "fields", None) or ()]
    return any(has_variable(item) for item in inner)


def operation_of(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    """The operation that a request names, or the only one."""
    operations = [item for item in document.definitions if isinstance(item, OperationDefinitionNode)]
    if name:
        return next((item for item in operations if item.name and item.name.value == name), None)
    return operations[0] if len(operations) == 1 else None
