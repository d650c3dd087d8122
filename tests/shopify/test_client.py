"""The client against a real server: every answer is whole, or the error that says what to do about it."""

import copy
import gzip
import logging
import socket
import threading
import traceback
from datetime import UTC, datetime

import pytest
from ratelimit import limits

from shopify import transport, version
from shopify.client import Client
from shopify.errors import (
    AccessDenied,
    CountNotExact,
    QueryRefused,
    RateLimited429,
    RunawayStop,
    ShopifyError,
    ShopUnavailable,
    Throttled,
    Unauthorized,
    UnknownTimeZone,
)
from shopify.resources import RESOURCES
from shopify.shop import ShopInfo
from shopify.version import Kind, Notice
from tests.shopify.conftest import SHOP, TOKEN
from tests.shopify.sample import sample

ORDERS, PRODUCTS = RESOURCES["orders"], RESOURCES["products"]
STATUS = {"maximumAvailable": 2000, "currentlyAvailable": 1989, "restoreRate": 100}
COST = {"cost": {"requestedQueryCost": 13, "actualQueryCost": 11, "throttleStatus": STATUS}}
THROTTLED = {
    "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": "…"}}],
    "extensions": {
        "cost": {
            "requestedQueryCost": 862,
            "actualQueryCost": None,
            "throttleStatus": {"maximumAvailable": 4000.0, "currentlyAvailable": 572, "restoreRate": 200.0},
        }
    },
}


def error(code, message="…", **more):
    return {"errors": [{"message": message, "extensions": {"code": code}, **more}]}


def connection(*nodes, cursor=None):
    return {"nodes": list(nodes), "pageInfo": {"hasNextPage": cursor is not None, "endCursor": cursor}}


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_a_query_is_sent_with_its_version_and_token(shop):
    shop.answers_with({"data": {"shop": {"id": "1"}}, "extensions": COST})
    answer = shop.client().execute("query { shop { id } }", {"a": 1})
    assert answer.data == {"shop": {"id": "1"}}
    assert (answer.cost.requested, answer.cost.actual, answer.cost.available) == (13, 11, 1989)
    request = shop.requests[0]
    assert request.path == f"/{SHOP}/admin/api/2026-10/graphql.json"
    assert request.headers["X-Shopify-Access-Token"] == TOKEN
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == {"query": "query { shop { id } }", "variables": {"a": 1}}


def test_without_an_origin_the_shop_itself_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(
        transport, "post", lambda url, **_: asked.append(url) or transport.Reply(200, {}, b'{"data":{}}')
    )
    Client(SHOP, TOKEN).execute("query { shop { id } }")
    assert asked == ["https://x.myshopify.com/admin/api/2026-10/graphql.json"]


@pytest.mark.parametrize(
    "domain", ["example.com", "x.myshopify.com/..", "x.myshopify.com@e.com", "X.myshopify.com", ""]
)
def test_nothing_but_a_shop_is_asked(domain):
    with pytest.raises(ValueError, match="shop's domain"):
        Client(domain, TOKEN)


@pytest.mark.parametrize("token", ["", "shpat a", "shpat_\nX-Evil: 1", "shpät"])
def test_a_token_that_cannot_stand_in_a_header_is_refused_and_not_shown(token):
    with pytest.raises(ValueError, match="access token") as refusal:
        Client(SHOP, token)
    assert not token or token not in str(refusal.value)


