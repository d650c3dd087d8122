"""A bulk operation's file: from bytes to whole resources, from any of its resources on."""

import collections
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopify import bulk, bulk_file
from shopify.errors import BulkOperationInProgress, FileInvalid, LinkExpired, QueryRefused, ShopUnavailable
from shopify.resources import RESOURCES

ORDERS = RESOURCES["orders"]


def an_order(number, *lines):
    """Its lines of the file."""
    gid = f"gid://shopify/Order/{number}"
    children = [{"id": f"gid://shopify/LineItem/{line}", "title": "Ä\u2028", "__parentId": gid} for line in lines]
    return [{"id": gid, "name": f"#{number}"}, *children]


def file_of(*orders):
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for order in orders for line in order)


def read(content, *, start=0, size=None, most=bulk_file.SLICE, chunk=7):
    chunks = (content[at : at + chunk] for at in range(start, len(content), chunk))
    return list(bulk_file.slices(ORDERS, chunks, start=start, size=len(content) if size is None else size, most=most))


def shape(slices):
    return [
        (json.loads(told.own)["id"], [json.loads(line)["id"] for name, line in told.children if name == "lineItems"])
        for each in slices
        for told in each.resources
    ]


FILE = file_of(an_order(1, 11, 12), an_order(2), an_order(3, 31))
SHAPE = [
    ("gid://shopify/Order/1", ["gid://shopify/LineItem/11", "gid://shopify/LineItem/12"]),
    ("gid://shopify/Order/2", []),
    ("gid://shopify/Order/3", ["gid://shopify/LineItem/31"]),
]


def test_a_resource_comes_with_its_lists_complete(tmp_path):
    (found,) = read(FILE)
    assert shape([found]) == SHAPE
    (rows, refused) = ORDERS.rows_of_file(found.resources)
    assert [[line["shopify_id"] for line in row.children["line_items"]] for row in rows] == [[11, 12], [], [31]]
    assert refused == []
    assert (found.objects, found.end) == (6, len(FILE))


def test_of_small_resources_a_slice_holds_no_more_than_of_large_ones():
    content = file_of(*(an_order(number) for number in range(1, 4_501)))
    assert [len(each.resources) for each in read(content, chunk=4096)] == [1_000, 1_000, 1_000, 1_000, 500]


def test_the_first_slices_are_small_so_that_whoever_is_killed_soon_has_got_on():
    padding = {"note": "x" * 100_000}
    content = file_of(*([{**an_order(number)[0], **padding}] for number in range(60)))
    assert [len(each.resources) for each in read(content, chunk=65_536)] == [2, 3, 6, 11, 21, 17]


def test_what_trickles_is_given_as_it_is(monkeypatch):
    monkeypatch.setattr(bulk_file, "SLICE_SECONDS", -1.0)
    assert [len(each.resources) for each in read(FILE)] == [1, 1, 1]


@given(chunk=st.integers(1, 200), most=st.integers(0, 300), number=st.integers(0, 3))
def test_it_can_be_read_on_from_the_end_of_any_slice_however_its_bytes_come(chunk, most, number):
    slices = read(FILE, chunk=chunk, most=most)
    assert shape(slices) == SHAPE
    kept = slices[:number]
    rest = read(FILE, start=kept[-1].end if kept else 0, chunk=chunk, most=most)
    assert shape(kept) + shape(rest) == SHAPE
    assert sum(each.objects for each in (*kept, *rest)) == 6


@given(cut=st.integers(0, len(FILE) - 1))
def test_of_a_file_that_is_cut_off_what_is_whole_is_given_before_the_cut_is_told(cut):
    kept = []
    with pytest.raises(ShopUnavailable, match="cut off"):
        kept.extend(bulk_file.slices(ORDERS, iter([FILE[:cut]]), start=0, size=len(FILE)))
    rest = read(FILE, start=kept[-1].end if kept else 0)
    assert shape(kept) + shape(rest) == SHAPE


def test_a_line_that_trickles_for_ever_is_cut_off(monkeypatch):
    monkeypatch.setattr(bulk_file, "LONGEST", 0.05)
    response = SimpleNamespace(status_code=200, headers={}, raw=SimpleNamespace(read1=lambda *_, **__: b"x"))
    with pytest.raises(ShopUnavailable, match="cut off"):
        collections.deque(bulk_file._chunks(response, 0), maxlen=0)


def test_a_cut_within_a_line_is_no_line():
    cut = FILE.index(b"LineItem/31")
    slices = bulk_file.slices(ORDERS, iter([FILE[:cut]]), start=0, size=len(FILE))
    assert shape([next(slices)]) == SHAPE[:2]
    with pytest.raises(ShopUnavailable, match="cut off"):
        next(slices)


