"""The life of access tokens against the simulated store: renewed by one for all, lost, refused, dead, and alive again."""

import base64
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import sqlalchemy
from pydantic import SecretStr

import settings
from models import orders, refetches, renewals, sync_runs, tenants
from models.columns import now
from models.database import transaction
from models.sync_runs import RunStatus
from models.tenant_summaries import of as summary_of
from models.tenants import TenantStatus
from shopify import oauth
from shopify import shop as shop_query
from shopify.oauth import App
from tests.tasks.asking import ask_at_once
from tests.tasks.waiting import eventually

APP = App("app-key", ("app-secret",))


@pytest.fixture
def install(store, open_shop, configured):
    """Opens a shop that has installed our app: its token lives for an hour and can be refreshed."""
    from tasks import credentials  # noqa: PLC0415  the actors need the settings

    configured(SHOPIFY_API_KEY=APP.client_id)

    def install(**options):
        shop = open_shop(**options)
        shop.configure(clientId=APP.client_id, clientSecrets=["app-secret"])
        granted = oauth.authorization_code_token(shop.domain, APP, code_of(shop), origin=store.url)
        with transaction() as session:
            credentials.set_granted(tenants.get(session, shop.tenant_id, for_update=True), granted)
        return shop

    return install


@pytest.fixture
def shop(install):
    return install()


def code_of(shop):
    """What the merchant's consent brings."""
    query = {"client_id": APP.client_id, "scope": "read_orders", "redirect_uri": "https://us.test/", "state": "s"}
    page = f"{shop.store.url}/{shop.domain}/admin/oauth/authorize"
    answer = requests.get(page, params=query, allow_redirects=False, timeout=10)
    return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]


def requests_of(shop):
    return shop.store.control("GET", f"shops/{shop.domain}/requests")


def exchanges(shop):
    return requests_of(shop).get("refresh_token", 0)


def change(shop, **columns):
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id, for_update=True)
        for name, value in columns.items():
            setattr(tenant, name, value)


def let_it_near_its_end(shop):
    change(shop, access_token_expires_at=now() + timedelta(minutes=2), token_renewal_at=now() - timedelta(seconds=1))


def let_it_end(shop):
    """By our clock and by the store's."""
    past = now() - timedelta(seconds=1)
    change(shop, access_token_expires_at=past, token_renewal_at=past)
    revoke(shop, "?keep=refresh")


def revoke(shop, what=""):
    shop.store.control("DELETE", f"shops/{shop.domain}/tokens{what}")


def ask(shop):
    from tasks import shops  # noqa: PLC0415

    return shops.ask(shop.tenant(), lambda client: client.shop(), cost=shop_query.QUERY_COST)


def replace(shop, **new):
    from tasks import credentials  # noqa: PLC0415

    with transaction() as session:
        credentials.replace(session, tenants.get(session, shop.tenant_id, for_update=True), **new)


def lasting_token(shop):
    return SecretStr(shop.store.control("POST", f"shops/{shop.domain}/tokens")["accessToken"])


def told(shop):
    return [event for event in shop.events() if event.startswith("error credentials")]


# --- renewed ---------------------------------------------------------------------------------------------------------


def test_a_token_is_renewed_ahead_of_its_end_and_not_before(shop):
    first = shop.tenant()
    ask(shop)
    assert exchanges(shop) == 0
    let_it_near_its_end(shop)
    ask(shop)
    assert exchanges(shop) == 1
    second = shop.tenant()
    assert second.access_token != first.access_token
    assert second.refresh_token != first.refresh_token
    assert second.access_token_expires_at > now() + timedelta(minutes=59)
    assert second.refresh_token_expires_at > now() + timedelta(days=89)
    assert second.access_token_expires_at - second.token_renewal_at == renewals.AHEAD
    ask(shop)
    assert requests_of(shop) == {"authorization_code": 1, "refresh_token": 1, "admin": 3}


