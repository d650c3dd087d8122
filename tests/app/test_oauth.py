"""Installing as an app: a browser between us and the simulated Shopify, and those who would like to be taken for it."""

import base64
import hashlib
import hmac
import json
import logging
import re
import time
import uuid
from datetime import timedelta
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import requests

import settings
from app import oauth_state
from app.directory import directory
from models import sync_runs, tenants
from models.columns import now
from models.database import transaction
from models.tenants import TenantStatus
from scripts.store.oauth import session_token
from shopify import install, scopes
from tests.app.conftest import ADMIN
from tests.store.conftest import Store

US = "https://shopstream.test"
CALLBACK = "/api/oauth/callback"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    yield store
    store.close()


@pytest.fixture
def configure(monkeypatch, store):
    def configure(**values):
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        settings.load.cache_clear()

    configure(PUBLIC_URL=US, SHOPIFY_API_KEY="app-key", SHOPIFY_API_ORIGIN=store.url)
    yield configure
    monkeypatch.undo()
    settings.load.cache_clear()


@pytest.fixture
def shop(store, configure):
    """A shop at Shopify's, which we do not know yet."""
    made = store.add(f"{uuid.uuid4().hex}.myshopify.com", orders=3, customers=3, products=2)
    made.settings.client_id, made.settings.client_secret = "app-key", "app-secret"
    return made


class Browser:
    def __init__(self, app):
        self.client = app.test_client()

    def get(self, path):
        return self.client.get(path, base_url=US)

    def begin(self, domain):
        """To the page of consent, and back as far as the address that Shopify sends the browser to."""
        there = self.get(f"/api/oauth/install?shop={domain}")
        assert there.status_code == 302, there.json
        back = requests.get(there.headers["Location"], allow_redirects=False, timeout=10)
        assert back.status_code == 302, back.text
        return back.headers["Location"].removeprefix(US)

    def install(self, domain):
        return self.get(self.begin(domain))


@pytest.fixture
def browser(app):
    return Browser(app)


def signed(query, secret="app-secret"):
    """The address of a callback with these parameters, signed as Shopify does."""
    pairs = [(name, value) for name, value in query.items() if name != "hmac"]
    digest = hmac.new(secret.encode(), urlencode(sorted(pairs)).encode(), hashlib.sha256).hexdigest()
    return f"{CALLBACK}?{urlencode([*pairs, ('hmac', digest)])}"


def query_of(address):
    return dict(parse_qsl(urlsplit(address).query))


def tenant_of(shop):
    with transaction() as session:
        return tenants.of_domain(session, shop.domain)


def codes_exchanged(store, shop):
    return store.control("GET", f"/shops/{shop.domain}/requests").get("authorization_code", 0)


# --- the way through -------------------------------------------------------------------------------------------------


def test_a_merchant_installs_the_app_and_the_shop_is_onboarded(browser, shop, admin):
    there = browser.get(f"/api/oauth/install?shop={shop.domain.upper()}".replace(".MYSHOPIFY.COM", ".myshopify.com"))
    asked = parse_qs(urlsplit(there.headers["Location"]).query)
    assert urlsplit(there.headers["Location"]).path == f"/{shop.domain}/admin/oauth/authorize"
    assert asked["client_id"] == ["app-key"]
    assert asked["scope"] == ["read_all_orders,read_customers,read_orders,read_products"]
    assert asked["redirect_uri"] == [US + CALLBACK]
    answer = browser.install(shop.domain)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{US}/api/oauth/installed")
    page = browser.get("/api/oauth/installed")
    assert (page.status_code, page.mimetype) == (200, "text/plain")
    tenant = tenant_of(shop)
    assert tenant.status == TenantStatus.ACTIVE
    assert tenant.access_token.get_secret_value() in shop.settings.tokens
    assert tenant.refresh_token.get_secret_value() in shop.settings.refresh_tokens
    assert tenant.scopes == sorted(scopes.DEFAULT)
    summary = admin("GET", f"/api/tenants/{tenant.id}").json
    assert (summary["lastSyncStatus"], summary["missingScopes"]) == ("running", [])
    assert summary["accessTokenExpiresAt"] < summary["refreshTokenExpiresAt"]
    # Nobody was told its API token: the administrator makes one
    token = admin("POST", f"/api/tenants/{tenant.id}/token").json["apiToken"]
    answer = browser.client.get("/api/sync-status", headers={"Authorization": f"Bearer {token}"})
    assert len(answer.json["runs"]) == 1


