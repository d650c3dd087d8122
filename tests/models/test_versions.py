"""Which version wins: DESIGN §4."""

import random
import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import col, select

from models import customers, orders, tenants, versions
from models.columns import now
from models.database import transaction
from models.orders import LineItem, Order
from models.seen import Scope, count_seen
from tests.models.rows import NEW_YEAR, Version


@pytest.fixture
def stored(tenant):
    def read(shopify_id=1):
        with transaction() as session:
            query = select(Order).where(col(Order.tenant_id) == tenant.id, col(Order.shopify_id) == shopify_id)
            return session.exec(query).one_or_none()

    return read


@pytest.fixture
def bury(tenant):
    def write(shopify_id=1, *, triggered_at):
        with tenants.write(tenant.id) as write:
            return versions.bury(write, orders.TABLE, shopify_id, triggered_at=triggered_at)

    return write


def test_a_newer_webhook_wins_and_an_older_one_does_not(order, write_webhook, stored):
    write_webhook(order(second=10, price="20"), at=10)
    assert write_webhook(order(second=5, price="5"), at=5).stored == frozenset()
    assert stored().current_total_price == Decimal(20)
    write_webhook(order(second=11, price="30"), at=11)
    assert stored().current_total_price == Decimal(30)


def test_of_one_second_the_webhook_that_was_triggered_later_wins(order, write_webhook, stored):
    write_webhook(order(second=10, price="20"), at=10.5)
    assert write_webhook(order(second=10, price="5"), at=10.2).stored == frozenset()
    write_webhook(order(second=10, price="30"), at=10.7)
    assert stored().current_total_price == Decimal(30)


def test_two_webhooks_of_one_second_that_differ_are_settled_by_a_fetch_whatever_their_times_say(order, write_webhook):
    write_webhook(order(second=10, price="20"), at=10.5)
    assert write_webhook(order(second=10, price="5"), at=10.2).ambiguous == {1}
    assert write_webhook(order(second=10, price="5"), at=10.9).ambiguous == {1}


def test_two_webhooks_of_one_instant_that_differ_are_ambiguous(order, write_webhook):
    write_webhook(order(second=10, price="20"), at=10.5)
    assert write_webhook(order(second=10, price="20"), at=10.5).ambiguous == frozenset()
    assert write_webhook(order(second=10, price="21"), at=10.5).ambiguous == {1}


def test_two_webhooks_of_one_instant_that_differ_in_their_lines_alone_are_ambiguous(order, write_webhook):
    line = {"shopify_id": 5, "title": "A", "quantity": 2, "current_quantity": 2}
    write_webhook(order(second=10, line_items=[line]), at=10.5)
    changed = order(second=10, line_items=[line | {"current_quantity": 1}])
    assert write_webhook(changed, at=10.5).ambiguous == {1}


def test_a_read_of_the_same_second_wins_over_a_webhook(order, write_webhook, write_read, stored):
    write_webhook(order(second=10, note="thin"), at=10.5)
    outcome = write_read(order(second=10, note="full"), at=60)
    assert (outcome.stored, outcome.ambiguous) == ({1}, frozenset())
    assert stored().note == "full"


def test_a_read_that_began_within_the_second_of_its_version_is_ambiguous_when_it_differs(
    order, write_webhook, write_read
):
    write_webhook(order(second=10, price="20"), at=10.5)
    assert write_read(order(second=10, price="10"), at=10.3).ambiguous == {1}


def test_a_webhook_after_a_read_that_saw_the_end_of_its_second_changes_nothing(
    order, write_webhook, write_read, stored
):
    write_read(order(second=10, price="20"), at=60)
    outcome = write_webhook(order(second=10, price="10"), at=10.9)
    assert (outcome.stored, outcome.ambiguous) == (frozenset(), frozenset())
    assert stored().current_total_price == Decimal(20)


def test_what_no_webhook_carries_makes_no_read_differ_from_one(order, write_webhook, write_read, stored):
    paid = order(second=10, net_payment=Decimal(10), edited=False, line_items=[])
    paid = replace(paid, children=paid.children | {"transactions": [{"shopify_id": 4, "kind": "sale"}]})
    write_webhook(order(second=10, line_items=[]), at=10.2)
    assert write_read(paid, at=10.3).ambiguous == frozenset()
    assert stored().net_payment == Decimal(10)
    assert write_webhook(order(second=10, line_items=[]), at=10.9).ambiguous == frozenset()