def test_one_of_many_workers_renews_it_for_all(shop):
    let_it_end(shop)
    command = [sys.executable, "-m", "tests.tasks.asking", str(shop.tenant_id), "4"]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        # Slow enough that all of them come while one asks
        shop.configure(oauthFaults={"slow": {"every": 1, "seconds": 0.5}})
        for each in others:
            each.stdin.write("\n")
            each.stdin.flush()
        assert ask_at_once(shop.tenant_id, 4) == 4
        assert [each.communicate(timeout=60)[0].strip() for each in others] == ["4", "4"]
    finally:
        for each in others:
            each.kill()
            each.communicate()
    assert requests_of(shop) == {"authorization_code": 1, "refresh_token": 1, "admin": 12}
    ask(shop)
    assert exchanges(shop) == 1


def test_a_token_that_was_refused_under_many_is_replaced_once(shop):
    revoke(shop, "?keep=refresh")
    shop.configure(oauthFaults={"slow": {"every": 1, "seconds": 0.3}})
    assert ask_at_once(shop.tenant_id, 6) == 6
    assert exchanges(shop) == 1
    assert shop.tenant().unauthorized_since is None


def test_nobody_who_writes_for_the_shop_waits_for_the_exchange(shop):
    let_it_end(shop)
    shop.configure(oauthFaults={"slow": {"next": 1, "seconds": 2}})
    asking = threading.Thread(target=ask, args=(shop,))
    asking.start()
    eventually(lambda: is_being_renewed(shop))
    begun = now()
    with tenants.write(shop.tenant_id):
        took = now() - begun
    asking.join()
    assert took < timedelta(seconds=1)


def is_being_renewed(shop):
    """Looked at, and not tried: whoever comes meanwhile would find the right to renew taken."""
    held = """
        select exists (
            select from pg_locks, (select hashtextextended(:id, 2) as key) as wanted
            where locktype = 'advisory' and granted
              and cast(classid as bigint) = (key >> 32) & 4294967295 and cast(objid as bigint) = key & 4294967295
        )
    """
    with transaction() as session:
        return session.execute(sqlalchemy.text(held), {"id": str(shop.tenant_id)}).scalar_one()


def test_while_another_renews_a_good_token_it_is_used(shop):
    let_it_near_its_end(shop)
    with transaction() as session:
        assert renewals.is_mine(session, shop.tenant_id)
        ask(shop)
    assert exchanges(shop) == 0


def test_a_token_of_client_credentials_is_renewed_likewise(shop):
    replace(shop, client_id=APP.client_id, client_secret=SecretStr("app-secret"))
    shop.configure(oauthFaults={"slow": {"every": 1, "seconds": 0.3}})
    assert ask_at_once(shop.tenant_id, 6) == 6
    assert requests_of(shop)["client_credentials"] == 1
    assert shop.tenant().access_token_expires_at > now() + timedelta(hours=23)
    let_it_near_its_end(shop)
    ask(shop)
    assert requests_of(shop)["client_credentials"] == 2
    revoke(shop)
    ask(shop)
    assert requests_of(shop)["client_credentials"] == 3
    assert exchanges(shop) == 0


def test_tokens_of_the_former_secret_are_refreshed_with_it_while_it_is_there(shop, configured):
    configured(SHOPIFY_API_SECRET="new-secret,app-secret")
    shop.configure(clientSecrets=["new-secret", "app-secret"])
    let_it_end(shop)
    ask(shop)
    assert (exchanges(shop), shop.tenant().unauthorized_since) == (2, None)


# --- lost, late, away ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "drop"])
def test_a_pair_whose_answer_was_lost_is_asked_for_again_with_the_former_refresh_token(shop, fault):
    before = shop.tenant().refresh_token
    shop.configure(oauthFaults={fault: {"next": 2}})
    let_it_near_its_end(shop)
    # Granted, and never heard of: the token before is dead already
    assert ask_at_once(shop.tenant_id, 1) == 1
    assert exchanges(shop) == 3
    tenant = shop.tenant()
    assert tenant.refresh_token not in {None, before}
    assert (tenant.unauthorized_since, told(shop)) == (None, [])
    # And what was stored is the pair that works
    let_it_end(shop)
    ask(shop)


