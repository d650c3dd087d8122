"""The operator's view of many shops: what is wrong with each, the worst first, over HTTP, on the command line, in the metrics."""

import uuid

import dramatiq
import pytest
from prometheus_client.parser import text_string_to_metric_families

import tasks.backlogs
from brokers import lanes
from brokers.errors import BrokerUnavailable
from brokers.leases import Delivery
from models import api_notices, sync_runs, tenants
from models.columns import now
from models.database import transaction
from models.repairs import Repairs
from models.sync_runs import RunStatus
from tasks import broker
from tests.app.conftest import bearer


@pytest.fixture(autouse=True)
def always_asked(monkeypatch):
    monkeypatch.setattr(tasks.backlogs, "FRESH", 0.0)


@pytest.fixture
def summary_of(admin):
    return lambda shop: admin("GET", f"/api/tenants/{shop.id}").json


@pytest.fixture
def nats_is_away(monkeypatch):
    def away(*_, **__):
        raise BrokerUnavailable("NATS at nats://127.0.0.1:4222 cannot be reached")

    monkeypatch.setattr(broker, "lane_stats", away)


@pytest.fixture
def bury(app):
    """Buries a message of an actor's as a worker would."""
    broker.ensure_streams()

    def make(actor, *arguments):
        message = broker.get_actor(actor).message(*arguments)
        lanes.place(message, broker.get_actor(actor).options)
        number = uuid.uuid4().int % 10**12
        delivery = Delivery(message.queue_name, number, 1, 1, "", "", message.encode(), {}, 30.0)
        broker._bury(delivery, error=ValueError("boom"), message=message)

    yield make
    broker.dead_letters.purge()


def set_columns(shop, **columns):
    with transaction() as session:
        tenant = tenants.get(session, uuid.UUID(shop.id))
        for name, value in columns.items():
            setattr(tenant, name, value)


def run_of(shop, status="completed"):
    with transaction() as session:
        run = sync_runs.start(session, uuid.UUID(shop.id), resources=["orders"])
        sync_runs.finish(session, run, RunStatus(status))
        return str(run.id)


# --- over HTTP -------------------------------------------------------------------------------------------------------


def test_a_webhook_that_waits_is_a_lag(deliver, shop, summary_of):
    assert summary_of(shop)["lagSeconds"] == 0
    assert deliver(shop.domain).status_code == 200
    first = summary_of(shop)["lagSeconds"]
    assert 0 < first < 60
    assert summary_of(shop)["lagSeconds"] > first


def test_dead_letters_of_every_kind_of_work_are_their_shops(bury, shop, new_shop, summary_of):
    run, other = run_of(shop), new_shop()
    bury("process_webhooks", shop.id, {})
    bury("fetch_resource", shop.id, "orders", 1)
    bury("advance", run, "orders", 0, 0)
    bury("fail_run", {"args": [run, 0]}, {})
    bury("rest_fetch", {"args": [shop.id, "orders", 1]}, {})
    bury("tend")
    assert (summary_of(shop)["deadLetters"], summary_of(other)["deadLetters"]) == (5, 0)
    assert summary_of(shop)["problems"] == ["dead_letters"]


def test_without_nats_the_shops_are_listed_and_what_it_tells_is_null(admin, shop, nats_is_away):
    answer = admin("GET", "/api/tenants?limit=500&sort=worst")
    assert answer.status_code == 200
    assert {(each["deadLetters"], each["lagSeconds"]) for each in answer.json["tenants"]} == {(None, None)}


def test_repairs_and_problems_are_told(shop, summary_of):
    run_of(shop, "incomplete")
    with transaction() as session:
        session.add(Repairs(tenant_id=uuid.UUID(shop.id), day=now().date(), resource="orders", repairs=3))
    summary = summary_of(shop)
    assert summary["repairsLastWeek"] == 3
    assert summary["problems"] == ["sync_incomplete", "repaired"]


def test_the_worst_first_is_paged_to_its_end_without_gaps(admin, new_shop):
    shops = [new_shop() for _ in range(6)]
    for shop in shops[1::2]:
        set_columns(shop, unauthorized_since=now())
    seen, after = [], None
    while True:
        query = {"limit": 2, "sort": "worst"} | ({"after": after} if after else {})
        page = admin("GET", "/api/tenants", query_string=query).json
        seen += [each["shopDomain"] for each in page["tenants"]]
        after = page["next"]
        if after is None:
            break
    assert len(set(seen)) == len(seen)
    worst, others = {each.domain for each in shops[1::2]}, {each.domain for each in shops[::2]}
    assert worst | others <= set(seen)
    assert max(seen.index(each) for each in worst) < min(seen.index(each) for each in others)


