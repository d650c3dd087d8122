"""What Shopify answers to mistakes, missing rights and trouble of its own."""

import pytest
import requests

from scripts.store.shop import Shop

from .conftest import Store

REFUSED = [
    ("{orders(first:1){nodes{nothing}}}", "undefinedField"),
    ("{orders(first:1){nodes{id}}", "PARSE_ERROR"),
    ("{order{id}}", "missingRequiredArguments"),
    ('{orders(first:"x"){nodes{id}}}', "argumentLiteralsIncompatible"),
    ('{order(id:""){id}}', "argumentLiteralsIncompatible"),
    ("query($n:Int!){orders(first:$n){nodes{id}}}", "INVALID_VARIABLE"),
]


@pytest.mark.parametrize(("query", "code"), REFUSED)
def test_a_refused_query_has_its_code_and_neither_data_nor_cost(store: Store, shop: Shop, query: str, code: str):
    answer = store.post(shop, query)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"errors"}
    assert body["errors"][0]["extensions"]["code"] == code


def test_a_malformed_id_is_named(store: Store, shop: Shop):
    assert store.ask(shop, '{order(id:""){id}}')["errors"][0]["message"] == "Invalid global id ''"


def test_an_undefined_field_says_where_it_stands(store: Store, shop: Shop):
    error = store.ask(shop, "{orders(first:1){nodes{nothing}}}")["errors"][0]
    assert error["message"] == "Field 'nothing' doesn't exist on type 'Order'"
    assert error["path"] == ["query", "orders", "nodes", "nothing"]


def test_a_missing_scope_denies_its_field_and_leaves_the_rest(store: Store, shop: Shop):
    store.control("PATCH", f"/shops/{shop.domain}", {"scopes": ["read_orders", "read_all_orders"]})
    answer = store.ask(shop, "{products(first:1){nodes{id}} orders(first:3){nodes{id customer{id}}}}")
    assert answer["data"]["products"] is None
    assert [order["customer"] for order in answer["data"]["orders"]["nodes"]] == [None] * 3
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"ACCESS_DENIED"}
    assert answer["extensions"]["cost"]


def test_an_unknown_token_is_401_in_shopifys_words(store: Store, shop: Shop):
    for token in ("", "shpat_wrong"):
        answer = store.post(shop, "{shop{id}}", token=token)
        assert answer.status_code == 401
        assert answer.json() == {
            "errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"
        }


def test_a_revoked_token_is_dead_and_a_new_one_lives(store: Store, shop: Shop):
    store.control("DELETE", f"/shops/{shop.domain}/tokens")
    assert store.post(shop, "{shop{id}}").status_code == 401
    token = store.control("POST", f"/shops/{shop.domain}/tokens")["accessToken"]
    assert store.post(shop, "{shop{id}}", token=token).status_code == 200


def test_client_credentials_give_a_token_for_a_day(store: Store, shop: Shop):
    url = f"{store.url}/{shop.domain}/admin/oauth/access_token"
    given = {
        "grant_type": "client_credentials",
        "client_id": shop.settings.client_id,
        "client_secret": shop.settings.client_secret,
    }
    for answer in (requests.post(url, json=given, timeout=5), requests.post(url, data=given, timeout=5)):
        assert answer.status_code == 200
        assert answer.json()["expires_in"] == 86399
        assert store.post(shop, "{shop{id}}", token=answer.json()["access_token"]).status_code == 200
    assert requests.post(url, json={**given, "client_secret": "wrong"}, timeout=5).status_code == 400


def test_the_scopes_of_a_token_are_listed(store: Store, shop: Shop):
    url = f"{store.url}/{shop.domain}/admin/oauth/access_scopes.json"
    answer = requests.get(url, headers={"X-Shopify-Access-Token": shop.settings.access_token}, timeout=5)
    assert {"handle": "read_all_orders"} in answer.json()["access_scopes"]


def test_faults_come_as_often_as_told_and_then_stop(store: Store, shop: Shop):
    def statuses(count: int) -> list[int]:
        return [store.post(shop, "{shop{id}}").status_code for _ in range(count)]

    store.control("PATCH", f"/shops/{shop.domain}", {"faults": {"server_error": {"next": 2, "status": 502}}})
    assert statuses(3) == [502, 502, 200]
    store.control("PATCH", f"/shops/{shop.domain}", {"faults": {"rate_limited": {"every": 2}}})
    limited = [store.post(shop, "{shop{id}}") for _ in range(4)]
    assert [answer.status_code for answer in limited] == [200, 429, 200, 429]
    assert limited[1].headers["Retry-After"] == "2.0"
    assert limited[1].json()["errors"].startswith("Exceeded 2 calls per second")
    store.control("PATCH", f"/shops/{shop.domain}", {"faults": None})
    assert statuses(3) == [200, 200, 200]


def test_an_internal_error_has_null_data_and_a_request_id(store: Store, shop: Shop):
    store.control("PATCH", f"/shops/{shop.domain}", {"faults": {"internal": {"next": 1}}})
    body = store.post(shop, "{shop{id}}").json()
    assert body["data"] is None
    assert body["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert body["errors"][0]["extensions"]["requestId"]


@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_a_broken_connection_breaks_off(store: Store, shop: Shop, kind: str):
    store.control("PATCH", f"/shops/{shop.domain}", {"faults": {kind: {"next": 1}}})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        store.post(shop, "{shop{id}}")
    assert store.post(shop, "{shop{id}}").status_code == 200


@pytest.mark.parametrize(("state", "status"), [("frozen", 402), ("locked", 423), ("gone", 404)])
def test_a_shop_that_is_shut_says_so_to_everyone(store: Store, shop: Shop, state: str, status: int):
    store.control("PATCH", f"/shops/{shop.domain}", {"faults": {"state": state}})
    assert store.post(shop, "{shop{id}}").status_code == status
    store.control("PATCH", f"/shops/{shop.domain}", {"faults": {"state": None}})
    assert store.post(shop, "{shop{id}}").status_code == 200


def test_an_expired_version_falls_forward_and_the_header_says_which(store: Store, shop: Shop):
    for asked, served in (("2026-10", "2026-10"), ("2024-01", "2026-01")):
        url = f"{store.url}/{shop.domain}/admin/api/{asked}/graphql.json"
        headers = {"X-Shopify-Access-Token": shop.settings.access_token}
        answer = requests.post(url, json={"query": "{shop{id}}"}, headers=headers, timeout=5)
        assert answer.headers["X-Shopify-API-Version"] == served


def test_a_slow_answer_is_the_right_one_late(store: Store, shop: Shop):
    store.control("PATCH", f"/shops/{shop.domain}", {"faults": {"slow": {"next": 1, "seconds": 0.3}}})
    answer = store.post(shop, "{shop{id}}")
    assert answer.elapsed.total_seconds() >= 0.3
    assert answer.json()["data"]["shop"]["id"] == f"gid://shopify/Shop/{shop.id}"
