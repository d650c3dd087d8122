"""Parsing and validating a query against the schema; what is wrong is said in Shopify's words and codes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    Node,
    OperationDefinitionNode,
    build_schema,
    parse,
    specified_rules,
    validate,
)
from graphql.execution.values import VariableValues, get_variable_values
from graphql.language import print_ast

from .answers import Refused, error

SCHEMA: GraphQLSchema = build_schema(Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8"))

#: The code that Shopify gives what graphql-core's rule finds.
CODES = {
    "FieldsOnCorrectTypeRule": "undefinedField",
    "ProvidedRequiredArgumentsRule": "missingRequiredArguments",
    "ValuesOfCorrectTypeRule": "argumentLiteralsIncompatible",
    "KnownArgumentNamesRule": "argumentNotAccepted",
    "ScalarLeafsRule": "selectionMismatch",
    "KnownTypeNamesRule": "undefinedType",
    "KnownFragmentNamesRule": "useAndDefineFragment",
    "NoUnusedFragmentsRule": "useAndDefineFragment",
    "NoUndefinedVariablesRule": "variableNotDefined",
    "NoUnusedVariablesRule": "variableNotUsed",
    "VariablesInAllowedPositionRule": "variableMismatch",
    "OverlappingFieldsCanBeMergedRule": "fieldConflict",
    "PossibleFragmentSpreadsRule": "cannotSpreadFragment",
    "KnownDirectivesRule": "undefinedDirective",
}


def parse_query(text: str) -> DocumentNode:
    """The document of a query. Raises Refused with PARSE_ERROR or with what validation found."""
    try:
        document = parse(text)
    except GraphQLSyntaxError as problem:
        locations = [{"line": place.line, "column": place.column} for place in problem.locations or []]
        where = f" at [{locations[0]['line']}, {locations[0]['column']}]" if locations else ""
        message = problem.message.removeprefix("Syntax Error: ")
        raise Refused([error(f"syntax error, {message}{where}", "PARSE_ERROR", locations=locations)]) from problem
    if validate(SCHEMA, document):
        raise Refused(list(_problems(document)))
    return document


def _problems(document: DocumentNode) -> Iterator[dict[str, Any]]:
    paths = _paths(document)
    for rule in specified_rules:
        for problem in validate(SCHEMA, document, [rule]):
            node = problem.nodes[0] if problem.nodes else None
            yield _worded(rule.__name__, problem, node, paths.get(id(node), []))


def _worded(rule: str, problem: GraphQLError, node: Node | None, path: list[str]) -> dict[str, Any]:
    locations = [{"line": place.line, "column": place.column} for place in (problem.locations or [])[:1]]
    code = CODES.get(rule, "invalidQuery")
    message, details = problem.message, {}
    quoted = [part for part in problem.message.split("'")[1::2] if part]
    if code == "undefinedField" and isinstance(node, FieldNode):
        details = {"typeName": quoted[1] if len(quoted) > 1 else "", "fieldName": node.name.value}
        message = f"Field '{node.name.value}' doesn't exist on type '{details['typeName']}'"
    elif code == "missingRequiredArguments" and isinstance(node, FieldNode):
        details = {"className": "Field", "name": node.name.value, "arguments": _argument_of(problem.message)}
        message = f"Field '{node.name.value}' is missing required arguments: {details['arguments']}"
    elif code == "argumentLiteralsIncompatible" and node is not None:
        argument = path[-1] if path else ""
        field = path[-2] if len(path) > 1 else ""
        details = {"typeName": "Field", "argumentName": argument}
        expected = _expected(problem.message, quoted)
        message = f"Argument '{argument}' on Field '{field}' has an invalid value ({print_ast(node)}). Expected type '{expected}'."
    elif code == "argumentNotAccepted" and isinstance(node, ArgumentNode):
        field = path[-2] if len(path) > 1 else ""
        details = {"typeName": "Field", "name": field, "argumentName": node.name.value}
        message = f"Field '{field}' doesn't accept argument '{node.name.value}'"
    return error(message, code, path=path, locations=locations, **details)


def _expected(message: str, quoted: list[str]) -> str:
    """The type that an argument wants: graphql-core says "Int cannot represent …" or names it in quotes."""
    first = message.partition(" ")[0]
    if first in SCHEMA.type_map:
        return first
    return next((part for part in quoted if part.strip("[]!") in SCHEMA.type_map), "")


def _argument_of(message: str) -> str:
    """The argument named in graphql-core's "Argument 'QueryRoot.order(id:)' of type …" (older: "argument 'id'")."""
    for part in message.split("'")[1::2]:
        if "(" in part:
            return part.partition("(")[2].partition(":")[0]
    quoted = message.split("'")[1::2]
    return quoted[1] if len(quoted) > 1 else (quoted[0] if quoted else "")


def _paths(document: DocumentNode) -> dict[int, list[str]]:
    """The path to every node as Shopify writes it: the operation, then response names, then the argument."""
    paths: dict[int, list[str]] = {}

    def walk(node: Node, path: list[str]) -> None:
        if isinstance(node, OperationDefinitionNode):
            path = [node.operation.value + (f" {node.name.value}" if node.name else "")]
        elif isinstance(node, FieldNode):
            path = [*path, (node.alias or node.name).value]
        elif isinstance(node, ArgumentNode):
            path = [*path, node.name.value]
        paths[id(node)] = path
        for key in node.keys:
            value = getattr(node, key, None)
            for child in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(child, Node):
                    walk(child, path)

    walk(document, [])
    return paths


def coerced_variables(operation: OperationDefinitionNode, values: Mapping[str, Any]) -> VariableValues:
    """The variables of a request. Raises Refused with INVALID_VARIABLE."""
    coerced = get_variable_values(SCHEMA, operation.variable_definitions or (), dict(values))
    if isinstance(coerced, list):
        raise Refused([_invalid_variable(problem, operation, values) for problem in coerced])
    return coerced


def _invalid_variable(
    problem: GraphQLError, operation: OperationDefinitionNode, values: Mapping[str, Any]
) -> dict[str, Any]:
    locations = [{"line": place.line, "column": place.column} for place in (problem.locations or [])[:1]]
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        if f"'${name}'" in problem.message:
            kind = print_ast(definition.type)
            explanation = (
                problem.message.rpartition("; ")[2] if "; " in problem.message else "Expected value to not be null"
            )
            return error(
                f"Variable ${name} of type {kind} was provided invalid value",
                "INVALID_VARIABLE",
                locations=locations,
                value=values.get(name),
                problems=[{"path": [], "explanation": explanation}],
            )
    return error(problem.message, "INVALID_VARIABLE", locations=locations)