def test_a_webhook_after_a_read_within_its_second_is_ambiguous(order, write_webhook, write_read):
    write_read(order(second=10, price="20"), at=10.5)
    assert write_webhook(order(second=10, price="10"), at=10.9).ambiguous == {1}


def test_an_older_read_does_not_undo_a_later_read_of_the_same_second(order, write_read, stored):
    write_read(order(second=10, price="20"), at=60)
    write_read(order(second=10, price="10"), at=10.2)
    assert stored().current_total_price == Decimal(20)


def test_a_tombstone_is_raised_by_no_webhook_and_by_no_older_read(order, write_webhook, write_read, bury, stored):
    write_webhook(order(second=10), at=10)
    assert bury(triggered_at=now())
    write_webhook(order(second=500), at=500)
    write_read(order(second=500), at=501)
    assert stored().deleted_at is not None
    assert not stored().counts


def test_a_tombstone_stands_for_an_id_that_was_never_seen(order, write_webhook, bury, stored):
    bury(triggered_at=now())
    write_webhook(order(second=10), at=10)
    assert stored().deleted_at is not None
    assert stored().updated_at is None


def test_a_read_that_began_after_the_tombstone_raises_it(order, write_read, bury, stored):
    bury(triggered_at=now())
    later = (now() + timedelta(seconds=1) - NEW_YEAR).total_seconds()
    write_read(order(second=10), at=later)
    assert stored().deleted_at is None
    assert stored().counts


def test_a_deletion_that_a_later_read_contradicts_is_left_to_a_fetch(order, write_read, bury, stored):
    write_read(order(second=10), at=60)
    assert not bury(triggered_at=NEW_YEAR + timedelta(seconds=30))
    assert stored().deleted_at is None


def test_an_absent_column_is_left_alone_and_a_null_clears(tenant, order, write_webhook, stored):
    write_webhook(order(second=1, note="hello", email="a@example.com"), at=1)
    write_webhook(order(second=2, email=None), at=2)
    assert stored().note == "hello"
    assert stored().email is None


def test_children_are_replaced_from_a_complete_list_and_left_alone_without_one(tenant, order, write_webhook):
    def lines():
        with transaction() as session:
            query = select(LineItem.shopify_id).where(col(LineItem.tenant_id) == tenant.id)
            return sorted(session.exec(query).all())

    write_webhook(order(second=1, line_items=[{"shopify_id": 5}, {"shopify_id": 6}]), at=1)
    write_webhook(order(second=2), at=2)
    assert lines() == [5, 6]
    write_webhook(order(second=3, line_items=[{"shopify_id": 6}]), at=3)
    assert lines() == [6]
    write_webhook(order(second=1, line_items=[{"shopify_id": 9}]), at=1)
    assert lines() == [6]
    write_webhook(order(second=4, line_items=[]), at=4)
    assert lines() == []


def test_a_page_that_holds_an_id_twice_writes_the_newer_one(order, write_read, stored):
    write_read(order(second=2, price="2"), order(second=1, price="1"), at=60)
    assert stored().current_total_price == Decimal(2)


def test_a_run_counts_each_id_once_and_those_deleted_since_not_at_all(tenant, order, write_read, write_webhook, bury):
    run = uuid.uuid4()
    scope = Scope(created_before=NEW_YEAR + timedelta(hours=1))
    write_webhook(order(3, second=100), at=100)
    assert write_read(order(1), order(2), at=60, run_id=run).new_to_run == 2
    # A page read again, and a row whose newer version came by webhook
    assert write_read(order(1), order(2), order(3), at=61, run_id=run).new_to_run == 1
    bury(2, triggered_at=now())
    with tenants.write(tenant.id) as write:
        assert count_seen(write, orders.TABLE, run, scope) == 2
        assert count_seen(write, orders.TABLE, run, Scope(created_before=NEW_YEAR)) == 0


