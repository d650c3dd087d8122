"""The whole schema is served: every field has an answer, of the type that it declares."""

from typing import Any

from graphql import (
    GraphQLObjectType,
    get_introspection_query,
    get_named_type,
    graphql_sync,
    is_leaf_type,
    parse,
    print_ast,
)

from scripts.store import fields
from scripts.store.cost import MAX_COST
from scripts.store.shop import Shop
from scripts.store.validation import SCHEMA

from .conftest import Store

#: Types that the projection makes by itself.
BUILT_IN = {"MoneyBag", "PageInfo"}


def test_every_field_has_exactly_one_source():
    for name, kind in SCHEMA.type_map.items():
        if not isinstance(kind, GraphQLObjectType) or name.startswith("__") or name in BUILT_IN:
            continue
        if name.endswith(("Connection", "Edge")):
            continue
        for field in kind.fields:
            sources = [field in table.get(name, {}) for table in (fields.PLAIN, fields.CALLS)]
            assert sources.count(True) == 1, f"{name}.{field}"


def selection(kind: Any, depth: int) -> str:
    """All fields of a type, down to a depth; the types on the way are not entered twice."""
    if is_leaf_type(kind):
        return ""
    if not hasattr(kind, "fields"):
        return "{__typename}"
    parts = ["__typename"]
    for name, field in kind.fields.items():
        below = get_named_type(field.type)
        if not is_leaf_type(below) and depth == 0:
            continue
        required = "(first:2)" if "after" in field.args else ""
        parts.append(f"{name}{required}{selection(below, depth - 1)}")
    return "{" + " ".join(parts) + "}"


def test_every_field_of_everything_answers(store: Store, monkeypatch: Any):
    monkeypatch.setattr("scripts.store.execution.MAX_COST", 10_000_000)
    shop = store.add(orders=150, currency="EUR", presentment_currency="USD", restore_rate=1e9)
    store.act(shop, {"action": "createOrder"}, {"action": "deleteOrder", "id": "$0"})
    for root in ("orders", "customers", "products", "events"):
        kind = get_named_type(get_named_type(SCHEMA.query_type.fields[root].type).fields["nodes"].type)  # type: ignore[union-attr]
        after, came = None, 0
        query = f"query($after:String){{{root}(first:50,after:$after){{nodes{selection(kind, 3)} pageInfo{{hasNextPage endCursor}}}}}}"
        while True:
            page = store.data(shop, query, after=after)[root]
            came += len(page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        assert came
    assert store.data(shop, f"{{shop{selection(SCHEMA.type_map['Shop'], 2)}}}")["shop"]["currencyCode"] == "EUR"
    assert MAX_COST == 1000


def test_the_projection_answers_as_graphql_core_would(store: Store, shop: Shop):
    # Given a query with aliases, fragments, directives, edges and type names
    query = """query($with:Boolean!){ first:orders(first:3,sortKey:ID){edges{node{...Parts note @include(if:$with) lines:lineItems(first:1){nodes{__typename title}}}}}
      orders(first:1){nodes{__typename name @skip(if:$with) ... on Order{test}}} node(id:"gid://shopify/Order/1"){id} }
      fragment Parts on Order{number customer{id __typename}}"""
    assert print_ast(parse(query))
    data = store.data(shop, query, **{"with": True})
    assert list(data) == ["first", "orders", "node"]
    assert data["node"] is None
    assert set(data["orders"]["nodes"][0]) == {"__typename", "test"}
    assert [set(edge["node"]) for edge in data["first"]["edges"]] == [{"number", "customer", "note", "lines"}] * 3
    without = store.data(shop, query, **{"with": False})
    assert set(without["orders"]["nodes"][0]) == {"__typename", "name", "test"}
    assert "note" not in without["first"]["edges"][0]["node"]


def test_introspection_gives_the_schema(store: Store, shop: Shop):
    answer = store.ask(shop, get_introspection_query())
    assert answer["data"] == graphql_sync(SCHEMA, get_introspection_query()).data


def test_nodes_keep_their_places_and_what_is_gone_is_null(store: Store, shop: Shop):
    one, two = sorted(shop.orders.rows)[:2]
    store.act(shop, {"action": "deleteOrder", "id": str(one)})
    gids = [f"gid://shopify/Order/{number}" for number in (one, two, 1)]
    assert store.data(shop, "query($ids:[ID!]!){nodes(ids:$ids){id}}", ids=gids)["nodes"] == [
        None,
        {"id": gids[1]},
        None,
    ]
    answer = store.ask(shop, "query($id:ID!){order(id:$id){id lineItems(first:250){nodes{id}}}}", id=gids[0])
    assert answer["data"] == {"order": None}
    assert answer["extensions"]["cost"]["actualQueryCost"] == 1
    query = "query($q:String){events(first:5,query:$q){nodes{... on BasicEvent{subjectId subjectType action}}}}"
    events = store.data(shop, query, q="action:destroy subject_type:ORDER")["events"]["nodes"]
    assert events == [{"subjectId": gids[0], "subjectType": "ORDER", "action": "destroy"}]


def test_a_deleted_order_leaves_lists_and_counts_at_once(store: Store, shop: Shop):
    store.control("PATCH", f"/shops/{shop.domain}", {"scopes": ["write_orders", "read_all_orders", "write_customers"]})
    gid = f"gid://shopify/Order/{min(shop.orders.rows)}"
    delete = "mutation($id:ID!){orderDelete(orderId:$id){deletedId userErrors{field message code}}}"
    assert store.data(shop, delete, id=gid)["orderDelete"] == {"deletedId": gid, "userErrors": []}
    assert store.data(shop, "{ordersCount{count}}")["ordersCount"]["count"] == 119
    again = store.data(shop, delete, id=gid)["orderDelete"]["userErrors"]
    assert again == [{"field": ["orderId"], "message": "Order does not exist", "code": "NOT_FOUND"}]
    owner = next(row.customer_id for row in shop.orders.rows.values() if row.customer_id)
    delete = "mutation($id:ID!){customerDelete(input:{id:$id}){deletedCustomerId userErrors{message}}}"
    refused = store.data(shop, delete, id=f"gid://shopify/Customer/{owner}")["customerDelete"]
    assert refused["userErrors"][0]["message"] == "Customer can\u2019t be deleted because they have associated orders"


def test_a_customer_counts_what_they_bought(store: Store, shop: Shop):
    answer = store.act(
        shop,
        {"action": "createCustomer", "firstName": "Ada"},
        *({"action": "createOrder", "customerId": "$0", "lines": [{"price": "10.50"}]} for _ in range(2)),
    )
    query = "query($id:ID!){customer(id:$id){firstName numberOfOrders amountSpent{amount currencyCode} orders(first:5){nodes{id}}}}"
    found = store.data(shop, query, id=f"gid://shopify/Customer/{answer['done'][0]['id']}")["customer"]
    assert (found["firstName"], found["numberOfOrders"]) == ("Ada", "2")
    assert found["amountSpent"] == {"amount": "21.0", "currencyCode": "USD"}
    assert len(found["orders"]["nodes"]) == 2
