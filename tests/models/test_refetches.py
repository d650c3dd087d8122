"""Marks of what is to be fetched by id: when each is due."""

from datetime import timedelta

import pytest

from models import refetches, sync_runs, tenants
from models.columns import now
from models.database import transaction
from models.sync_runs import RunStatus, SyncRun

LATER = timedelta(hours=1)


@pytest.fixture
def due(tenant):
    """How long from its last marking on it is due; None without a mark."""

    def of(shopify_id):
        with transaction() as session:
            found = refetches.get(session, tenant.id, "orders", shopify_id)
        return None if found is None else found.due_at - found.marked_at

    return of


def test_what_is_to_be_read_later_is_found_when_it_is_due_and_not_before(tenant, due, monkeypatch):
    monkeypatch.setattr(refetches, "FORGOTTEN_AFTER", timedelta(0))
    with tenants.write(tenant.id) as write:
        refetches.mark_for_later(write, "orders", 1, due_at=now() - timedelta(seconds=1))
        refetches.mark_for_later(write, "orders", 2, due_at=now() + LATER)
    with transaction() as session:
        assert [mark.shopify_id for mark in refetches.forgotten(session, limit=500) if mark.tenant_id == tenant.id] == [
            1
        ]


def test_a_mark_for_later_that_gets_a_message_is_due_with_it(tenant, due):
    with tenants.write(tenant.id) as write:
        refetches.mark_for_later(write, "orders", 1, due_at=write.at + LATER)
    assert due(1) == LATER
    with tenants.write(tenant.id) as write:
        refetches.mark(write, "orders", [1], "a webhook told of it in part")
    assert due(1) == timedelta(0)


@pytest.mark.parametrize("reason", [refetches.IN_PART, refetches.UNTOLD])
def test_what_a_sync_would_have_seen_to_is_due_with_a_message_and_when_the_sync_has_ended(tenant, due, reason):
    with tenants.write(tenant.id) as write:
        refetches.mark(write, "orders", [1, 2], reason, after=LATER)
        refetches.mark(write, "orders", [3], "another reason", after=LATER)
        refetches.mark_for_later(write, "orders", 4, due_at=write.at + LATER)
        run = sync_runs.start(write.session, tenant.id, resources=["orders"])
    with tenants.write(tenant.id) as write:
        refetches.mark(write, "orders", [1], "a webhook told of it in part")
    assert (due(1), due(2)) == (timedelta(0), LATER)
    with tenants.write(tenant.id) as write:
        sync_runs.finish(write.session, write.session.get_one(SyncRun, run.id), RunStatus.CANCELLED)
    assert due(2) < timedelta(minutes=1)
    assert (due(3), due(4)) == (LATER, LATER)


def test_a_mark_that_was_postponed_stays_so_and_is_put_off_by_none_for_later(tenant, due):
    with tenants.write(tenant.id) as write:
        refetches.mark(write, "orders", [1], "a webhook told of it in part", after=LATER)
    with tenants.write(tenant.id) as write:
        refetches.mark(write, "orders", [1], "another did")
        refetches.mark_for_later(write, "orders", 1, due_at=write.at + 5 * LATER)
    assert timedelta(0) < due(1) <= LATER