def test_a_netrc_of_the_machine_adds_no_credentials(shop, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    shop.answers_with({"data": {}}).client().execute("query")
    assert "Authorization" not in shop.requests[0].headers


# --- pages and single resources --------------------------------------------------------------------------------------


def test_a_page_is_asked_for_by_cursor_sort_and_search(shop):
    node = sample("order_node")
    shop.answers_with({"data": {"orders": connection(node, cursor="c2")}, "extensions": COST})
    before = datetime.now(UTC)
    page = shop.client().page(ORDERS, "c1", first=50, sort="UPDATED_AT", search="updated_at:>='2026-01-01T00:00:00Z'")
    assert (page.nodes, page.end_cursor, page.has_next, page.cost.actual) == ([node], "c2", True, 11)
    assert before <= page.read_at <= datetime.now(UTC)
    assert shop.requests[0].body == {
        "query": ORDERS.page_query,
        "variables": {
            "first": 50,
            "after": "c1",
            "sortKey": "UPDATED_AT",
            "search": "updated_at:>='2026-01-01T00:00:00Z'",
        },
    }


def test_the_time_of_a_read_is_taken_before_it_is_sent(shop):
    answered = []

    def answer(handler):
        answered.append(datetime.now(UTC))
        handler.send({"data": {"orders": connection()}}, 200, {})

    assert shop.answers_with(answer).client().page(ORDERS).read_at < answered[0]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"orders": None},
        {"orders": {"nodes": []}},
        {"orders": {"nodes": None, "pageInfo": {"hasNextPage": False}}},
        {"orders": {"nodes": [], "pageInfo": {"hasNextPage": None}}},
        {"orders": {"nodes": [], "pageInfo": {"hasNextPage": True, "endCursor": None}}},
        {"orders": {"nodes": [], "pageInfo": {"hasNextPage": True, "endCursor": "c1"}}},
    ],
    ids=["nothing", "null", "no pageInfo", "no nodes", "no end told", "no cursor", "the same cursor again"],
)
def test_a_page_that_may_be_short_is_an_error(shop, data):
    shop.answers_with({"data": data})
    with pytest.raises(ShopUnavailable):
        shop.client().page(ORDERS, "c1")


def test_a_node_is_asked_for_by_its_global_id(shop):
    node = sample("order_node", lineItems=connection(), shippingLines=connection())
    shop.answers_with({"data": {"order": node}, "extensions": COST})
    found = shop.client().node(ORDERS, 1001)
    assert shop.requests[0].body["variables"] == {"id": "gid://shopify/Order/1001"}
    assert ORDERS.shape.from_node(found.node).is_whole
    assert found.cost.requested == 13


def test_a_node_that_is_gone_is_none(shop):
    found = shop.answers_with({"data": {"order": None}, "extensions": COST}).client().node(ORDERS, 1001)
    assert (found.node, found.cost.requested) == (None, 13)


def variants(*numbers, cursor=None):
    nodes = [{"id": f"gid://shopify/ProductVariant/{number}", "price": "1.0"} for number in numbers]
    return connection(*nodes, cursor=cursor)


def product(connection, updated_at="2026-01-02T15:00:00Z"):
    node = sample("product_node", variants=connection, updatedAt=updated_at)
    return {"data": {"product": node}, "extensions": COST}


def test_a_list_longer_than_a_page_is_read_to_its_end(shop):
    shop.answers_with(product(variants(1, 2, cursor="a")), product(variants(3, cursor="b")), product(variants(4)))
    found = shop.client().node(PRODUCTS, 5)
    row = PRODUCTS.shape.from_node(found.node)
    assert [child["shopify_id"] for child in row.children["variants"]] == [1, 2, 3, 4]
    assert row.is_whole
    assert [request.body["variables"].get("after") for request in shop.requests] == [None, "a", "b"]
    # Then the cost is that of all three queries
    assert (found.cost.requested, found.cost.actual) == (39, 33)


def test_a_product_that_changes_between_two_pages_of_its_list_is_read_again(shop):
    later = "2026-01-02T15:00:01Z"
    shop.answers_with(
        product(variants(1, cursor="a")),
        product(variants(2), later),
        product(variants(1, 2, cursor="a"), later),
        product(variants(3), later),
    )
    row = PRODUCTS.shape.from_node(shop.client().node(PRODUCTS, 5).node)
    assert [child["shopify_id"] for child in row.children["variants"]] == [1, 2, 3]


def test_a_product_that_is_deleted_between_two_pages_of_its_list_is_gone(shop):
    gone = {"data": {"product": None}, "extensions": COST}
    shop.answers_with(product(variants(1, cursor="a")), gone, gone)
    assert shop.client().node(PRODUCTS, 5).node is None


def test_a_product_that_never_holds_still_is_unavailable(shop):
    changes = [product(variants(1, cursor="a"), f"2026-01-02T15:00:{second:02}Z") for second in range(10)]
    with pytest.raises(ShopUnavailable, match="changes faster"):
        shop.answers_with(*changes).client().node(PRODUCTS, 5)