def test_the_state_is_kept_where_no_script_and_no_other_site_can_use_it(browser, shop, configure):
    cookie = browser.get(f"/api/oauth/install?shop={shop.domain}").headers["Set-Cookie"]
    for attribute in ("HttpOnly", "SameSite=Lax", "Secure", "Path=/api/oauth", "Max-Age=600"):
        assert attribute in cookie.split("; ")
    configure(PUBLIC_URL="http://localhost:4000")
    assert "Secure" not in browser.get(f"/api/oauth/install?shop={shop.domain}").headers["Set-Cookie"]


def test_no_code_and_no_token_stands_in_an_answer_or_a_log(browser, shop, caplog):
    caplog.set_level(logging.DEBUG)
    address = browser.begin(shop.domain)
    answer = browser.get(address)
    again = browser.get(address)
    tenant = tenant_of(shop)
    hidden = (
        query_of(address)["code"],
        tenant.access_token.get_secret_value(),
        tenant.refresh_token.get_secret_value(),
    )
    for text in (str(answer.headers), answer.text, str(again.headers), again.text, caplog.text):
        assert not any(secret in text for secret in (*hidden, "app-secret"))


def test_a_shop_that_is_known_gets_new_credentials_and_works_again(browser, shop, admin, deliver):
    known = {"shopDomain": shop.domain, "clientId": "own", "clientSecret": "own", "webhookSecret": "own", "sync": False}
    tenant_id = admin("POST", "/api/tenants", json=known).json["id"]
    assert directory.find(shop.domain).own_secrets == ("own", "own")
    with transaction() as session:
        tenant = tenants.get(session, uuid.UUID(tenant_id), for_update=True)
        tenant.status, tenant.unauthorized_since = TenantStatus.UNINSTALLED, now()
    assert browser.install(shop.domain).status_code == 302
    tenant = tenant_of(shop)
    assert str(tenant.id) == tenant_id
    assert (tenant.status, tenant.unauthorized_since) == (TenantStatus.ACTIVE, None)
    assert (tenant.client_id, tenant.client_secret, tenant.webhook_secret) == (None, None, None)
    assert tenant.access_token.get_secret_value() in shop.settings.tokens
    assert admin("GET", f"/api/tenants/{tenant_id}").json["lastSyncStatus"] == "running"
    # Its webhooks are signed by the app from now on, which this process knows at once
    assert directory.find(shop.domain).own_secrets == ()
    assert deliver(shop.domain, secret="app-secret").status_code == 200


def test_a_shop_that_lacks_a_scope_is_told_which(browser, shop, admin):
    shop.settings.scopes = ["read_orders", "read_products"]
    answer = browser.install(shop.domain)
    assert answer.status_code == 403
    assert answer.json["missingScopes"] == ["read_all_orders", "read_customers"]
    assert tenant_of(shop) is None
    # A known shop keeps what it has now: the token before may have ended with it
    admin("POST", "/api/tenants", json={"shopDomain": shop.domain, "accessToken": "shpat_former", "sync": False})
    assert browser.install(shop.domain).status_code == 403
    tenant = tenant_of(shop)
    assert tenant.access_token.get_secret_value() in shop.settings.tokens
    assert admin("GET", f"/api/tenants/{tenant.id}").json["missingScopes"] == ["read_all_orders", "read_customers"]


def test_a_shop_that_grants_more_than_before_is_read_again(browser, shop, admin):
    assert browser.install(shop.domain).status_code == 302
    tenant = tenant_of(shop)

    def end_sync():
        with transaction() as session:
            sync_runs.finish(session, sync_runs.running(session, tenant.id), sync_runs.RunStatus.INCOMPLETE)
            tenants.get(session, tenant.id, for_update=True).scopes = ["read_customers", "read_orders", "read_products"]

    end_sync()
    assert browser.install(shop.domain).status_code == 302
    assert admin("GET", f"/api/tenants/{tenant.id}").json["lastSyncStatus"] == "running"


def test_the_scopes_to_ask_for_can_be_set_and_to_write_includes_to_read(browser, shop, configure):
    configure(SHOPIFY_SCOPES="read_orders,read_products")
    shop.settings.scopes = ["write_orders", "read_products"]
    there = browser.get(f"/api/oauth/install?shop={shop.domain}").headers["Location"]
    assert parse_qs(urlsplit(there).query)["scope"] == ["read_orders,read_products"]
    assert scopes.missing(["write_orders", "read_products"], ["read_orders", "read_products"]) == []
    assert scopes.missing(["read_orders"], ["write_orders"]) == ["write_orders"]


