"""A shop that leaves while everything of it is under way leaves nothing."""

import json
import uuid

import pytest
import sqlalchemy

from models import redactions, refetches, tenants
from models.columns import now
from models.database import engine, transaction
from models.refetches import Refetch
from models.tenants import TenantStatus
from models.watermarks import Watermark
from tests.tasks.test_compliance import the_customer, the_order
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long


def rows_of(tenant_id):
    """How many rows each table holds of a tenant: by its id, or in a text."""
    found = {}
    with engine().connect() as connection:
        for table in sqlalchemy.inspect(connection).get_table_names():
            query = f'select count(*) from "{table}" as it where row_to_json(it)::text like :id'
            if table == "dramatiq_outbox":
                query = f"select count(*) from {table} where position(cast(:id as bytea) in message) > 0"
            named = str(tenant_id) if table == "dramatiq_outbox" else f"%{tenant_id}%"
            count = connection.execute(sqlalchemy.text(query), {"id": named}).scalar_one()
            if count:
                found[table] = count
    return found


def messages_of(shop, runs):
    from tasks import broker  # noqa: PLC0415

    named = [each.encode() for each in (str(shop.tenant_id), *map(str, runs))]
    return [(held.place, held.actor) for held in broker.contents.each() if any(each in held.body for each in named)]


def test_offboarding_with_everything_under_way_leaves_nothing(open_shop, worker, tell, monkeypatch):
    from tasks import broker, catching_up, deliveries, fetches, offboarding, sync, webhooks  # noqa: PLC0415
    from tasks.outbox import outbox  # noqa: PLC0415

    shop = open_shop(orders=3000, customers=1000)
    # Given a dead letter, a half-told resource, marks and a watermark
    with monkeypatch.context() as broken:
        broken.setattr(deliveries, "write", lambda *_: 1 / 0)
        broken.setitem(webhooks.process_webhooks.options, "max_retries", 0)
        tell(shop, "customers/create", the_customer())
        eventually(lambda: broker.dead_letters.count(lane=str(shop.tenant_id)) == 1)
    with tenants.write(shop.tenant_id) as write:
        redactions.mark(write, "customers", [5])
        refetches.mark(write, "orders", [1], "a test")
        write.session.get(Refetch, (shop.tenant_id, "orders", 1)).due_at = now()
        write.session.add(Watermark(tenant_id=shop.tenant_id, resource="orders", updated_until=now(), checked_at=now()))
    for number in range(20):
        tell(shop, "orders/create", the_order(number + 1, refunds=[{"id": 7, "transactions": []}]))
    # And a running sync, a step of it that died, delayed fetches, a look, and a message that waits for its commit's relay
    run_id = sync.begin(shop.tenant_id)
    message = sync.advance.message(str(run_id), "orders", 0, 0)
    broker.dead_letters.put("sync", message.encode(), message, error="test", publish_id=uuid.uuid4().hex)
    fetches.fetch_resource.send_with_options(args=(str(shop.tenant_id), "orders", 1), delay=3_600_000)
    catching_up.catch_up.send(str(shop.tenant_id))
    webhook = webhooks.process_webhooks.message(str(shop.tenant_id), {"text": json.dumps(the_order())})
    broker.enqueue(webhook, delay=3_600_000)
    eventually(lambda: shop.figures()["countingOrders"])
    with transaction() as session:
        set_aside = outbox.table.insert().values(
            publish_id=uuid.uuid4().hex,
            queue="webhooks",
            actor="process_webhooks",
            message=webhook.encode(),
            enqueued_at=0,
            error="it can never be stored",
        )
        session.execute(set_aside)
    runs = [run_id]
    assert len(rows_of(shop.tenant_id)) > 8
    assert len(messages_of(shop, runs)) >= 4
    # When the shop leaves
    with transaction() as session:
        offboarding.begin(session, tenants.get(session, shop.tenant_id, for_update=True))
    # Then no row of any table names it, and no message
    eventually(lambda: rows_of(shop.tenant_id) == {}, timeout=60)
    eventually(lambda: messages_of(shop, runs) == [], timeout=60)


def test_an_erasure_that_was_killed_before_its_last_look_at_nats_is_finished(shop, worker, tell):
    from tasks import broker, offboarding, shops, webhooks  # noqa: PLC0415

    shops._budgets().put(shop.domain, b"{}")
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id, for_update=True)
        tenant.status = TenantStatus.ERASING
    offboarding.erase_tenant.fn(str(shop.tenant_id))
    assert shops._budgets().get(shop.domain) is None
    webhook = webhooks.process_webhooks.message(str(shop.tenant_id), {"text": "{}"})
    broker.enqueue(webhook, delay=3_600_000)
    offboarding.erase_tenant.send(str(shop.tenant_id), [])  # as it is redelivered
    eventually(lambda: messages_of(shop, []) == [])