def test_a_count_is_exact(shop):
    shop.answers_with({"data": {"ordersCount": {"count": 12034, "precision": "EXACT"}}})
    assert shop.client().count(ORDERS, "created_at:<='2026-01-01T00:00:00Z'") == 12034
    assert "limit: null" in shop.requests[0].body["query"]


def test_a_count_that_is_a_lower_bound_is_an_error(shop):
    shop.answers_with({"data": {"ordersCount": {"count": 10000, "precision": "AT_LEAST"}}})
    with pytest.raises(CountNotExact):
        shop.client().count(ORDERS)


@pytest.mark.parametrize(
    "count", [None, {}, {"count": None, "precision": "EXACT"}, {"count": -1, "precision": "EXACT"}]
)
def test_a_count_that_is_none_is_an_error(shop, count):
    with pytest.raises(ShopUnavailable):
        shop.answers_with({"data": {"ordersCount": count}}).client().count(ORDERS)


def test_the_shop_tells_its_currency_zone_plan_and_scopes(shop):
    answer = sample("shop_answer")
    answer["shop"]["updatedAt"] = "2026-01-02T15:00:00Z"
    assert shop.answers_with({"data": answer}).client().shop() == ShopInfo(
        shopify_id=954889,
        name="X",
        domain="x.myshopify.com",
        currency="CAD",
        timezone="America/Toronto",
        plan="Basic",
        scopes=frozenset({"read_orders"}),
        updated_at=datetime(2026, 1, 2, 15, tzinfo=UTC),
    )


def test_a_time_zone_that_nobody_knows_is_named(shop):
    answer = sample("shop_answer")
    answer["shop"]["ianaTimezone"] = "Mars/Olympus"
    with pytest.raises(UnknownTimeZone, match="Mars/Olympus"):
        shop.answers_with({"data": answer}).client().shop()


@pytest.mark.parametrize("zone", ["../etc/passwd", "America", "", "/etc/localtime", "a\x00b"])
def test_a_time_zone_that_is_a_path_is_unknown(shop, zone):
    answer = sample("shop_answer")
    answer["shop"]["ianaTimezone"] = zone
    with pytest.raises(ShopifyError):
        shop.answers_with({"data": answer}).client().shop()


# --- errors in answers -----------------------------------------------------------------------------------------------


def test_a_throttled_query_says_how_long_to_wait(shop):
    with pytest.raises(Throttled) as throttled:
        shop.answers_with(THROTTLED).client().execute("query")
    assert throttled.value.wait_seconds == pytest.approx((862 - 572) / 200)
    assert throttled.value.cost.actual is None


def test_a_throttled_query_without_a_cost_waits_all_the_same(shop):
    with pytest.raises(Throttled) as throttled:
        shop.answers_with(error("THROTTLED")).client().execute("query")
    assert throttled.value.wait_seconds > 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2.0", 2.0), ("0.5", 0.5), ("4", 4.0), ("soon", 2.0), ("-1", 2.0), ("nan", 2.0), ("inf", 2.0), ("1e9", 300.0)],
)
def test_a_429_says_how_long_to_wait(shop, value, seconds):
    shop.answers_with({"errors": "Exceeded 2 calls per second for api client."}, status=429, Retry_After=value)
    with pytest.raises(RateLimited429) as limited:
        shop.client().execute("query")
    assert (limited.value.wait_seconds, limited.value.retry_after) == (seconds, seconds)


def test_a_429_without_a_word_waits_all_the_same(shop):
    with pytest.raises(RateLimited429) as limited:
        shop.answers_with(b"", status=429).client().execute("query")
    assert limited.value.retry_after == 2.0


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (301, ShopUnavailable),
        (307, ShopUnavailable),
        (400, QueryRefused),
        (401, Unauthorized),
        (402, ShopUnavailable),
        (403, AccessDenied),
        (404, ShopUnavailable),
        (418, ShopUnavailable),
        (423, ShopUnavailable),
        (500, ShopUnavailable),
        (502, ShopUnavailable),
        (503, ShopUnavailable),
        (504, ShopUnavailable),
        (201, ShopUnavailable),
    ],
)
@pytest.mark.parametrize("words", [{"errors": "Shopify's words"}, b"<html>Shopify's words</html>", b""])
def test_every_status_but_200_is_an_error(shop, status, error_type, words):
    with pytest.raises(error_type) as failure:
        shop.answers_with(words, status=status).client().execute("query")
    assert type(failure.value) is error_type
    assert str(status) in str(failure.value)
    assert "<html>" not in str(failure.value)


