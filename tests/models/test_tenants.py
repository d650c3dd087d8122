"""Tenants: who may be written for, and what is kept of their secrets."""

import threading
import uuid

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlmodel import col, select

from models import erasure, event_log, tenants
from models.database import transaction
from models.event_log import Event, Level
from models.tenants import ShopAlreadyExists, Tenant, TenantInactive, TenantStatus


def set_status(tenant, status):
    with transaction() as session:
        tenants.get(session, tenant.id, for_update=True).status = status


@pytest.mark.parametrize("status", [TenantStatus.PAUSED, TenantStatus.UNINSTALLED, TenantStatus.ERASING])
def test_nothing_is_written_for_a_tenant_that_is_not_active(tenant, status):
    set_status(tenant, status)
    with pytest.raises(TenantInactive), tenants.write(tenant.id):
        pass


def test_nothing_is_written_for_a_tenant_that_nobody_knows(migrated):
    with pytest.raises(TenantInactive), tenants.write(uuid.uuid4()):
        pass


def test_an_offboarding_waits_for_the_write_that_is_under_way(tenant):
    written, offboarded = threading.Event(), threading.Event()

    def offboard():
        written.wait(10)
        set_status(tenant, TenantStatus.ERASING)
        offboarded.set()

    thread = threading.Thread(target=offboard)
    thread.start()
    with tenants.write(tenant.id) as write:
        written.set()
        assert not offboarded.wait(0.3)
        event_log.record(write, Level.INFO, "test", "still here")
    thread.join(10)
    assert offboarded.is_set()


def test_a_domain_is_one_tenants_until_that_is_being_erased(tenant):
    with pytest.raises(ShopAlreadyExists), transaction() as session:
        tenants.create(session, shop_domain=tenant.shop_domain)
    set_status(tenant, TenantStatus.ERASING)
    with transaction() as session:
        again, _ = tenants.create(session, shop_domain=tenant.shop_domain)
    assert again.id != tenant.id


def test_an_api_token_finds_its_tenant_until_it_is_rotated(migrated):
    with transaction() as session:
        tenant, token = tenants.create(session, shop_domain=f"{uuid.uuid4().hex}.myshopify.com")
    with transaction() as session:
        assert tenants.of_api_token(session, token).id == tenant.id
        new = tenants.rotate_api_token(session, tenants.get(session, tenant.id))
    with transaction() as session:
        assert tenants.of_api_token(session, token) is None
        assert tenants.of_api_token(session, new).id == tenant.id


def test_secrets_are_encrypted_at_rest_and_appear_in_no_repr(migrated):
    with transaction() as session:
        tenant, token = tenants.create(
            session,
            shop_domain=f"{uuid.uuid4().hex}.myshopify.com",
            access_token=SecretStr("shpat_plain"),
            client_secret=SecretStr("client_plain"),
            webhook_secret=SecretStr("webhook_plain"),
        )
    with transaction() as session:
        stored = str(session.execute(text("select * from tenants where id = :id"), {"id": tenant.id}).one())
        read = tenants.get(session, tenant.id)
        assert read.access_token.get_secret_value() == "shpat_plain"
        assert read.webhook_secret.get_secret_value() == "webhook_plain"
    for secret in ("shpat_plain", "client_plain", "webhook_plain", token):
        assert secret not in stored
        assert secret not in repr(read)


def test_erasing_leaves_nothing_of_a_tenant_and_everything_of_others(tenant, order, write_webhook, monkeypatch):
    monkeypatch.setattr(erasure, "BATCH", 3)
    write_webhook(*[order(number, line_items=[{"shopify_id": number}]) for number in range(1, 8)], at=1)
    with transaction() as session:
        other, _ = tenants.create(session, shop_domain=f"{uuid.uuid4().hex}.myshopify.com")
    for each in (tenant, other):
        with tenants.write(each.id) as write:
            event_log.record(write, Level.INFO, "test", "hello")
    set_status(tenant, TenantStatus.ERASING)
    batches = 0
    while not erasure.erase_batch(tenant.id):
        batches += 1
    assert batches > 2
    with transaction() as session:
        with_tenants = session.execute(
            text(
                "select table_name from information_schema.columns where column_name = 'tenant_id' and table_schema = 'public'"
            )
        ).scalars()
        for table in with_tenants:
            query = text(f"select count(*) from {table} where tenant_id = :id")
            assert session.execute(query, {"id": tenant.id}).scalar_one() == 0, table
        assert session.exec(select(Tenant).where(col(Tenant.id) == tenant.id)).one_or_none() is None
        assert session.exec(select(Event).where(col(Event.tenant_id) == other.id)).one().message == "hello"


def test_only_a_tenant_that_is_being_erased_is_erased(tenant):
    with pytest.raises(ValueError, match="is not being erased"):
        erasure.erase_batch(tenant.id)