def test_a_row_without_a_version_is_refused(order, write_webhook):
    with pytest.raises(ValueError, match="has no updated_at"):
        write_webhook(Version(1, None, order().columns))


def test_a_merge_moves_orders_now_and_later(tenant, order, write_webhook, stored):
    write_webhook(order(1, customer_shopify_id=7), at=1)
    with tenants.write(tenant.id) as write:
        customers.merge(write, kept_id=8, deleted_id=7)
        customers.merge(write, kept_id=9, deleted_id=8)
    assert stored(1).customer_shopify_id == 9
    # When an order from before the merges arrives late
    write_webhook(order(2, customer_shopify_id=7), at=2)
    with tenants.write(tenant.id) as write:
        customers.repoint_orders(write.session, tenant.id, [2])
    assert stored(2).customer_shopify_id == 9


def test_merges_that_arrive_in_reverse_end_with_the_customer_that_is_left(tenant, order, write_webhook, stored):
    write_webhook(order(1, customer_shopify_id=7), at=1)
    with tenants.write(tenant.id) as write:
        customers.merge(write, kept_id=9, deleted_id=8)
        customers.merge(write, kept_id=8, deleted_id=7)
    assert stored(1).customer_shopify_id == 9
    write_webhook(order(2, customer_shopify_id=8), at=2)
    with tenants.write(tenant.id) as write:
        customers.repoint_orders(write.session, tenant.id, [2])
    assert stored(2).customer_shopify_id == 9


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), deleted=st.booleans())
def test_any_order_and_any_duplication_end_in_the_same_row(migrated, order, seed, deleted):
    """Versions at least a second apart, webhooks and reads mixed, a deletion among them."""
    chance = random.Random(seed)
    with transaction() as session:
        tenant, _ = tenants.create(session, shop_domain=f"{uuid.uuid4().hex}.myshopify.com")
    history = [order(second=second, price=f"{second}.50", note=f"v{second}") for second in range(6)]
    steps = [(row, chance.random() < 0.3) for row in history] + chance.choices([(row, False) for row in history], k=4)
    chance.shuffle(steps)
    burial = chance.randrange(len(steps)) if deleted else None
    for index, (row, is_read) in enumerate(steps):
        with tenants.write(tenant.id) as write:
            if index == burial:
                versions.bury(write, orders.TABLE, 1, triggered_at=now())
            at = row.updated_at + timedelta(seconds=0.5)
            told = row if is_read else replace(row, triggered_at=at)
            versions.upsert(write, orders.TABLE, [told], versions.Origin(read_at=at if is_read else None))
    with transaction() as session:
        row = session.exec(select(Order).where(col(Order.tenant_id) == tenant.id)).one()
    assert (row.deleted_at is not None) == deleted
    if not deleted:
        assert (row.note, row.current_total_price) == ("v5", Decimal("5.50"))


def test_a_bulk_file_raises_no_tombstone_and_has_the_id_fetched_if_it_was_begun_after_it(
    order, write_read, write_bulk, bury, stored
):
    write_read(order(second=0), at=5)
    bury(triggered_at=now())
    buried_at = (stored().deleted_at - NEW_YEAR).total_seconds()
    before = write_bulk(order(second=0), at=buried_at - 10)
    assert (before.stored, before.ambiguous) == (frozenset(), frozenset())
    after = write_bulk(order(second=0), at=buried_at + 10)
    assert (after.stored, after.ambiguous) == (frozenset(), {1})
    assert stored().deleted_at is not None


def test_a_bulk_file_loses_against_what_was_updated_while_it_was_written(
    order, write_read, write_webhook, write_bulk, stored
):
    write_webhook(order(second=10, price="20"), at=10.5)
    assert write_bulk(order(second=9, price="5"), at=8).stored == frozenset()
    write_read(order(second=12, price="30"), at=30)
    assert write_bulk(order(second=12, price="30"), at=8).stored == frozenset()
    assert stored().current_total_price == Decimal(30)


def test_a_bulk_file_that_began_before_the_second_of_a_version_was_over_has_it_fetched(
    order, write_webhook, write_bulk
):
    write_webhook(order(second=10, price="20"), at=10.5)
    assert write_bulk(order(second=10, price="25"), at=8).ambiguous == {1}