def test_a_redirect_is_not_followed(shop):
    shop.answers_with({}, status=307, Location=f"{shop.origin}/elsewhere")
    with pytest.raises(ShopUnavailable, match="redirects"):
        shop.client().execute("query")
    assert len(shop.requests) == 1


def test_a_403_names_the_scope_that_is_missing(shop):
    words = {"errors": "[API] This action requires merchant approval for read_orders scope."}
    with pytest.raises(AccessDenied) as denied:
        shop.answers_with(words, status=403).client().execute("query")
    assert denied.value.scopes == ("read_orders",)


def test_partial_data_is_no_success(shop):
    denied = error(
        "ACCESS_DENIED",
        "Access denied for customer field. Required access: `read_customers` access scope.",
        path=["orders", "nodes", 0, "customer"],
    )
    denied["data"] = {"orders": connection(sample("order_node", customer=None))}
    with pytest.raises(AccessDenied, match="Access denied for customer") as failure:
        shop.answers_with(denied).client().page(ORDERS)
    assert failure.value.fields == ("orders.nodes.customer",)
    assert failure.value.scopes == ("read_customers",)


@pytest.mark.parametrize(
    ("answer", "error_type"),
    [
        (error("undefinedField", "Field 'x' doesn't exist on type 'Order'"), QueryRefused),
        (error("PARSE_ERROR"), QueryRefused),
        (error("INVALID_VARIABLE"), QueryRefused),
        (error("missingRequiredArguments"), QueryRefused),
        (error("argumentLiteralsIncompatible", "Invalid global id ''"), QueryRefused),
        (error("MAX_COST_EXCEEDED", "Query cost is 1293, which exceeds the single query max cost limit"), QueryRefused),
        (error("INTERNAL_SERVER_ERROR", "Internal error.") | {"data": None}, ShopUnavailable),
        (error("SHOP_INACTIVE"), ShopUnavailable),
        ({"errors": "Not Found"}, QueryRefused),
        ({"errors": [None]}, QueryRefused),
        ({"errors": [{"message": None, "extensions": None, "path": 5}]}, QueryRefused),
        ({"data": None}, ShopUnavailable),
        ({}, ShopUnavailable),
        (b"[]", ShopUnavailable),
        (b"null", ShopUnavailable),
        (b"", ShopUnavailable),
        (b"<html>Bad gateway</html>", ShopUnavailable),
        (b'{"data":{"orders":{"nod', ShopUnavailable),
        (b'{"data":"\xff"}', ShopUnavailable),
        (b'{"data":' * 100_000, ShopUnavailable),
    ],
)
def test_every_failure_in_an_answer_is_an_error(shop, answer, error_type):
    with pytest.raises(error_type) as failure:
        shop.answers_with(answer).client().execute("query")
    assert type(failure.value) is error_type


def test_an_internal_error_names_the_request_for_shopifys_support(shop):
    answer = {
        "errors": [{"message": "Internal error.", "extensions": {"code": "INTERNAL_SERVER_ERROR", "requestId": "r1"}}]
    }
    with pytest.raises(ShopUnavailable, match="r1"):
        shop.answers_with(answer).client().execute("query")


def test_a_filter_that_was_not_applied_is_an_error(shop):
    warnings = [{"field": "foo", "message": "Invalid search field for this query.", "code": "invalid_field"}]
    search = {"search": [{"path": ["orders"], "query": "foo:1", "warnings": warnings}]}
    shop.answers_with({"data": {"orders": connection()}, "extensions": COST | search})
    with pytest.raises(QueryRefused, match="Invalid search field"):
        shop.client().page(ORDERS, search="foo:1")