@pytest.mark.parametrize("name", ["PUBLIC_URL", "SHOPIFY_API_KEY", "SHOPIFY_API_SECRET"])
def test_without_an_app_there_is_nothing_to_install(browser, shop, configure, name):
    configure(**{name: None})
    for path in (f"/api/oauth/install?shop={shop.domain}", CALLBACK):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert name in answer.json["detail"]
    assert browser.client.post("/api/oauth/token-exchange").status_code == 404


def test_every_secret_of_the_app_is_accepted_while_it_is_rotated(browser, shop, configure):
    configure(SHOPIFY_API_SECRET="new-secret,app-secret")
    shop.settings.client_secret, shop.settings.former_secrets = "new-secret", ["app-secret"]
    assert browser.install(shop.domain).status_code == 302
    configure(SHOPIFY_API_SECRET="new-secret")
    assert browser.install(shop.domain).status_code == 401


def test_while_shopify_is_away_the_merchant_is_told_to_try_again(browser, shop, store):
    address = browser.begin(shop.domain)
    store.control("PATCH", f"/shops/{shop.domain}", {"oauthFaults": {"server_error": {"next": 1}}})
    answer = browser.get(address)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert tenant_of(shop) is None


def test_a_wrong_secret_of_ours_is_told_as_ours(browser, shop):
    address = browser.begin(shop.domain)
    shop.settings.client_secret = "another"
    answer = browser.get(address)
    assert answer.status_code == 503
    assert "operator" in answer.json["detail"]


# --- those who would like to be taken for Shopify, or for the merchant ----------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "",
        "shop=",
        "shop=evil.com",
        "shop=evil.com%23.myshopify.com",
        "shop=evil.com/.myshopify.com",
        "shop=a.myshopify.com.evil.com",
        "shop=a.myshopify.com%0a",
        "shop=%0aa.myshopify.com",
        "shop=a.myshopify.com%00",
        "shop=-a.myshopify.com",
        "shop=a@b.myshopify.com",
        "shop=a.b.myshopify.com",
        "shop=https://a.myshopify.com",
        "shop=a.myshopify.com&shop=b.myshopify.com",
        f"shop={'a' * 300}.myshopify.com",
    ],
)
def test_the_way_to_shopify_leads_nowhere_else(browser, configure, query):
    answer = browser.get(f"/api/oauth/install?{query}")
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_what_shopify_did_not_sign_is_refused_and_no_code_is_exchanged(browser, shop, store):
    address = browser.begin(shop.domain)
    query = query_of(address)
    forged = [
        address.replace(query["hmac"], "0" * 64),
        address.replace(query["hmac"], query["hmac"].upper()),
        address.replace(query["code"], "another"),
        re.sub(r"hmac=[0-9a-f]*", "hmac=", address),
        re.sub(r"hmac=[0-9a-f]*", "hmac=%C3%A9", address),
        signed(query, secret="another"),
        signed(query, secret=""),
        address + "&extra=1",
    ]
    for each in forged:
        assert browser.get(each).status_code in {400, 401}, each
    assert codes_exchanged(store, shop) == 0
    assert tenant_of(shop) is None
    assert browser.get(address).status_code == 302  # and it was good all along


def test_an_empty_secret_of_ours_signs_nothing():
    assert not install.is_signed([("hmac", hmac.new(b"", b"a=1", hashlib.sha256).hexdigest()), ("a", "1")], [""])


@pytest.mark.parametrize("name", ["code", "hmac", "shop", "state", "timestamp"])
def test_a_parameter_that_is_missing_or_stands_twice_is_refused(browser, shop, store, name):
    address = browser.begin(shop.domain)
    query = query_of(address)
    without = signed({key: value for key, value in query.items() if key != name})
    if name == "hmac":
        without = re.sub(r"&hmac=[0-9a-f]*", "", address)
    for each in (without, f"{address}&{name}={query[name]}", f"{address}&{name}=another"):
        answer = browser.get(each)
        assert answer.status_code == 400, each
        assert query["code"] not in answer.text
    assert codes_exchanged(store, shop) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"shop": "evil.com"},
        {"shop": "a.myshopify.com\n"},
        {"shop": "a.myshopify.com.evil.com"},
        {"timestamp": str(int(time.time()) - 700)},
        {"timestamp": str(int(time.time()) + 7000)},
        {"timestamp": "-1"},
        {"timestamp": "\uff11\uff12"},
        {"timestamp": "now"},
        {"code": "a b"},
    ],
)
def test_what_is_signed_and_makes_no_sense_is_refused(browser, shop, store, change):
    query = query_of(browser.begin(shop.domain)) | change
    assert browser.get(signed(query)).status_code == 400
    assert codes_exchanged(store, shop) == 0