def test_a_file_whose_last_line_has_no_newline_and_that_has_empty_lines_is_whole():
    assert shape(read(FILE.replace(b"\n", b"\n\n").rstrip(b"\n"))) == SHAPE


def test_children_that_do_not_follow_their_parent_are_not_taken_for_a_whole_list():
    parents_first = file_of(an_order(1), an_order(2), an_order(1, 11)[1:])
    with pytest.raises(FileInvalid, match="follow"):
        read(parents_first)


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"id": "\\ud800"'], ids=range(6))
def test_a_line_that_is_no_object_makes_the_file_invalid(line):
    with pytest.raises(FileInvalid):
        read(FILE + line + b"\n")


@pytest.mark.parametrize(
    ("line", "change", "reason"),
    [
        (0, {"name": "a\x00b"}, "name holds a NUL"),
        (0, {"name": "a\ud800b"}, "name holds a lone surrogate"),
        (0, {"updatedAt": "yesterday"}, "updatedAt is not a time"),
        (
            0,
            {"totalPriceSet": {"shopMoney": {"amount": "1e3", "currencyCode": "USD"}}},
            "totalPriceSet is not a decimal",
        ),
        (0, {"id": "gid://shopify/Order/0"}, "id is not an id of Order"),
        (1, {"title": "a\x00b"}, "lineItems.nodes.0.title holds a NUL"),
        (1, {"title": "a\ud800b"}, "lineItems.nodes.0.title holds a lone surrogate"),
        (1, {"quantity": 2**31}, "lineItems.nodes.0.quantity expected `int` <= 2147483647"),
        (1, {"id": "gid://shopify/LineItem/x"}, "lineItems.nodes.0.id is not an id of LineItem"),
    ],
)
def test_what_cannot_be_stored_costs_its_resource_alone_and_says_why(line, change, reason):
    bad = an_order(2, 21)
    bad[line] |= change
    bad[1]["__parentId"] = bad[0]["id"]
    content = b"".join(json.dumps(each).encode() + b"\n" for order in (an_order(1), bad, an_order(3)) for each in order)
    (found,) = read(content)
    rows, (refusal,) = ORDERS.rows_of_file(found.resources)
    assert [row.shopify_id for row in rows] == [1, 3]
    assert reason in refusal.reason
    # And what was refused is all of it
    assert [child["id"] for child in refusal.payload["lineItems"]["nodes"]] == [bad[1]["id"]]


def ids_of(content):
    """The orders that the file's rows are of."""
    return [row.shopify_id for found in read(content) for row in ORDERS.rows_of_file(found.resources)[0]]


@pytest.mark.parametrize("name", [b"name", b"strange"])
def test_a_line_that_is_nested_without_end_makes_the_file_invalid(name):
    nested = b'{"id": "gid://shopify/Order/9", "' + name + b'": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    with pytest.raises(FileInvalid):
        ids_of(nested)


def test_bytes_that_are_no_text_make_the_file_invalid_where_they_would_be_stored():
    line = b'{"id": "gid://shopify/Order/9", "name": "\xff"}\n'
    with pytest.raises(FileInvalid):
        ids_of(line)
    assert ids_of(line.replace(b"name", b"strange")) == [9]


def test_a_child_of_a_kind_that_was_not_asked_for_makes_the_file_invalid():
    stranger = [{"id": "gid://shopify/Order/9"}, {"id": "gid://shopify/Tax/1", "__parentId": "gid://shopify/Order/9"}]
    with pytest.raises(FileInvalid):
        read(file_of(stranger))


def test_a_shipping_line_to_which_shopify_gave_no_id_costs_its_order_nothing():
    parent = {"__parentId": "gid://shopify/Order/1"}
    unnamed, named = {"id": None, "title": "Pickup"}, {"id": "gid://shopify/ShippingLine/5", "title": "Standard"}
    (found,) = read(file_of([*an_order(1, 11), unnamed | parent, named | parent]))
    assert [name for name, _ in found.resources[0].children] == ["lineItems", "shippingLines", "shippingLines"]
    (row,), _ = ORDERS.rows_of_file(found.resources)
    assert [line["title"] for line in row.children["shipping_lines"]] == ["Pickup", "Standard"]
    assert shape([found]) == [("gid://shopify/Order/1", ["gid://shopify/LineItem/11"])]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(bulk_file, "MAX_LINE", 1000)
    with pytest.raises(FileInvalid, match="longer"):
        read(b"x" * 2000)