# --- on the command line ---------------------------------------------------------------------------------------------


def lines_of(run, *arguments):
    result = run("tenants", *arguments)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_the_list_is_a_table_of_120_columns_with_the_worst_first(run, new_shop):
    healthy, worst = new_shop(), new_shop()
    run_of(healthy)
    run_of(worst, "incomplete")
    set_columns(worst, unauthorized_since=now(), unreachable_since=now())
    title, *lines = lines_of(run, "list")
    assert max(map(len, lines)) - len(worst.domain) <= 120 - 40  # these domains are longer than any of a real shop
    assert title.split() == ["shop", "problem", "webhook", "sync", "lag", "dead", "held", "mended"]
    cells = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert cells[worst.domain] == "needs reauthorization +2 never 0 s 0 s 0 0 0"
    assert cells[healthy.domain] == "ok never 0 s 0 s 0 0 0"
    assert list(cells).index(worst.domain) < list(cells).index(healthy.domain)
    by_domain = [line.split()[0] for line in lines_of(run, "list", "--sort", "shopDomain")[1:]]
    assert by_domain == sorted(cells)


def test_without_nats_the_table_has_marks_in_its_place(run, shop, nats_is_away):
    run_of(shop)
    (line,) = (line for line in lines_of(run, "list") if line.startswith(shop.domain))
    assert line.split()[-4:] == ["?", "?", "0", "0"]


def test_one_shop_is_shown_with_all_that_is_wrong(run, shop):
    set_columns(shop, unauthorized_since=now(), missing_topics=["orders/create"])
    shown = dict(line.split(maxsplit=1) for line in lines_of(run, "show", shop.domain) if len(line.split()) > 1)
    assert shown["id"] == shop.id
    assert shown["problems"] == "needs_reauthorization, missing_topics, never_synced"


# --- in the metrics, and behind all of them --------------------------------------------------------------------------


def test_shops_are_counted_by_problem(client, shop):
    def counted():
        answer = client.get("/metrics", headers=bearer("metrics-token"))
        (family,) = (
            each for each in text_string_to_metric_families(answer.text) if each.name == "shopstream_tenant_problems"
        )
        return {sample.labels["problem"]: sample.value for sample in family.samples}

    before = counted()
    set_columns(shop, unreachable_since=now())
    assert counted()["unreachable"] == before["unreachable"] + 1


def test_deprecations_and_other_versions_are_counted(client, app):
    def counted():
        answer = client.get("/metrics", headers=bearer("metrics-token"))
        samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
        values = {sample.name: sample.value for sample in samples}
        return values["shopstream_api_deprecations_total"], values["shopstream_api_version_mismatches_total"]

    deprecations, mismatches = counted()
    with transaction() as session:
        api_notices.count(session, kind="deprecated", detail=uuid.uuid4().hex, answers=2)
        api_notices.count(session, kind="other_version", detail="2026-07", answers=3)
    assert counted() == (deprecations + 2, mismatches + 3)


def test_nats_is_asked_once_for_many_looks_also_when_it_is_away(monkeypatch):
    monkeypatch.setattr(tasks.backlogs, "FRESH", 60.0)
    asked = []

    def read():
        asked.append(1)
        raise BrokerUnavailable("away")

    backlogs = tasks.backlogs.Backlogs(read)
    assert [backlogs.now() for _ in range(3)] == [None] * 3
    assert len(asked) == 1


def owner_of(actor):
    """The name of the first argument, where that is a tenant's or a run's id."""
    function = getattr(actor.fn, "__wrapped__", actor.fn)
    first = next(iter(function.__annotations__), None)
    return first if first in {"tenant_id", "run_id"} else None


def test_every_actor_with_an_owner_names_it_for_its_dead_letters(app):
    with_owner: list[dramatiq.Actor] = [actor for actor in broker.actors.values() if owner_of(actor)]
    assert len(with_owner) >= 8
    assert [actor.actor_name for actor in with_owner if "dead_letter_lane" not in actor.options] == []