def test_the_shops_name_may_come_in_any_case_of_letters(browser, shop):
    query = query_of(browser.begin(shop.domain))
    name = shop.domain.partition(".")[0].upper() + ".myshopify.com"
    assert browser.get(signed(query | {"shop": name})).status_code == 302
    assert tenant_of(shop) is not None


def test_only_the_browser_that_began_can_finish(app, browser, shop, store):
    address = browser.begin(shop.domain)
    answer = Browser(app).get(address)
    assert answer.status_code == 403
    assert f"{US}/api/oauth/install?shop={shop.domain}" in answer.json["detail"]
    other = Browser(app)
    other.begin(shop.domain)
    assert other.get(address).status_code == 403  # with a state of its own
    assert codes_exchanged(store, shop) == 0


def test_the_state_of_one_shop_is_not_another_shops(browser, shop, store):
    query = query_of(browser.begin(shop.domain))
    other = store.add(f"{uuid.uuid4().hex}.myshopify.com", orders=1, customers=1, products=1)
    assert browser.get(signed(query | {"shop": other.domain})).status_code == 403
    assert codes_exchanged(store, other) == 0


def test_a_state_ends_with_its_use_and_after_ten_minutes(browser, shop, store, monkeypatch):
    address = browser.begin(shop.domain)
    assert browser.get(address).status_code == 302
    assert browser.get(address).status_code == 403
    # One that failed at Shopify is used, too
    address = browser.begin(shop.domain)
    store.control("PATCH", f"/shops/{shop.domain}", {"oauthFaults": {"server_error": {"next": 1}}})
    assert [browser.get(address).status_code for _ in range(2)] == [503, 403]
    address = browser.begin(shop.domain)
    later = time.time() + 601
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later)
    assert browser.get(address).status_code == 403


@pytest.mark.parametrize("value", ["", "nonsense", "a.b.c", "WyJhIiwiYiJd.aaaaaa.bbbbbb"])
def test_a_cookie_that_is_not_ours_is_none(browser, shop, value):
    address = browser.begin(shop.domain)
    browser.client.set_cookie(oauth_state.COOKIE, value, domain="shopstream.test", path=oauth_state.PATH)
    assert browser.get(address).status_code == 403


def test_a_code_is_good_once_even_for_a_browser_that_keeps_its_cookie(browser, shop, store):
    address = browser.begin(shop.domain)
    kept = browser.client.get_cookie(oauth_state.COOKIE, domain="shopstream.test", path=oauth_state.PATH)
    assert browser.get(address).status_code == 302
    before = tenant_of(shop)
    browser.client.set_cookie(oauth_state.COOKIE, kept.value, domain="shopstream.test", path=oauth_state.PATH)
    answer = browser.get(address)
    assert answer.status_code == 400
    assert "begin again" in answer.json["detail"]
    assert tenant_of(shop).access_token == before.access_token


# --- embedded apps ---------------------------------------------------------------------------------------------------


@pytest.fixture
def exchange(client):
    def exchange(token, **headers):
        return client.post("/api/oauth/token-exchange", headers={"Authorization": f"Bearer {token}"} | headers)

    return exchange


def test_the_page_of_an_embedded_app_onboards_its_shop_and_may_ask_again(exchange, shop, store, admin):
    answer = exchange(session_token(shop))
    assert answer.status_code == 200, answer.json
    tenant = tenant_of(shop)
    assert answer.json == {"id": str(tenant.id), "shopDomain": shop.domain}
    assert tenant.refresh_token.get_secret_value() in shop.settings.refresh_tokens
    assert admin("GET", f"/api/tenants/{tenant.id}").json["lastSyncStatus"] == "running"
    assert exchange(session_token(shop)).status_code == 200
    assert store.control("GET", f"/shops/{shop.domain}/requests")["token_exchange"] == 1
    # One whose credentials are dead gets new ones
    with transaction() as session:
        tenants.get(session, tenant.id, for_update=True).unauthorized_since = now()
    assert exchange(session_token(shop)).status_code == 200
    assert tenant_of(shop).unauthorized_since is None
    assert tenant_of(shop).access_token != tenant.access_token


def test_an_embedded_shop_that_lacks_a_scope_is_told_which(exchange, shop):
    shop.settings.scopes = ["read_orders", "read_all_orders", "read_products"]
    answer = exchange(session_token(shop))
    assert (answer.status_code, answer.json["missingScopes"]) == (403, ["read_customers"])


