"""Who may ask what: the administrator everything, a shop only about itself, others nothing."""

import base64

import pytest
from werkzeug.test import Client

from app import auth
from app.failed_sign_ins import MOST_ADDRESSES, MOST_FAILURES, WINDOW, FailedSignIns
from app.proxies import NearbyProxy
from tests.app.conftest import ADMIN, bearer

#: The same in every process, since it is part of the tests' names.
NOBODYS = "8f14e45f-ceea-467f-a8d4-000000000000"

SHOPS_OWN = [
    ("GET", "/api/stats"),
    ("GET", "/api/top-customers"),
    ("GET", "/api/orders-trend"),
    ("GET", "/api/sales"),
    ("GET", "/api/sync-status"),
    ("POST", "/api/sync"),
    ("GET", f"/api/sync/{NOBODYS}"),
    ("DELETE", f"/api/sync/{NOBODYS}"),
]
ADMINISTRATORS = [
    ("GET", "/api/tenants"),
    ("POST", "/api/tenants"),
    ("GET", f"/api/tenants/{NOBODYS}"),
    ("PATCH", f"/api/tenants/{NOBODYS}"),
    ("DELETE", f"/api/tenants/{NOBODYS}"),
    ("POST", f"/api/tenants/{NOBODYS}/token"),
]


@pytest.fixture(autouse=True)
def no_failures_before(monkeypatch):
    monkeypatch.setattr(auth, "_failures", FailedSignIns())


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.mark.parametrize(("method", "path"), SHOPS_OWN + ADMINISTRATORS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("admin", "wrong"),
        basic("wrong", "admin-password"),
        basic("", ""),
        basic("admin", ""),
        bearer("sst_" + "x" * 43),
        bearer("x"),
        bearer("admin-password"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Digest admin"},
    ],
    ids=str,
)
def test_nobody_gets_in_without_valid_credentials(client, method, path, headers):
    answer = client.open(path, method=method, headers=headers)
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.json["status"] == 401
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize(("method", "path"), ADMINISTRATORS)
def test_a_shops_token_does_not_open_what_is_the_administrators(client, shop, method, path):
    answer = client.open(path, method=method, headers=shop.headers)
    assert answer.status_code == 403
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), SHOPS_OWN)
def test_a_shop_that_names_another_is_refused_and_told_nothing(client, new_shop, method, path):
    shop, other = new_shop(), new_shop()
    answer = client.open(path, method=method, query_string={"shop": other.domain}, headers=shop.headers)
    assert answer.status_code == 403
    assert other.domain not in answer.text


def test_a_shop_may_name_itself_in_any_spelling(client, shop):
    for name in (shop.domain, shop.domain.upper(), f"https://{shop.domain}/"):
        assert client.get("/api/stats", query_string={"shop": name}, headers=shop.headers).status_code == 200


def test_another_shops_run_is_as_unknown_as_none(client, admin, new_shop):
    shop, other = new_shop(), new_shop(sync=True)
    for method in ("GET", "DELETE"):
        assert client.open(f"/api/sync/{other.sync_id}", method=method, headers=shop.headers).status_code == 404
        assert admin(method, f"/api/sync/{other.sync_id}?shop={shop.domain}").status_code == 404
    assert client.get(f"/api/sync/{other.sync_id}", headers=other.headers).json["status"] == "running"


@pytest.mark.parametrize(("method", "path"), SHOPS_OWN)
def test_the_administrator_has_to_name_the_shop(admin, method, path):
    answer = admin(method, path)
    assert answer.status_code == 400
    assert "?shop=" in answer.json["detail"]


@pytest.mark.parametrize(("method", "path"), SHOPS_OWN)
@pytest.mark.parametrize("name", ["unknown.myshopify.com", "not a domain", "\x00", "x" * 5000])
def test_a_shop_that_is_not_there_is_not_found(admin, method, path, name):
    assert admin(method, path, query_string={"shop": name}).status_code == 404


def test_the_name_of_a_scheme_is_valid_in_any_case(client, shop):
    assert client.get("/api/stats", headers={"Authorization": f"bearer {shop.token}"}).status_code == 200
    credentials = ADMIN["Authorization"].replace("Basic", "BASIC")
    assert client.get("/api/tenants", headers={"Authorization": credentials}).status_code == 200


def test_no_token_is_taken_from_an_address(client, shop):
    for name in ("token", "apiToken", "access_token"):
        assert client.get("/api/stats", query_string={name: shop.token}).status_code == 401


def test_a_pages_own_request_is_not_challenged_to_a_password_dialog(client):
    by_program = client.get("/api/tenants")
    by_page = client.get("/api/tenants", headers={"Sec-Fetch-Mode": "cors"})
    assert by_program.headers["WWW-Authenticate"].startswith("Basic")
    assert "Basic" not in by_page.headers["WWW-Authenticate"]


def test_after_many_failures_an_address_has_to_wait_and_others_do_not(client):
    for _ in range(MOST_FAILURES):
        assert client.get("/api/tenants", headers=basic("admin", "guess")).status_code == 401
    # Even the right password has to wait, or guessing would go on
    answer = client.get("/api/tenants", headers=ADMIN)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    assert client.get("/api/tenants", headers=ADMIN, environ_base=elsewhere).status_code == 200


def test_failures_of_the_administrators_address_do_not_lock_a_shop_out(client, shop):
    for _ in range(MOST_FAILURES + 1):
        client.get("/api/tenants", headers=basic("admin", "guess"))
    assert client.get("/api/stats", headers=shop.headers).status_code == 200


def test_a_window_of_failures_ends():
    now = [0.0]
    failures = FailedSignIns(clock=lambda: now[0])
    for _ in range(MOST_FAILURES):
        failures.record("a")
    assert failures.seconds_to_wait("a") == WINDOW
    now[0] = WINDOW
    assert failures.seconds_to_wait("a") == 0.0
    failures.record("a")
    assert failures.seconds_to_wait("a") == 0.0


def test_the_memory_of_failures_is_bounded():
    failures = FailedSignIns()
    for number in range(MOST_ADDRESSES + 100):
        failures.record(str(number))
    assert len(failures) == MOST_ADDRESSES


@pytest.mark.parametrize(("peer", "client_address"), [("10.1.2.3", "198.51.100.7"), ("8.8.8.8", "8.8.8.8")])
def test_a_forwarded_address_is_believed_from_a_neighbour_only(peer, client_address):
    def tell_address(environ, start_response):
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode()]

    client = Client(NearbyProxy(tell_address))
    forwarded = {"X-Forwarded-For": "192.0.2.66, 198.51.100.7"}
    assert client.get("/", headers=forwarded, environ_base={"REMOTE_ADDR": peer}).text == client_address