def test_a_shop_that_gives_no_token_now_is_asked_by_one_now_and_then(shop):
    from tasks import shops  # noqa: PLC0415

    let_it_end(shop)
    shop.configure(oauthFaults={"server_error": {"every": 1, "status": 503}})
    for _ in range(10):
        with pytest.raises(shops.Postponed):
            ask(shop)
    tenant = shop.tenant()
    assert tenant.unreachable_since is not None
    assert now() < tenant.token_renewal_at < now() + timedelta(seconds=5)
    assert tenant.unauthorized_since is None
    assert exchanges(shop) == 0  # the faults answered
    assert hits(shop, "server_error") == 1
    shop.configure(oauthFaults=None)
    change(shop, token_renewal_at=now())
    ask(shop)
    assert shop.tenant().unreachable_since is None


def hits(shop, fault):
    return shop.store.control("GET", f"shops/{shop.domain}")["oauthFaults"][fault]["hits"]


def test_a_renewal_ahead_that_fails_hinders_nothing(shop):
    let_it_near_its_end(shop)
    shop.configure(oauthFaults={"server_error": {"every": 1}})
    for _ in range(5):
        ask(shop)
    assert hits(shop, "server_error") == 1
    assert shop.tenant().unreachable_since is None


def test_a_429_is_waited_for(shop):
    from tasks import shops  # noqa: PLC0415

    let_it_end(shop)
    shop.configure(oauthFaults={"rate_limited": {"next": 1, "retry_after": "7.5"}})
    with pytest.raises(shops.Postponed) as postponed:
        ask(shop)
    assert postponed.value.seconds == 7.5
    with pytest.raises(shops.Postponed) as postponed:
        ask(shop)
    assert 5 < postponed.value.seconds <= 7.5


def test_a_wrong_secret_of_ours_ends_no_shops_token(shop, configured):
    from tasks import shops  # noqa: PLC0415

    let_it_end(shop)
    configured(SHOPIFY_API_SECRET="mistyped")
    for _ in range(3):
        with pytest.raises(shops.Postponed):
            ask(shop)
    assert exchanges(shop) == 1
    assert shop.tenant().unauthorized_since is None
    assert len(told(shop)) == 1
    assert "SHOPIFY_API_SECRET" in told(shop)[0]
    configured(SHOPIFY_API_SECRET="app-secret")
    change(shop, token_renewal_at=now())
    ask(shop)


def test_credentials_that_come_during_an_exchange_are_not_overwritten(shop):
    let_it_end(shop)
    shop.configure(oauthFaults={"slow": {"next": 1, "seconds": 1.5}})
    outcome = []
    asking = threading.Thread(target=lambda: outcome.append(ask_at_once(shop.tenant_id, 1)))
    asking.start()
    eventually(lambda: is_being_renewed(shop))
    token = lasting_token(shop)
    replace(shop, access_token=token)
    asking.join()
    tenant = shop.tenant()
    assert (tenant.access_token, tenant.refresh_token, outcome) == (token, None, [1])


def test_a_refusal_of_former_credentials_does_not_end_the_new_ones(shop):
    from tasks import shops  # noqa: PLC0415

    former = shop.tenant()
    revoke(shop)
    replace(shop, access_token=lasting_token(shop))
    # A worker that had read the tenant before
    with suppress(shops.Postponed):
        shops.ask(former, lambda client: client.shop(), cost=shop_query.QUERY_COST)
    assert shop.tenant().unauthorized_since is None
    ask(shop)


# --- dead ------------------------------------------------------------------------------------------------------------