def test_a_session_token_that_shopify_does_not_take_is_told(exchange, shop):
    token = session_token(shop)
    shop.settings.client_id = "another"
    assert exchange(token).status_code == 503
    shop.settings.client_id = "app-key"
    assert exchange(session_token(shop, exp=time.time() - 5)).status_code == 400  # within our leeway, not within theirs


def test_a_session_token_of_a_little_ahead_or_late_clock_is_taken(exchange, shop):
    assert exchange(session_token(shop, nbf=time.time() + 5)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"exp": time.time() - 11},
        {"exp": "9999999999"},
        {"exp": None},
        {"exp": True},
        {"exp": float("nan")},
        {"nbf": time.time() + 3600},
        {"nbf": None},
        {"aud": "another-app"},
        {"aud": ["app-key"]},
        {"aud": None},
        {"dest": "https://evil.com"},
        {"dest": "https://other.myshopify.com"},
        {"dest": "http://other.myshopify.com"},
        {"dest": None},
        {"iss": "https://other.myshopify.com/admin"},
        {"iss": "https://evil.com/admin"},
        {"iss": None},
    ],
)
def test_a_session_token_that_is_not_for_us_is_refused(exchange, shop, store, change):
    answer = exchange(session_token(shop, **change))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert store.control("GET", f"/shops/{shop.domain}/requests") == {}


def encoded(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def resigned(header, payload, secret="app-secret"):
    digest = hmac.digest(secret.encode(), f"{header}.{payload}".encode(), "sha256")
    return f"{header}.{payload}.{encoded(digest)}"


def test_a_session_token_that_shopify_did_not_sign_is_refused(exchange, shop):
    header, payload, signature = session_token(shop).split(".")
    forged = [
        "",
        "nonsense",
        f"{header}.{payload}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature}.",
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}.{signature[:-2]}AA",
        f"{encoded({'alg': 'none'})}.{payload}.",
        f"{encoded({'alg': 'none'})}.{payload}.{signature}",
        resigned(encoded({"alg": "none"}), payload),
        resigned(encoded({"alg": "HS512"}), payload),
        resigned(encoded({"typ": "JWT"}), payload),
        resigned(encoded([]), payload),
        resigned("!", payload),
        resigned(header, encoded(b"[" * 100_000)),
        resigned(header, encoded(b"\xff")),
        resigned(header, payload, secret=""),
        resigned(header, payload, secret="another"),
        resigned(header, encoded([1])),
    ]
    for each in forged:
        assert exchange(each).status_code == 401, each[:80]
    assert exchange("x", Authorization=ADMIN["Authorization"]).status_code == 401
    assert tenant_of(shop) is None
    assert exchange(f"{header}.{payload}.{signature}").status_code == 200


def test_another_sites_page_cannot_ask(exchange, shop):
    token = session_token(shop)
    assert exchange(token, Origin="https://evil.example").status_code == 403
    assert exchange(token, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert tenant_of(shop) is None


def test_a_session_token_of_another_shop_is_that_shops(exchange, shop, store):
    other = store.add(f"{uuid.uuid4().hex}.myshopify.com", orders=1, customers=1, products=1)
    other.settings.client_id, other.settings.client_secret = "app-key", "app-secret"
    assert exchange(session_token(other)).json["shopDomain"] == other.domain
    assert tenant_of(shop) is None


# --- the operator ----------------------------------------------------------------------------------------------------


def test_the_operator_is_told_the_link(run, configure):
    told = run("tenants", "install-link", "my-store.myshopify.com")
    assert told.output.strip() == f"{US}/api/oauth/install?shop=my-store.myshopify.com"
    configure(PUBLIC_URL=None)
    refused = run("tenants", "install-link", "my-store.myshopify.com")
    assert (refused.exit_code, "PUBLIC_URL" in refused.output) == (1, True)


def test_the_end_of_a_token_is_seen(new_shop, admin):
    shop = new_shop()
    summary = admin("GET", f"/api/tenants/{shop.id}").json
    assert (summary["accessTokenExpiresAt"], summary["refreshTokenExpiresAt"]) == (None, None)
    ends = now().replace(microsecond=0) + timedelta(hours=1)
    with transaction() as session:
        tenants.get(session, uuid.UUID(shop.id), for_update=True).access_token_expires_at = ends
    told = admin("GET", f"/api/tenants/{shop.id}").json["accessTokenExpiresAt"]
    assert told == ends.isoformat().replace("+00:00", "Z")
