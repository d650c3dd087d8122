"""What queries cost by Shopify's formula, checked against costs that the platform reported."""

from pathlib import Path

import graphql
import pytest

import scripts
from shopify import shop
from shopify.cost import COUNT, SINGLE_QUERY_MAXIMUM, Cost, connection
from shopify.resources import RESOURCES

SCHEMA = graphql.build_schema((Path(scripts.__path__[0]) / "store" / "schema.graphql").read_text(encoding="utf-8"))
FREE = {"MoneyBag", "MoneyV2", "CustomerPhoneNumber", "PageInfo"}
MONEY = "shopMoney{amount currencyCode}presentmentMoney{amount currencyCode}"


def cost_of_text(query: str, **variables: int) -> int:
    """The formula applied to the text of a query, apart from how ``shopify.cost`` is used."""
    document = graphql.parse(query)
    assert graphql.validate(SCHEMA, document) == []
    operation = next(node for node in document.definitions if isinstance(node, graphql.OperationDefinitionNode))
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, graphql.FragmentDefinitionNode)
    }
    return _below(operation.selection_set, SCHEMA.query_type, fragments, variables)


def _below(selections, parent, fragments, variables) -> int:
    total = 0
    for selection in selections.selections if selections else ():
        if isinstance(selection, graphql.FragmentSpreadNode):
            total += _below(fragments[selection.name.value].selection_set, parent, fragments, variables)
        else:
            total += _field(selection, parent, fragments, variables)
    return total


def _field(selection, parent, fragments, variables) -> int:
    if selection.name.value.endswith("Count"):
        return COUNT
    kind = graphql.get_named_type(parent.fields[selection.name.value].type)
    if graphql.is_leaf_type(kind):
        return 0
    inside = _below(selection.selection_set, kind, fragments, variables)
    if parent.name.endswith("Connection") or kind.name in FREE:
        return inside
    if not kind.name.endswith("Connection"):
        return 1 + inside
    first = next(argument.value for argument in selection.arguments if argument.name.value == "first")
    number = variables[first.name.value] if isinstance(first, graphql.VariableNode) else int(first.value)
    return connection(number, inside)


@pytest.mark.parametrize(
    ("computed", "reported"),
    [
        (connection(250), 13),
        (connection(250, connection(250)), 156),
        (connection(250, connection(250), 1), 167),
        (connection(0, 1), 2),
        (connection(1, 1), 4),
    ],
)
def test_the_formula_gives_the_reported_costs(computed, reported):
    assert computed == reported


@pytest.mark.parametrize(("lines", "cost"), [(25, 772), (50, 827), (100, 937)])
def test_the_formula_gives_the_cost_of_a_large_query(lines, cost):
    query = f"""query($after:String){{orders(first:250,after:$after){{pageInfo{{hasNextPage endCursor}}nodes{{
    id customer{{id}} totalPriceSet{{...M}}
    lineItems(first:{lines}){{nodes{{id product{{id}}variant{{id}}taxLines{{title}}discountAllocations{{allocatedAmountSet{{...M}}}}}}}}
    shippingLines(first:3){{nodes{{id taxLines{{title}}discountAllocations{{allocatedAmountSet{{...M}}}}}}}}
    refunds(first:50){{id duties{{amountSet{{...M}}}}refundLineItems(first:10){{nodes{{id lineItem{{id}}}}}}
      refundShippingLines(first:3){{nodes{{id}}}}orderAdjustments(first:5){{nodes{{id}}}}transactions(first:5){{nodes{{id}}}}}}
    transactions(first:50){{id parentTransaction{{id}}}}}}}}}}
    fragment M on MoneyBag{{{MONEY}}}"""
    assert cost_of_text(query) == cost


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda resource: resource.name)
def test_every_query_of_a_resource_is_valid_and_costs_what_it_says(resource):
    assert cost_of_text(resource.page_query, first=250) == resource.page_cost
    assert cost_of_text(resource.node_query) == resource.node_cost
    if resource.count_query is not None:
        assert cost_of_text(resource.count_query) == resource.count_cost
    for nested in resource.nested:
        assert cost_of_text(nested.query) == nested.cost


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda resource: resource.name)
def test_a_page_is_admitted_on_any_plan(resource):
    assert resource.page_cost <= SINGLE_QUERY_MAXIMUM


def test_the_query_for_the_shop_is_valid_and_costs_what_it_says():
    assert cost_of_text(shop.QUERY) == shop.QUERY_COST


def test_costs_of_two_queries_in_a_row_are_added_and_the_later_one_knows_the_bucket():
    first, second = Cost(10, 5, 100, 2000, 100), Cost(20, None, 90, 4000, 200)
    assert first.plus(second) == Cost(30, 5, 90, 4000, 200)
    assert first.plus(None) == first


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1])
def test_a_bucket_that_cannot_be_is_not_believed(value):
    status = {"maximumAvailable": value, "currentlyAvailable": 1, "restoreRate": 100}
    cost = {"requestedQueryCost": 1, "actualQueryCost": 1, "throttleStatus": status}
    assert Cost.of({"extensions": {"cost": cost}}) is None