def test_a_dead_refresh_token_ends_the_shops_work_once_and_is_told_once(shop):
    from tasks import shops  # noqa: PLC0415

    let_it_end(shop)
    revoke(shop)
    for _ in range(5):
        with pytest.raises(shops.CredentialsRefused):
            ask(shop)
    assert requests_of(shop) == {"authorization_code": 1, "refresh_token": 1}
    assert len(told(shop)) == 1
    assert "HTTP 401, invalid_request" in told(shop)[0]
    with transaction() as session:
        assert summary_of(session, None, shop.tenant_id).state == "needs_reauthorization"


def test_a_worker_that_had_read_the_shop_before_its_death_asks_once_more_at_most(shop):
    from tasks import shops, tokens  # noqa: PLC0415

    former = shop.tenant()
    revoke(shop)
    for tenant in (former, former):
        with pytest.raises(shops.CredentialsRefused):
            shops.ask(tenant, lambda client: client.shop(), cost=shop_query.QUERY_COST)
    assert requests_of(shop) == {"authorization_code": 1, "refused": 2, "refresh_token": 1}
    assert isinstance(tokens.give_up(former, former.access_token, "again"), shops.CredentialsRefused)
    assert len(told(shop)) == 1


def test_the_refusal_of_a_token_that_was_replaced_meanwhile_ends_nothing(shop):
    from tasks import shops, tokens  # noqa: PLC0415

    former = shop.tenant()
    replace(shop, access_token=lasting_token(shop))
    assert isinstance(tokens.give_up(former, former.access_token, "too late"), shops.Postponed)
    assert shop.tenant().unauthorized_since is None


def test_a_token_that_is_refused_twice_is_dead(shop):
    from tasks import shops  # noqa: PLC0415

    shop.configure(faults={"unauthorized": {"every": 1}})
    for _ in range(3):
        with pytest.raises(shops.CredentialsRefused):
            ask(shop)
    assert requests_of(shop) == {"authorization_code": 1, "refresh_token": 1, "admin": 2}
    assert shop.tenant().unauthorized_since is not None


def test_after_a_tokens_death_the_shop_is_left_alone_until_new_credentials_bring_everything_back(
    worker, shop, deliver_order
):
    from tasks import catching_up, fetches, subscriptions, tending  # noqa: PLC0415

    revoke(shop)
    run = shop.sync()
    assert (run.status, "credentials" in run.error) == (RunStatus.FAILED, True)
    after_death = requests_of(shop)
    assert after_death == {"authorization_code": 1, "refused": 1, "refresh_token": 1}
    # Whatever would ask asks no more, and webhooks go on being written
    order = deliver_order(shop)
    again = shop.sync()
    assert again.status == RunStatus.FAILED
    mark(shop, order)
    for _ in range(3):
        catching_up.catch_up.send(str(shop.tenant_id))
        subscriptions.check.send(str(shop.tenant_id))
        fetches.fetch_resource.send(str(shop.tenant_id), "orders", order)
        tending.tend.send()
    with pytest.raises(TimeoutError):
        wait_for_change(shop, after_death)
    assert marked(shop, order)
    # New credentials: the sync begins by itself, what was marked is fetched
    replace(shop, access_token=lasting_token(shop))
    eventually(lambda: newest_run(shop).status == RunStatus.COMPLETED)
    assert newest_run(shop).id not in {run.id, again.id}
    change_mark(shop, order)
    tending.tend.send()
    eventually(lambda: not marked(shop, order))
    assert shop.figures() == shop.expected()


@pytest.fixture
def deliver_order(store):
    """Has an order happen in the shop and its webhook written, without Shopify's being asked."""
    from shopify.webhooks import WebhookHeaders  # noqa: PLC0415
    from tasks import webhooks  # noqa: PLC0415

    def deliver(shop):
        (made,) = shop.act({"action": "createOrder"}, webhooks="return")["webhooks"][:1]
        webhooks.accept(shop.tenant_id, WebhookHeaders.of(made["headers"]), base64.b64decode(made["body"]))
        order = int(max(shop.ids("orders"), key=lambda each: int(each["id"]))["id"])
        eventually(lambda: is_written(shop, order))
        return order

    return deliver


