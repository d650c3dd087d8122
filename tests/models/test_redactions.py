"""Whoever is redacted stays so, whatever writes: webhooks, reads, bulk files, replays."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy
from sqlmodel import col, select

from models import customers, forgetting, orders, quarantine, redactions, staging, tenants
from models.customers import Customer
from models.database import transaction
from models.orders import LineItem, Order
from models.quarantine import Quarantined
from models.resources import TABLES
from models.versions import Origin, upsert
from tests.models.rows import NEW_YEAR, Version

#: Text that names nobody: Shopify's own words, and what describes the shop's wares.
IMPERSONAL = {
    "customers": set(),
    "orders": {
        "name",
        "currency",
        "presentment_currency",
        "financial_status",
        "fulfillment_status",
        "cancel_reason",
        "source_name",
        "payment_gateway_names",
    },
    "line_items": {"sku", "vendor", "tax_lines"},
    "shipping_lines": {"tax_lines"},
    "refunds": {"adjustments"},
    "refund_line_items": {"restock_type"},
    "transactions": {"kind", "status", "gateway", "error_code"},
}
#: Types of columns that are no text.
FIGURES = (
    sqlalchemy.Integer,
    sqlalchemy.Numeric,
    sqlalchemy.Boolean,
    sqlalchemy.DateTime,
    sqlalchemy.Date,
    sqlalchemy.Uuid,
)
ORIGINS = {
    "webhook": Origin(),
    "replay": Origin(is_replay=True),
    "read": Origin(read_at=NEW_YEAR + timedelta(minutes=1)),
    "bulk": Origin(read_at=NEW_YEAR + timedelta(minutes=1), is_bulk=True),
}


@pytest.fixture(params=["json", "copy"])
def _way(request, monkeypatch):
    """How rows travel, however few they are."""
    monkeypatch.setattr(staging, "MANY", 1 if request.param == "copy" else 10**9)


@pytest.fixture
def mark(tenant):
    def write(resource, *ids):
        with tenants.write(tenant.id) as write:
            redactions.mark(write, resource, ids)

    return write


@pytest.fixture
def stored(tenant):
    def read(model=Order, **chosen):
        with transaction() as session:
            query = select(model).where(col(model.tenant_id) == tenant.id)
            for name, value in chosen.items():
                query = query.where(col(getattr(model, name)) == value)
            return session.exec(query).one()

    return read


def line(shopify_id, title):
    blank = dict.fromkeys(set(LineItem.model_fields) - {"tenant_id", "order_shopify_id"})
    return {**blank, "shopify_id": shopify_id, "title": title}


@pytest.mark.parametrize("table", ["orders", "customers"])
def test_of_every_text_it_is_decided_whether_it_may_name_a_person(table):
    """A new column of text has to be named here or in its table's ``personal``."""
    resource = TABLES[table]
    shared = {"children_digest"}
    models = {table: resource.model} | {name: model for name, (model, _) in resource.children.items()}
    for name, model in models.items():
        columns = sqlalchemy.inspect(model).columns
        texts = {each.name for each in columns if not isinstance(each.type, FIGURES)}
        personal = set(resource.personal_columns(None if name == table else name))
        assert texts - shared - personal == IMPERSONAL[name], name
        assert personal <= set(columns.keys()), name


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
def test_no_writer_names_a_redacted_customer(tenant, order, mark, stored, origin):
    mark("customers", 7)
    version = order(1, email="ada@example.com", note="hers", line_items=[line(11, "hers")])
    other = order(2, email="bo@example.com", note="his", customer_shopify_id=8, line_items=[line(22, "his")])
    guest = order(3, email="guest@example.com", customer_shopify_id=None)
    person = Version(7, NEW_YEAR, {"email": "ada@example.com", "first_name": "Ada", "created_at": NEW_YEAR})
    with tenants.write(tenant.id) as write:
        rows = [replace(row, triggered_at=NEW_YEAR) for row in (version, other, guest)]
        upsert(write, orders.TABLE, rows, origin)
        upsert(write, customers.TABLE, [replace(person, triggered_at=NEW_YEAR)], origin)
    hers, his, guests = (stored(shopify_id=number) for number in (1, 2, 3))
    assert (hers.email, hers.note, hers.current_total_price, hers.customer_shopify_id) == (None, None, 10, 7)
    assert (his.email, his.note, guests.email) == ("bo@example.com", "his", "guest@example.com")
    titles = [stored(LineItem, order_shopify_id=number).title for number in (1, 2)]
    assert titles == [None, "his"]
    customer = stored(Customer)
    assert (customer.email, customer.first_name, customer.created_at) == (None, None, NEW_YEAR)