def test_a_search_without_a_warning_is_none(shop):
    search = {"search": [{"path": ["orders"], "query": "id:1", "parsed": {}, "warnings": []}]}
    shop.answers_with({"data": {"orders": connection()}, "extensions": COST | search})
    assert shop.client().page(ORDERS, search="id:1").nodes == []


@pytest.mark.parametrize("cost", [None, {}, {"requestedQueryCost": 1}, {**COST["cost"], "throttleStatus": {}}, "x"])
def test_a_cost_that_makes_no_sense_is_none(shop, cost):
    shop.answers_with({"data": {}, "extensions": {"cost": cost}})
    assert shop.client().execute("query").cost is None


# --- the wire --------------------------------------------------------------------------------------------------------


def test_an_answer_is_unpacked(shop):
    packed = gzip.compress(b'{"data":{"a":1.10}}')
    answer = shop.answers_with(packed, Content_Encoding="gzip").client().execute("query")
    assert str(answer.data["a"]) == "1.10"


def test_an_answer_that_is_cut_off_is_unavailable(shop):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"data":{}}')
        handler.close_connection = True

    with pytest.raises(ShopUnavailable):
        shop.answers_with(cut).client().execute("query")


def test_a_chunked_answer_that_is_cut_off_is_unavailable(shop):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b'b\r\n{"data":{}}\r\n')
        handler.close_connection = True

    with pytest.raises(ShopUnavailable):
        shop.answers_with(cut).client().execute("query")


def test_a_chunked_answer_is_read_whole(shop):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b'8\r\n{"data":\r\n3\r\n{}}\r\n0\r\n\r\n')

    assert shop.answers_with(chunked).client().execute("query").data == {}


def test_a_connection_that_is_dropped_is_unavailable(shop):
    def drop(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    with pytest.raises(ShopUnavailable, match="no connection"):
        shop.answers_with(drop).client().execute("query")


def test_nobody_there_is_unavailable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ShopUnavailable, match="no connection"):
        Client(SHOP, TOKEN, origin=f"http://127.0.0.1:{port}").execute("query")


def test_an_answer_that_does_not_come_is_unavailable(shop):
    done = threading.Event()
    client = Client(SHOP, TOKEN, origin=shop.answers_with(lambda _: done.wait(5)).origin, timeout=(1.0, 0.1))
    with pytest.raises(ShopUnavailable, match="in time"):
        client.execute("query")
    done.set()


def test_an_answer_that_trickles_has_a_deadline(shop):
    done = threading.Event()

    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not done.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()
        handler.close_connection = True

    shop.answers_with(trickle)
    try:
        with pytest.raises(ShopUnavailable, match="too slow"):
            transport.post(shop.origin, address=shop.origin, payload={}, headers={}, timeout=(1.0, 1.0), deadline=0.2)
    finally:
        done.set()


def test_an_answer_that_is_too_large_is_unavailable(shop, monkeypatch):
    monkeypatch.setattr(transport, "MAX_ANSWER", 1_000_000)
    bomb = gzip.compress(b" " * 10_000_000)
    with pytest.raises(ShopUnavailable, match="too large"):
        shop.answers_with(bomb, Content_Encoding="gzip").client().execute("query")