def is_written(shop, order):
    with tenants.write(shop.tenant_id) as write:
        return orders.created_at(write, order) is not None


def mark(shop, order):
    with tenants.write(shop.tenant_id) as write:
        refetches.mark(write, "orders", [order], "a test wants it")


def marked(shop, order):
    with transaction() as session:
        return refetches.get(session, shop.tenant_id, "orders", order) is not None


def change_mark(shop, order):
    """As if two minutes had gone by."""
    with transaction() as session:
        found = refetches.get(session, shop.tenant_id, "orders", order)
        if found is not None:
            found.due_at = now() - timedelta(minutes=3)


def newest_run(shop):
    with transaction() as session:
        return sync_runs.newest(session, shop.tenant_id, limit=1)[0]


def wait_for_change(shop, before):
    ends = time.monotonic() + 2
    while requests_of(shop) == before:
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(0.1)


def test_an_uninstalled_shop_keeps_no_refresh_token(worker, shop):
    from tasks import standing  # noqa: PLC0415

    revoke(shop)
    standing.ask_shop.send(str(shop.tenant_id))
    eventually(lambda: shop.tenant().status == TenantStatus.UNINSTALLED)
    assert (shop.tenant().access_token, shop.tenant().refresh_token) == (None, None)


def test_a_shop_that_installs_the_app_again_while_it_is_asked_goes_on(shop, monkeypatch):
    from tasks import shops, standing  # noqa: PLC0415

    before = shop.tenant()

    def refused(*_, **__):  # with the credentials that it had before
        raise shops.CredentialsRefused

    monkeypatch.setattr(standing.shops, "ask", refused)
    standing.ask_shop.fn(str(shop.tenant_id))
    assert (shop.tenant().status, shop.tenant().access_token) == (TenantStatus.ACTIVE, before.access_token)


def test_a_shop_that_leaves_stops_sending_although_its_token_has_ended(worker, shop, configured):
    from shopify.client import Client  # noqa: PLC0415
    from tasks import offboarding, subscriptions  # noqa: PLC0415

    configured(PUBLIC_URL="http://127.0.0.1:9")
    subscriptions.check.fn(str(shop.tenant_id))
    let_it_end(shop)
    with transaction() as session:
        offboarding.begin(session, tenants.get(session, shop.tenant_id, for_update=True))
    client = Client(shop.domain, lasting_token(shop).get_secret_value(), origin=shop.store.url)
    eventually(lambda: client.subscriptions(settings.load().webhook_uri) == {})


# --- idle ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [TenantStatus.ACTIVE, TenantStatus.PAUSED])
def test_the_refresh_token_of_a_shop_that_nobody_asks_is_used_before_it_lapses(worker, shop, status, monkeypatch):
    from tasks import tokens  # noqa: PLC0415

    monkeypatch.setattr(tokens, "SPREAD", 1)
    let_it_end(shop)
    change(shop, status=status)
    with transaction() as session:
        assert shop.tenant_id not in renewals.idle(session)
    change(shop, refresh_token_expires_at=now() + renewals.IDLE - timedelta(minutes=1))
    change(shop, token_renewal_at=now() + timedelta(minutes=1))
    with transaction() as session:
        assert shop.tenant_id not in renewals.idle(session)  # renewed within the hour
    change(shop, token_renewal_at=now())
    tokens.renew_idle.send()
    eventually(lambda: exchanges(shop) == 1)
    eventually(lambda: shop.tenant().refresh_token_expires_at > now() + timedelta(days=89))
    with transaction() as session:
        assert shop.tenant_id not in renewals.idle(session)


@pytest.mark.parametrize(
    "columns", [{"status": TenantStatus.UNINSTALLED}, {"unauthorized_since": now()}, {"refresh_token": None}]
)
def test_shops_whose_token_cannot_be_renewed_are_left_out(shop, columns):
    let_it_end(shop)
    change(shop, refresh_token_expires_at=now(), **columns)
    with transaction() as session:
        assert shop.tenant_id not in renewals.idle(session)
