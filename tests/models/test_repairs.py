"""Repairs are counted by the day, and kept for a quarter."""

from datetime import timedelta

from sqlmodel import col, select

from models import repairs, tenants, watermarks
from models.columns import now
from models.database import transaction
from models.repairs import Repairs


def days_of(tenant):
    with transaction() as session:
        found = session.exec(select(Repairs).where(col(Repairs.tenant_id) == tenant.id).order_by(col(Repairs.day)))
        return [(each.day, each.resource, each.repairs) for each in found]


def test_repairs_of_a_day_add_up_by_resource(tenant):
    for resource, number in (("orders", 2), ("orders", 3), ("customers", 1), ("products", 0)):
        with tenants.write(tenant.id) as write:
            watermarks.raise_to(write, resource, write.at, repairs=number)
    today = now().date()
    assert sorted(days_of(tenant)) == [(today, "customers", 1), (today, "orders", 5)]


def test_days_are_dropped_after_their_time(tenant):
    today = now().date()
    old, kept = today - repairs.KEPT_FOR - timedelta(days=1), today - repairs.KEPT_FOR
    with transaction() as session:
        session.add_all(Repairs(tenant_id=tenant.id, day=day, resource="orders", repairs=1) for day in (old, kept))
    with transaction() as session:
        repairs.prune(session)
    assert days_of(tenant) == [(kept, "orders", 1)]