# --- the link ---------------------------------------------------------------------------------------------------------


def fetch(url, **options):
    with bulk_file.download(url, **options) as chunks:
        return b"".join(chunks)


def test_a_file_is_read_from_any_byte_on_whether_the_server_knows_ranges_or_not(answering):
    for knows_ranges in (True, False):

        def answer(request, knows=knows_ranges):
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if not knows:
                return 200, {}, FILE
            if start >= len(FILE):
                return 416, {}, b""
            return 206, {"Content-Range": f"bytes {start}-{len(FILE) - 1}/{len(FILE)}"}, FILE[start:]

        with answering(answer) as url:
            assert [fetch(url, start=start) for start in (0, 5, len(FILE))] == [FILE, FILE[5:], b""]


def test_no_token_goes_to_the_host_of_the_file(answering):
    seen = []

    def answer(request):
        seen.append(dict(request.headers))
        return 200, {}, b""

    with answering(answer) as url:
        fetch(url)
    assert not {"authorization", "x-shopify-access-token", "cookie"} & {name.lower() for name in seen[0]}


@pytest.mark.parametrize(
    ("status", "error"), [(403, LinkExpired), (404, LinkExpired), (503, ShopUnavailable), (302, ShopUnavailable)]
)
def test_a_link_that_gives_no_file_says_why_without_saying_the_link(answering, status, error):
    with (
        answering(lambda _: (status, {"Location": "http://127.0.0.1:1/"}, b"<Error/>")) as url,
        pytest.raises(error) as raised,
    ):
        fetch(f"{url}?signature=secret")
    assert "secret" not in str(raised.value)


def test_another_part_than_was_asked_for_is_refused(answering):
    with (
        answering(lambda _: (206, {"Content-Range": "bytes 0-3/4"}, b"abcd")) as url,
        pytest.raises(ShopUnavailable, match="another part"),
    ):
        fetch(url, start=2)


def test_fewer_bytes_than_were_announced_are_a_cut(answering):
    with (
        answering(lambda _: (200, {"Content-Length": "1000"}, b"abcd")) as url,
        pytest.raises(ShopUnavailable, match="cut off"),
    ):
        fetch(url)


# --- the operation ----------------------------------------------------------------------------------------------------


def test_a_query_has_no_nodes_and_quotes_its_filter():
    query = bulk.query_of(ORDERS, "created_at:<'2026-01-01T00:00:00Z'", newest_first=True)
    assert query.startswith("{ orders(query: \"created_at:<'2026-01-01T00:00:00Z'\", reverse: true) { edges { node {")
    assert "nodes" not in query
    assert bulk.query_of(ORDERS, None, newest_first=False).startswith("{ orders { edges")


def test_what_shopify_says_of_a_new_operation_is_told_apart():
    def answer(operation, *errors):
        return {"bulkOperationRunQuery": {"bulkOperation": operation, "userErrors": list(errors)}}

    assert bulk.started(answer({"id": "gid://shopify/BulkOperation/1"})) == "gid://shopify/BulkOperation/1"
    with pytest.raises(BulkOperationInProgress):
        bulk.started(answer(None, {"field": None, "message": "one runs", "code": "OPERATION_IN_PROGRESS"}))
    with pytest.raises(QueryRefused, match="too deep"):
        bulk.started(answer(None, {"field": ["query"], "message": "too deep", "code": "INVALID"}))
    for nonsense in ({}, answer(None), answer({"id": None}), {"bulkOperationRunQuery": None}):
        with pytest.raises(ShopUnavailable):
            bulk.started(nonsense)


def test_an_operation_s_numbers_come_as_strings():
    told = {
        "id": "gid://shopify/BulkOperation/1",
        "status": "COMPLETED",
        "errorCode": None,
        "objectCount": "12",
        "fileSize": "340",
    }
    operation = bulk.operation_of({"bulkOperation": told | {"url": "https://files.example/secret"}})
    assert (operation.object_count, operation.file_size) == (12, 340)
    assert "secret" not in repr(operation)
    running = bulk.operation_of({"bulkOperation": told | {"status": "RUNNING", "objectCount": "0", "fileSize": None}})
    assert (running.object_count, running.file_size, running.url) == (0, None, None)
    assert bulk.operation_of({"bulkOperation": None}) is None
    for nonsense in ({"status": "DONE"}, {"objectCount": "-1"}, {"fileSize": "many"}, {"id": None}):
        with pytest.raises(ShopUnavailable):
            bulk.operation_of({"bulkOperation": told | nonsense})
