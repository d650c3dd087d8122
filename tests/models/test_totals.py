"""The totals that triggers keep equal what the rows add up to, whatever was done to the rows."""

import threading
import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from models import customers, orders, tenants, versions
from models.columns import now
from models.database import transaction
from tests.models.rows import NEW_YEAR

_ADDED_UP = {
    "daily_sales": """
        select day, currency, count(*) as orders, sum(current_total_price) as revenue
        from orders where tenant_id = :id and counts group by day, currency order by 1, 2
    """,
    "customer_sales": """
        select customer_shopify_id, currency, count(*) as orders_count, sum(current_total_price) as total_spent
        from orders where tenant_id = :id and counts and customer_shopify_id is not null group by 1, 2 order by 1, 2
    """,
}
_KEPT = {
    "daily_sales": "select day, currency, orders, revenue from daily_sales where tenant_id = :id and orders <> 0 order by 1, 2",
    "customer_sales": """
        select customer_shopify_id, currency, orders_count, total_spent
        from customer_sales where tenant_id = :id and orders_count <> 0 order by 1, 2
    """,
}


def assert_totals_are_exact(tenant_id):
    with transaction() as session:
        for table, added_up in _ADDED_UP.items():
            expected = session.execute(text(added_up), {"id": tenant_id}).all()
            assert session.execute(text(_KEPT[table]), {"id": tenant_id}).all() == expected, table
        live = session.execute(
            text("select count(*) from orders where tenant_id = :id and deleted_at is null and updated_at is not null"),
            {"id": tenant_id},
        ).scalar_one()
        kept = text("select live from resource_totals where tenant_id = :id and resource = 'orders'")
        assert (session.execute(kept, {"id": tenant_id}).scalar() or 0) == live


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "bury", "merge", "move", "erase"]),
        st.integers(1, 4),
        st.integers(0, 30),
        st.fixed_dictionaries(
            {
                "test": st.booleans(),
                "cancelled_at": st.sampled_from([None, NEW_YEAR]),
                "currency": st.sampled_from(["USD", "EUR"]),
                "customer_shopify_id": st.sampled_from([None, 7, 8, 9]),
                "processed_at": st.sampled_from([NEW_YEAR, NEW_YEAR + timedelta(hours=13), None]),
                "current_total_price": st.decimals("-5", "1000", places=2),
            }
        ),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_totals_equal_the_sum_of_the_rows_after_anything(migrated, order, steps):
    with transaction() as session:
        tenant, _ = tenants.create(session, shop_domain=f"{uuid.uuid4().hex}.myshopify.com")
    for kind, shopify_id, second, columns in steps:
        with tenants.write(tenant.id) as write:
            if kind == "write":
                at = NEW_YEAR + timedelta(seconds=second)
                row = replace(order(shopify_id, second=second, **columns), triggered_at=at)
                versions.upsert(write, orders.TABLE, [row], versions.Origin())
            elif kind == "bury":
                versions.bury(write, orders.TABLE, shopify_id, triggered_at=now())
            elif kind == "merge":
                customers.merge(write, kept_id=7 + second % 3, deleted_id=10 + second % 3)
            elif kind == "move":
                orders.rebuild_days(write, ["UTC", "Asia/Tokyo", "America/New_York"][second % 3])
            else:
                query = text("delete from orders where tenant_id = :id and shopify_id = :order")
                write.session.execute(query, {"id": tenant.id, "order": shopify_id})
    assert_totals_are_exact(tenant.id)


def test_two_writers_of_one_shop_add_up(tenant, order, write_webhook):
    def write(first):
        for number in range(first, first + 20):
            write_webhook(order(number, price="1.10"), order(number + 1000, price="2.20"), at=1)

    threads = [threading.Thread(target=write, args=(index * 20 + 1,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_totals_are_exact(tenant.id)
    with transaction() as session:
        query = text("select sum(orders), sum(revenue) from daily_sales where tenant_id = :id")
        assert session.execute(query, {"id": tenant.id}).one() == (160, Decimal("264.00"))


def test_what_is_erased_is_taken_off(tenant, order, write_webhook):
    write_webhook(order(1, price="5"), order(2, price="6"), at=1)
    with transaction() as session:
        session.execute(text("delete from orders where tenant_id = :id and shopify_id = 1"), {"id": tenant.id})
    assert_totals_are_exact(tenant.id)


def test_writers_that_meet_in_opposite_order_wait_for_each_other(tenant, order):
    """Without the tenant's lock this is a deadlock, and one of the two is thrown out."""
    failures = []

    def write(numbers):
        try:
            for second in range(15):
                with tenants.write(tenant.id) as write:
                    for number in numbers:
                        at = NEW_YEAR + timedelta(seconds=second)
                        row = order(number, second=second, processed_at=NEW_YEAR + timedelta(days=number))
                        versions.upsert(write, orders.TABLE, [row], versions.Origin(read_at=at))
        except sqlalchemy.exc.OperationalError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(numbers,)) for numbers in ([1, 2], [2, 1], [1, 2], [2, 1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_totals_are_exact(tenant.id)
