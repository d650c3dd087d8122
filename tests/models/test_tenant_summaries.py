"""What is wrong with each shop, and which of them are worse."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import text

from models import quarantine, sync_runs, tenant_summaries, tenants
from models.columns import now
from models.database import transaction
from models.repairs import Repairs
from models.sync_runs import RunStatus
from models.tenant_summaries import LAGGING, Backlog, ShopProblem
from models.tenants import TenantStatus
from models.webhook_deliveries import DeliveryStatus, WebhookDelivery


@pytest.fixture
def new_tenant(migrated):
    """A tenant with these columns, whose newest run ended as ``synced`` says."""

    def make(*, synced="completed", **columns):
        with transaction() as session:
            tenant, _ = tenants.create(session, shop_domain=f"{uuid.uuid4().hex}.myshopify.com")
            for name, value in columns.items():
                setattr(tenant, name, value)
            session.add(tenant)
            if synced is not None:
                ran(session, tenant, synced)
        return tenant

    return make


def ran(session, tenant, status):
    run = sync_runs.start(session, tenant.id, resources=["orders"])
    sync_runs.finish(session, run, RunStatus(status))
    return run.id


def of(tenant, *backlogs):
    with transaction() as session:
        return tenant_summaries.of(session, backlogs, tenant.id)


def hold(tenant):
    with tenants.write(tenant.id) as write:
        quarantine.hold(write, resource="orders", shopify_id=1, reason="NUL", payload="{}", source="test")


def repair(tenant, *, days_ago, number=1):
    with transaction() as session:
        day = now().date() - timedelta(days=days_ago)
        session.add(Repairs(tenant_id=tenant.id, day=day, resource="orders", repairs=number))


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_a_healthy_shop_has_no_problem(new_tenant):
    summary = of(new_tenant())
    assert (summary.problems, summary.severity, summary.state) == ([], [99], "active")
    assert (summary.dead_letters, summary.lag_seconds, summary.repairs_last_week) == (0, 0.0, 0)


@pytest.mark.parametrize(
    ("problem", "columns"),
    [
        ("needs_reauthorization", {"unauthorized_since": now()}),
        ("unreachable", {"unreachable_since": now()}),
        ("sync_failed", {"synced": "failed"}),
        ("missing_topics", {"missing_topics": ["orders/create"]}),
        ("sync_incomplete", {"synced": "incomplete"}),
        ("never_synced", {"synced": None}),
        ("uninstalled", {"status": TenantStatus.UNINSTALLED}),
        ("paused", {"status": TenantStatus.PAUSED}),
    ],
)
def test_each_thing_that_is_wrong_is_named(new_tenant, problem, columns):
    assert of(new_tenant(**columns)).problems == [problem]


def test_what_is_held_and_what_was_mended_is_named(new_tenant):
    tenant = new_tenant()
    hold(tenant)
    repair(tenant, days_ago=0)
    assert of(tenant).problems == ["quarantined", "repaired"]
    assert of(tenant).quarantined == 1


def test_problems_stand_in_the_order_of_their_names(new_tenant):
    wrong = {"unauthorized_since": now(), "unreachable_since": now(), "missing_topics": ["orders/create"]}
    found = set()
    for columns in ({"synced": "failed"}, {"synced": "incomplete"}, {"synced": None}):
        tenant = new_tenant(**wrong, **columns)
        hold(tenant)
        repair(tenant, days_ago=0)
        problems = of(tenant, Backlog(tenant.id, dead_letters=1, lag_seconds=LAGGING + 1)).problems
        assert problems == sorted(problems, key=list(ShopProblem).index)
        found |= set(problems)
    assert found == set(ShopProblem) - {"uninstalled", "paused"}


@pytest.mark.parametrize("status", [TenantStatus.UNINSTALLED, TenantStatus.PAUSED])
def test_a_shop_that_rests_has_no_problems_but_what_waits_for_a_person(new_tenant, status):
    wrong = {"unauthorized_since": now(), "missing_topics": ["orders/create"], "synced": "failed"}
    tenant = new_tenant(status=status, **wrong)
    assert of(tenant, Backlog(tenant.id, dead_letters=2, lag_seconds=900)).problems == ["dead_letters", str(status)]


def test_only_the_newest_sync_counts(new_tenant):
    tenant = new_tenant(synced="failed")
    with transaction() as session:
        ran(session, tenant, "completed")
    assert of(tenant).problems == []


def test_repairs_count_for_seven_days(new_tenant):
    tenant = new_tenant()
    repair(tenant, days_ago=7, number=100)
    assert (of(tenant).repairs_last_week, of(tenant).problems) == (0, [])
    for days_ago, number in ((6, 2), (0, 3)):
        repair(tenant, days_ago=days_ago, number=number)
    assert (of(tenant).repairs_last_week, of(tenant).problems) == (5, ["repaired"])


# --- backlogs --------------------------------------------------------------------------------------------------------


def test_dead_letters_of_a_shops_runs_are_the_shops(new_tenant):
    tenant, other = new_tenant(), new_tenant()
    with transaction() as session:
        runs = [ran(session, tenant, "completed") for _ in range(2)]
    told = [Backlog(owner, dead_letters=number, lag_seconds=0.0) for number, owner in enumerate(runs, start=1)]
    told += [Backlog(tenant.id, dead_letters=4, lag_seconds=12.5), Backlog(uuid.uuid4(), 7, 900.0)]
    assert (of(tenant, *told).dead_letters, of(tenant, *told).lag_seconds) == (7, 12.5)
    assert (of(other, *told).dead_letters, of(other, *told).lag_seconds) == (0, 0.0)


def test_a_shop_lags_behind_when_its_webhooks_wait_longer_than_a_burst(new_tenant):
    tenant = new_tenant()
    assert of(tenant, Backlog(tenant.id, 0, float(LAGGING))).problems == []
    assert of(tenant, Backlog(tenant.id, 0, LAGGING + 1.0)).problems == ["lagging"]


def test_a_lag_that_nobody_looked_at_is_unknown(new_tenant):
    tenant = new_tenant()
    summary = of(tenant, Backlog(tenant.id, dead_letters=1, lag_seconds=None))
    assert (summary.dead_letters, summary.lag_seconds) == (1, None)


def test_without_backlogs_the_rest_is_told(new_tenant):
    tenant = new_tenant(synced="failed")
    with transaction() as session:
        summary = tenant_summaries.of(session, None, tenant.id)
    assert (summary.dead_letters, summary.lag_seconds, summary.problems) == (None, None, ["sync_failed"])


# --- the worst first -------------------------------------------------------------------------------------------------


def everybody(*backlogs, page=None):
    """All domains, the worst first, read ``page`` at a time."""
    found, after = [], None
    with transaction() as session:
        while True:
            some = tenant_summaries.worst(session, backlogs, after=after, limit=page)
            found += [each.shop_domain for each in some]
            if page is None or len(some) < page:
                return found
            after = some[-1].place


def test_the_worst_come_first_and_more_problems_before_fewer(new_tenant):
    # Given shops that were made in no order
    healthy = new_tenant()
    paused = new_tenant(status=TenantStatus.PAUSED)
    failed = new_tenant(synced="failed")
    dead = new_tenant()
    unauthorized = new_tenant(unauthorized_since=now())
    both = new_tenant(unauthorized_since=now(), missing_topics=["orders/create"])
    lagging = new_tenant()
    backlogs = [Backlog(dead.id, 1, 0.0), Backlog(lagging.id, 0, LAGGING + 1.0)]
    mine = [each.shop_domain for each in (both, unauthorized, failed, dead, lagging, paused, healthy)]
    assert [domain for domain in everybody(*backlogs) if domain in set(mine)] == mine


def test_pages_of_the_worst_first_leave_none_out_and_tell_none_twice(new_tenant):
    # Given several shops with each of some problems
    for columns in ({}, {"unauthorized_since": now()}, {"synced": "failed"}, {"synced": None}):
        for _ in range(3):
            new_tenant(**columns)
    whole = everybody()
    assert len(set(whole)) == len(whole)
    for size in (1, 2, 7):
        assert everybody(page=size) == whole


def test_equally_bad_shops_come_by_domain(new_tenant):
    for _ in range(4):
        new_tenant(synced="failed", unreachable_since=now())
    with transaction() as session:
        found = tenant_summaries.worst(session, [], after=None, limit=None)
    alike = [each.shop_domain for each in found if each.problems == ["unreachable", "sync_failed"]]
    assert len(alike) >= 4
    assert alike == sorted(alike)


# --- what it costs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def many(migrated):
    """A thousand shops with a history, in a transaction that is undone."""
    with transaction() as session:
        session.execute(
            text("""
            insert into tenants (id, shop_domain, status, timezone, scopes, missing_topics, created_at)
            select gen_random_uuid(), 'many-' || number || '.myshopify.com', 'active', 'UTC', '{}', '{}', now()
            from generate_series(1, 1000) as number
            """)
        )
        session.execute(
            text("""
            insert into webhook_deliveries
                (tenant_id, webhook_id, body_digest, topic, received_at, processed_at, status, repeats)
            select id, number, '', 'orders/create', now(), now(), 'written', 0
            from tenants, generate_series(1, 20) as number where shop_domain like 'many-%'
            """)
        )
        for table in ("tenants", "webhook_deliveries", "sync_runs", "quarantine", "repairs"):
            session.execute(text(f"analyze {table}"))
        session.execute(text("set local enable_seqscan = off"))  # small tables are read whole otherwise
        yield session
        session.rollback()


def plan_of(session, choice, **values):
    query = text(f"explain {tenant_summaries._SUMMARIES} {choice}")
    return "\n".join(session.execute(query, tenant_summaries._values([]) | values).scalars())


@pytest.mark.parametrize("order", ["shop_domain", "severity, shop_domain"])
def test_no_shops_history_is_read_to_list_it(many, order):
    plan = plan_of(many, f"order by {order} limit 100")
    for index in ("webhook_deliveries_received", "sync_runs_newest", "quarantine_unresolved", "repairs_pkey"):
        assert index in plan
    assert "Seq Scan" not in plan


def test_a_page_by_domain_reads_no_more_shops_than_it_shows(many):
    plan = plan_of(many, "order by shop_domain limit 100")
    assert "tenants_shop_domain" in plan
    assert "Sort Key: tenants.shop_domain" not in plan


def test_webhooks_and_syncs_are_told_by_their_newest(new_tenant):
    tenant = new_tenant()
    with transaction() as session:
        for minutes in (5, 1, 9):
            at = now() - timedelta(minutes=minutes)
            delivery = WebhookDelivery(
                tenant_id=tenant.id,
                webhook_id=str(minutes),
                body_digest="",
                topic="orders/create",
                received_at=at,
                status=DeliveryStatus.WRITTEN,
            )
            session.add(delivery)
    summary = of(tenant)
    assert timedelta(minutes=1) <= now() - summary.last_webhook_at < timedelta(minutes=2)
    assert (summary.last_sync_status, summary.last_sync_at is not None) == ("completed", True)


# --- counted ---------------------------------------------------------------------------------------------------------


def test_shops_are_counted_by_their_problems(new_tenant):
    def count(backlogs=()):
        with transaction() as session:
            return tenant_summaries.census(session, backlogs).by_problem

    before = count()
    assert before.keys() == {*ShopProblem, "none"}
    new_tenant()
    new_tenant(synced="failed", unreachable_since=now())
    dead = new_tenant()
    after = count([Backlog(dead.id, 3, 0.0)])
    risen = {problem: number - before[problem] for problem, number in after.items() if number != before[problem]}
    assert risen == {"none": 1, "sync_failed": 1, "unreachable": 1, "dead_letters": 1}
    # What is not known is not told as zero
    assert before.keys() - count(None).keys() == {"dead_letters", "lagging", "none"}