def test_a_client_goes_on_after_a_broken_answer(shop):
    def drop(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    client = shop.answers_with(drop, lambda handler: handler.send({"data": {"a": 1}}, 200, {})).client()
    with pytest.raises(ShopUnavailable):
        client.execute("query")
    assert client.execute("query").data == {"a": 1}


def test_a_thread_keeps_few_connections(shop):
    shop.answers_with({"data": {}})
    for number in range(3 * transport.SESSIONS_PER_THREAD):
        Client(f"x{number}.myshopify.com", TOKEN, origin=shop.origin).execute("query")
    assert len(transport._sessions.by_shop) <= transport.SESSIONS_PER_THREAD


# --- the token -------------------------------------------------------------------------------------------------------


def everything_said(error: BaseException) -> str:
    """The error's text, its traceback, and all that it refers to."""
    linked = [error, error.__cause__, error.__context__]
    return "".join(traceback.format_exception(error)) + "".join(f"{link!r} {vars(link)}" for link in linked if link)


@pytest.mark.parametrize("status", [200, 302, 401, 403, 429, 500])
def test_no_error_shows_the_token(shop, status, caplog):
    caplog.set_level(logging.DEBUG)
    client = shop.answers_with(b"<html>", status=status).client()
    with pytest.raises(ShopifyError) as failure:
        client.execute("query")
    assert TOKEN not in everything_said(failure.value)
    assert TOKEN not in repr(client)
    assert TOKEN not in caplog.text


def test_an_error_of_the_connection_refers_to_no_request(caplog):
    caplog.set_level(logging.DEBUG)
    client = Client(SHOP, TOKEN, origin="http://127.0.0.1:1")
    with pytest.raises(ShopUnavailable) as failure:
        client.execute("query")
    assert failure.value.__context__ is None
    assert TOKEN not in everything_said(failure.value) + caplog.text


# --- versions and the runaway stop -----------------------------------------------------------------------------------


def test_answers_of_another_version_and_deprecations_are_counted(shop):
    version.take()
    shop.answers_with({"data": {}}, X_Shopify_API_Version="2027-01", X_Shopify_API_Deprecated_Reason="https://x")
    for _ in range(3):
        shop.client().execute("query")
    counted = {Notice(Kind.OTHER_VERSION, "2027-01"): 3, Notice(Kind.DEPRECATED, "https://x"): 3}
    assert version.take() == counted
    assert version.take() == {}
    # And what could not be noted is counted on
    version.put_back(counted)
    shop.client().execute("query")
    assert version.take() == dict.fromkeys(counted, 4)


def test_an_answer_of_our_version_is_not_counted(shop):
    version.take()
    shop.answers_with({"data": {}}, X_Shopify_API_Version=version.API_VERSION).client().execute("query")
    assert version.take() == {}


def test_what_answers_say_of_the_version_is_kept_printable_and_within_bounds():
    version.take()
    version.check({"X-Shopify-API-Deprecated-Reason": "a\x00\n\u00e9" + "x" * 1000})
    (notice,) = version.take()
    assert notice.detail.startswith("a\\x00\\n\\xe9xxx")
    assert len(notice.detail) < 300
    for number in range(version.MOST_DETAILS + 7):
        version.check({"X-Shopify-API-Deprecated-Reason": str(number)})
    counted = version.take()
    assert len(counted) == version.MOST_DETAILS + 1
    assert counted[Notice(Kind.DEPRECATED, version.OTHERS)] == 7


def test_a_loop_gone_wild_is_stopped_before_it_asks(shop, monkeypatch):
    # Given a ceiling of three requests
    monkeypatch.setattr(transport, "_admit", limits(calls=3, period=60)(lambda: None))
    client = shop.answers_with({"data": {}}).client()
    for _ in range(3):
        client.execute("query")
    # When a fourth follows, then it raises at once and is not sent
    with pytest.raises(RunawayStop) as stop:
        client.execute("query")
    assert len(shop.requests) == 3
    assert 0 < stop.value.wait_seconds <= 60


def test_a_page_is_not_changed_by_reading_it(shop):
    node = sample("order_node", lineItems=connection())
    before = copy.deepcopy(node)
    ORDERS.shape.from_node(node)
    assert node == before


def test_a_field_that_a_shop_does_not_know_is_left_out_if_the_rest_is_worth_having(shop):
    unknown = {"errors": [{"message": "Field 'originalTotalDutiesSet' doesn't exist on type 'Order'"}]}
    page = {"data": {"orders": {"pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": []}}}
    assert shop.answers_with(unknown, page).client().page(ORDERS).nodes == []
    asked = [request.body["query"] for request in shop.requests]
    assert ["originalTotalDutiesSet" in query for query in asked] == [True, False]
    assert asked[1].count("{") == asked[1].count("}")


def test_a_field_without_which_nothing_is_worth_having_is_not_left_out(shop):
    unknown = {"errors": [{"message": "Field 'currentTotalPriceSet' doesn't exist on type 'Order'"}]}
    with pytest.raises(QueryRefused):
        shop.answers_with(unknown).client().page(ORDERS)
    assert len(shop.requests) == 1