def test_an_order_of_a_redacted_customer_stays_so_when_it_loses_its_customer(write_webhook, order, mark, stored):
    mark("customers", 7)
    write_webhook(order(1, email="ada@example.com"))
    write_webhook(order(1, second=5, email="ada@example.com", customer_shopify_id=None), at=5)
    assert (stored().customer_shopify_id, stored().email) == (None, None)


def test_a_guests_order_obeys_its_own_mark(write_webhook, order, mark, stored):
    mark("orders", 1)
    write_webhook(order(1, email="guest@example.com", customer_shopify_id=None, line_items=[line(11, "hers")]))
    assert (stored().email, stored(LineItem).title) == (None, None)


def test_another_tenants_customer_of_the_same_id_is_somebody_else(tenant, write_webhook, order, stored):
    with transaction() as session:
        other, _ = tenants.create(session, shop_domain=f"other-{tenant.shop_domain}")
    with tenants.write(other.id) as write:
        redactions.mark(write, "customers", [7])
    write_webhook(order(1, email="ada@example.com"))
    with tenants.write(other.id) as write:
        forgetting.forget(write, emails=["ada@example.com"])
    assert stored().email == "ada@example.com"


def test_forgetting_follows_merges_and_is_done_once(tenant, write_webhook, order, mark, stored):
    for number in (6, 7, 8):
        write_webhook(Version(number, NEW_YEAR, {"email": f"{number}@example.com"}), table=customers.TABLE)
    write_webhook(order(1, email="old@example.com", customer_shopify_id=6))
    with tenants.write(tenant.id) as write:
        customers.merge(write, kept_id=7, deleted_id=6)
    mark("customers", 7)
    with tenants.write(tenant.id) as write:
        first = forgetting.forget(write)
        second = forgetting.forget(write)
    assert (first, second) == ({"customers": 2, "orders": 1}, {})
    emails = [stored(Customer, shopify_id=number).email for number in (6, 7, 8)]
    assert emails == [None, None, "8@example.com"]


def test_a_late_payload_that_names_a_marked_order_is_of_a_marked_person(tenant, mark):
    mark("orders", 60_007)
    with tenants.write(tenant.id) as write:
        assert redactions.is_of_marked(write, "orders/updated", None, '{"id": 60007, "email": "ada@example.com"')
        assert not redactions.is_of_marked(write, "orders/updated", None, '{"id": 600070')


def test_quarantined_payloads_are_withheld_by_id_and_by_address(tenant, mark):
    held = {
        "by its own id": ("customers", 70_007, {"any": 1}),
        "by the customer inside": ("orders", 1, {"customer": {"id": 70_007}}),
        "by the global id": ("orders/create", None, '{"customer":"gid://shopify/Customer/70007"}'),
        "by address": ("orders/create", None, {"email": "Zoë+x@Example.com"}),
        "not at all": ("orders", 2, {"customer": {"id": 700_070}, "email": "zo@example.com"}),
    }
    with tenants.write(tenant.id) as write:
        for reason, (resource, shopify_id, payload) in held.items():
            said = json.dumps(payload)
            quarantine.hold(write, resource=resource, shopify_id=shopify_id, reason=reason, payload=said, source="")
    mark("customers", 70_007)
    with tenants.write(tenant.id) as write:
        assert forgetting.forget(write, emails=["zoë+x@example.com"]) == {"quarantine": 4}
    with transaction() as session:
        found = session.exec(select(Quarantined).where(col(Quarantined.tenant_id) == tenant.id)).all()
    assert {row.reason for row in found if row.payload != forgetting.WITHHELD} == {"not at all"}
