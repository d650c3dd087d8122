"""Levels are told apart by their item and their number, and go with their item."""

from dataclasses import replace

import pytest
from sqlmodel import col, select

from models import erasure, tenants
from models.database import transaction
from models.inventory_levels import TABLE, InventoryItem, InventoryLevel
from models.tenants import TenantStatus
from models.versions import Origin, upsert
from tests.models.rows import NEW_YEAR, Version


def item(shopify_id, *levels):
    listed = [
        {"shopify_id": number, "location_shopify_id": number, "updated_at": NEW_YEAR, "available": available}
        | dict.fromkeys(("on_hand", "committed", "incoming", "reserved"))
        for number, available in levels
    ]
    return Version(shopify_id, NEW_YEAR, {"sku": f"S{shopify_id}"}, {"inventory_levels": listed})


@pytest.fixture
def levels(tenant):
    def read():
        with transaction() as session:
            found = session.exec(select(InventoryLevel).where(col(InventoryLevel.tenant_id) == tenant.id)).all()
        return {(each.inventory_item_shopify_id, each.shopify_id): each.available for each in found}

    return read


def test_levels_of_two_items_may_share_a_number(write_read, levels):
    write_read(item(1, (55, 6), (56, 7)), item(2, (55, 8)), at=10, table=TABLE)
    assert levels() == {(1, 55): 6, (1, 56): 7, (2, 55): 8}


def test_a_later_read_of_the_same_version_replaces_the_levels_and_an_earlier_one_does_not(write_read, levels):
    """A change of a level leaves its item's version as it is."""
    write_read(item(1, (55, 6), (56, 7)), item(2, (55, 8)), at=10, table=TABLE)
    write_read(item(1, (55, 5)), at=30, table=TABLE)
    assert levels() == {(1, 55): 5, (2, 55): 8}
    write_read(item(1, (55, 6), (56, 7)), at=20, table=TABLE)
    assert levels() == {(1, 55): 5, (2, 55): 8}


def test_what_an_items_webhook_does_not_hold_is_left_alone(write_read, write_webhook, levels):
    write_read(item(1, (55, 6)), at=10, table=TABLE)
    later = replace(item(1), updated_at=NEW_YEAR.replace(hour=13), children={})
    assert write_webhook(later, at=3600, table=TABLE).stored == {1}
    assert levels() == {(1, 55): 6}


def test_the_same_level_twice_in_one_list_is_one(write_read, levels):
    write_read(item(1, (55, 6), (55, 6)), at=10, table=TABLE)
    assert levels() == {(1, 55): 6}


def test_a_tenants_end_is_theirs(tenant, levels):
    with tenants.write(tenant.id) as write:
        upsert(write, TABLE, [item(1, (55, 6))], Origin(read_at=NEW_YEAR))
    with transaction() as session:
        tenants.get(session, tenant.id, for_update=True).status = TenantStatus.ERASING
    while not erasure.erase_batch(tenant.id):
        pass
    assert levels() == {}
    with transaction() as session:
        assert session.exec(select(InventoryItem).where(col(InventoryItem.tenant_id) == tenant.id)).all() == []
