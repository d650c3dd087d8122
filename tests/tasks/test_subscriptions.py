"""A shop's webhook subscriptions, made, looked after and removed; against the simulated store."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

import settings
from models import encryption, tenants
from models.columns import now
from models.database import transaction
from shopify.client import Client
from shopify.subscriptions import enum_of, wanted_topics
from tests.tasks.waiting import eventually


@pytest.fixture
def reachable_at(configured):
    """Say where shops reach us."""

    def say(origin):
        configured(PUBLIC_URL=origin)
        return settings.load().webhook_uri

    return say


@pytest.fixture
def uri(reachable_at, store):
    return reachable_at("http://127.0.0.1:9")


def client_of(shop):
    token = shop.tenant().access_token
    return Client(shop.domain, token.get_secret_value(), origin=settings.load().shopify_api_origin)


def test_every_topic_is_subscribed_to_before_the_history_is_read(worker, shop, uri, monkeypatch):
    from tasks import sync_steps  # noqa: PLC0415

    held_at_first_page = []
    read_page = sync_steps._STEPS[sync_steps.Stage.HISTORY]

    def read(work):
        held_at_first_page.append(set(client_of(shop).subscriptions(uri)))
        return read_page(work)

    monkeypatch.setitem(sync_steps._STEPS, sync_steps.Stage.HISTORY, read)
    assert shop.sync().status == "completed"
    assert held_at_first_page[0] == {enum_of(topic) for topic in wanted_topics()}
    assert {"ORDERS_CREATE", "REFUNDS_CREATE", "APP_UNINSTALLED", "CUSTOMERS_MERGE"} <= held_at_first_page[0]
    assert shop.tenant().missing_topics == []
    assert any(f"{len(wanted_topics())} webhook topics registered" in event for event in shop.events())


def test_what_shopify_dropped_is_put_back_and_told(shop, uri):
    from tasks import subscriptions  # noqa: PLC0415

    subscriptions.check.fn(str(shop.tenant_id))
    client = client_of(shop)
    held = client.subscriptions(uri)
    client.unsubscribe([held["ORDERS_CREATE"], held["PRODUCTS_UPDATE"]])
    subscriptions.check.fn(str(shop.tenant_id))
    again = client.subscriptions(uri)
    assert again.keys() == held.keys()
    assert {name for name in again if again[name] != held[name]} == {"ORDERS_CREATE", "PRODUCTS_UPDATE"}
    (told,) = [event for event in shop.events() if event.startswith("warning")]
    assert "orders/create, products/update" in told
    # A look that finds everything changes nothing and says nothing
    before = shop.events()
    subscriptions.check.fn(str(shop.tenant_id))
    assert (shop.events(), client.subscriptions(uri)) == (before, again)


def test_what_we_no_longer_want_is_dropped_and_what_others_made_is_left_alone(shop, uri):
    from tasks import subscriptions  # noqa: PLC0415

    client = client_of(shop)
    assert client.subscribe(["inventory_levels/connect"], uri) == {}
    assert client.subscribe(["orders/create"], "http://127.0.0.1:9/somebody-elses") == {}
    subscriptions.check.fn(str(shop.tenant_id))
    assert "INVENTORY_LEVELS_CONNECT" not in client.subscriptions(uri)
    assert list(client.subscriptions("http://127.0.0.1:9/somebody-elses")) == ["ORDERS_CREATE"]


def test_a_shop_that_refuses_is_named_and_synced_all_the_same(worker, shop, reachable_at):
    reachable_at("http://shopstream.example.com")  # Shopify wants https
    assert shop.sync().status == "completed"
    assert shop.tenant().missing_topics == list(wanted_topics())
    assert any("refuses to send orders/create" in event and "http://" in event for event in shop.events())


def test_without_an_address_nothing_is_asked(shop):
    from tasks import subscriptions  # noqa: PLC0415

    subscriptions.check.fn(str(shop.tenant_id))
    assert shop.tenant().webhooks_checked_at is None


def test_every_active_shop_is_looked_after_daily_and_not_all_at_once(open_shop, uri, monkeypatch):
    from tasks import subscriptions  # noqa: PLC0415

    shops, sent = [open_shop(orders=1), open_shop(orders=1)], {}
    monkeypatch.setattr(subscriptions.check, "send_with_options", lambda *, args, delay: sent.update({args[0]: delay}))
    subscriptions.check_all.fn()
    delays = [sent[str(shop.tenant_id)] for shop in shops]
    assert len(set(delays)) == 2
    assert all(0 <= delay < subscriptions.SPREAD for delay in delays)


def test_a_shop_that_leaves_stops_sending(worker, shop, uri):
    from tasks import offboarding, subscriptions  # noqa: PLC0415

    subscriptions.check.fn(str(shop.tenant_id))
    client = client_of(shop)
    assert client.subscriptions(uri)
    with transaction() as session:
        offboarding.begin(session, tenants.get(session, shop.tenant_id, for_update=True))
    eventually(lambda: client.subscriptions(uri) == {})

    def is_gone():
        with transaction() as session:
            return tenants.get(session, shop.tenant_id) is None

    eventually(is_gone)


def test_a_shop_that_is_back_already_keeps_its_subscriptions(shop, uri):
    from tasks import subscriptions  # noqa: PLC0415

    subscriptions.check.fn(str(shop.tenant_id))
    subscriptions.remove.fn(shop.domain, None, encryption.encrypted(shop.tenant().access_token))
    assert len(client_of(shop).subscriptions(uri)) == len(wanted_topics())


def test_a_shop_that_left_and_never_answers_is_asked_for_a_day_and_less_and_less_often(shop, uri, monkeypatch, caplog):
    from tasks import subscriptions  # noqa: PLC0415
    from tasks.shops import Postponed  # noqa: PLC0415

    subscriptions.check.fn(str(shop.tenant_id))
    former = shop.tenant()
    with transaction() as session:
        session.get_one(type(former), former.id).shop_domain = f"moved-{shop.domain}"  # nobody's any more

    def away(*_, **__):
        raise Postponed(3.0, "it does not answer")

    monkeypatch.setattr(subscriptions.shops, "ask", away)
    sent, delays, begun = [], [], now()

    def send(*, args, delay):
        sent.append(args)
        delays.append(timedelta(milliseconds=delay))
        later = begun + sum(delays, timedelta(0))
        for module in ("subscriptions", "waits"):
            monkeypatch.setattr(f"tasks.{module}.now", lambda: later)

    monkeypatch.setattr(subscriptions.remove, "send_with_options", send)
    subscriptions.remove.fn(shop.domain, None, encryption.encrypted(former.access_token))
    while len(sent) < 500 and "were not removed" not in caplog.text:
        subscriptions.remove.fn(*sent[-1])
    assert delays[0] < timedelta(seconds=5)
    assert timedelta(minutes=15) < max(delays) < timedelta(minutes=20)
    assert timedelta(hours=24) < sum(delays, timedelta(0)) < timedelta(hours=25)


def test_a_shop_with_client_credentials_stops_sending_although_its_token_has_ended(worker, shop, store, uri):
    from tasks import offboarding, subscriptions  # noqa: PLC0415

    subscriptions.check.fn(str(shop.tenant_id))
    client = client_of(shop)
    told = next(each for each in store.control("GET", "shops") if each["shopDomain"] == shop.domain)
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id, for_update=True)
        tenant.access_token, tenant.client_id = SecretStr("shpat_ended"), told["clientId"]
        tenant.client_secret = SecretStr(told["clientSecret"])
    with transaction() as session:
        offboarding.begin(session, tenants.get(session, shop.tenant_id, for_update=True))
    eventually(lambda: client.subscriptions(uri) == {})
