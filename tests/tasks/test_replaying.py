"""A mapping mistake is mended from the payloads as they were received."""

import json
import zlib
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlmodel import col, select

from models import payloads, redactions, tenants
from models.columns import now
from models.database import transaction
from models.orders import LineItem, Order
from models.payloads import Payload
from models.versions import Origin
from shopify.resources import RESOURCES
from tests.tasks.rows import one
from tests.tasks.test_webhooks import an_order
from tests.tasks.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("worker")]

LATER = "2026-03-02T10:00:00-05:00"


@pytest.fixture
def mistake(monkeypatch):
    """Webhooks' orders are mapped wrongly until it is mended: notes and titles are lost, prices doubled."""
    resource = RESOURCES["orders"]
    right = resource.from_payload

    def wrong(payload):
        lines = [line | {"title": "wrong"} for line in payload["line_items"]]
        price = str(2 * Decimal(payload["current_total_price"]))
        return right(payload | {"note": "wrong", "current_total_price": price, "line_items": lines})

    with monkeypatch.context() as broken:
        broken.setitem(resource.__dict__, "from_payload", wrong)
        yield lambda: resource.__dict__.update(from_payload=right)


def order(number=1, **changes):
    line = {"id": number + 100, "title": "Right", "quantity": 1, "price": "10.00"}
    return an_order(number, **({"note": "right", "line_items": [line]} | changes))


def replayed(shop, **options):
    from tasks.replaying import Replayed, replay  # noqa: PLC0415

    return sum(replay(shop.tenant_id, **options), Replayed())


def kept(shop):
    with transaction() as session:
        return session.exec(select(Payload).where(col(Payload.tenant_id) == shop.tenant_id).order_by(Payload.id)).all()


def note_of(shop, number=1):
    found = one(Order, shop, shopify_id=number)
    return None if found is None else found.note


def test_a_mapping_mistake_is_mended_by_a_replay(shop, tell, mistake):
    # Given orders that were mapped wrongly, one of them known in a second version that came first
    tell(shop, "orders/updated", order(1, updated_at=LATER, note="right, later"))
    tell(shop, "orders/create", order(1))
    tell(shop, "orders/create", order(2))
    eventually(lambda: len(kept(shop)) == 3)
    assert note_of(shop) == "wrong"
    wrong = shop.figures()
    # When the mistake is mended, and only looked at
    mistake()
    assert replayed(shop, dry_run=True).written == 2
    assert shop.figures() == wrong
    # And when the payloads are replayed
    assert replayed(shop).written == 2
    # Then the tables are right, children and figures too
    assert (note_of(shop, 1), note_of(shop, 2)) == ("right, later", "right")
    assert {one(LineItem, shop, order_shopify_id=number).title for number in (1, 2)} == {"Right"}
    assert shop.figures()["revenue"] == "20.00"
    # And a second time changes nothing
    before = shop.figures()
    replayed(shop)
    assert shop.figures() == before


def test_a_payload_that_could_not_be_stored_is_stored_by_a_replay(shop, tell, monkeypatch):
    from shopify.row import RowRejected  # noqa: PLC0415

    def refuse(payload):
        raise RowRejected("orders", payload["id"], "a mistake of ours", payload)

    with monkeypatch.context() as broken:
        broken.setitem(RESOURCES["orders"].__dict__, "from_payload", refuse)
        tell(shop, "orders/create", order(1))
        eventually(lambda: kept(shop))
    assert note_of(shop) is None
    assert replayed(shop).written == 1
    assert note_of(shop) == "right"


def test_a_replay_raises_nothing_and_beats_nothing_newer_or_fuller(shop, tell):
    from tasks.store import store  # noqa: PLC0415

    for number in (1, 2, 3):
        tell(shop, "orders/create", order(number))
    eventually(lambda: len(kept(shop)) == 3)
    # Given one that was deleted, one that a newer webhook wrote, one that a read of the same version wrote
    tell(shop, "orders/delete", {"id": 1})
    tell(shop, "orders/updated", order(2, updated_at=LATER, note="newer"))
    eventually(lambda: note_of(shop, 2) == "newer" and one(Order, shop, shopify_id=1).deleted_at)
    assert len(kept(shop)) == 4
    with tenants.write(shop.tenant_id) as write:
        row = RESOURCES["orders"].from_payload(order(3, note="read"))
        store(write, "orders", [row], Origin(read_at=now()), source="test")
    # When the payloads are replayed
    done = replayed(shop)
    # Then all are as they were, and only the newer webhook's row was written, by itself
    assert (done.read, done.written) == (4, 1)
    assert one(Order, shop, shopify_id=1).deleted_at is not None
    assert (note_of(shop, 2), note_of(shop, 3)) == ("newer", "read")


def test_a_replay_names_nobody_who_was_redacted(shop, tell):
    tell(shop, "orders/create", order(1))
    eventually(lambda: kept(shop))
    with tenants.write(shop.tenant_id) as write:
        redactions.mark(write, "orders", [1])
    replayed(shop)
    assert note_of(shop) is None


def test_resources_and_times_choose_what_is_replayed(shop, tell):
    tell(shop, "orders/create", order(1))
    tell(shop, "products/create", {"id": 5, "title": "T", "vendor": "V", "updated_at": LATER, "variants": []})
    eventually(lambda: len(kept(shop)) == 2)
    assert replayed(shop, resources=["products"]).read == 1
    assert replayed(shop, since=now() - timedelta(hours=1)).read == 2
    assert replayed(shop, since=now()).read == 0


def test_large_bodies_are_kept_as_they_came_and_deletes_not_at_all(shop, tell):
    body = order(1, note="é" * 5_000)
    tell(shop, "orders/create", body)
    tell(shop, "orders/delete", {"id": 1})
    eventually(lambda: one(Order, shop, shopify_id=1) and one(Order, shop, shopify_id=1).deleted_at)
    (payload,) = kept(shop)
    assert zlib.decompress(payload.body) == json.dumps(body).encode()


def test_payloads_are_kept_for_a_number_of_days(shop, tell, configured, monkeypatch):
    from tasks import tending  # noqa: PLC0415

    monkeypatch.setattr(payloads, "BATCH", 1)
    for number in (1, 2, 3):
        tell(shop, "orders/create", order(number))
    eventually(lambda: len(kept(shop)) == 3)
    with transaction() as session:
        for payload in kept(shop)[:2]:
            payload.received_at = now() - timedelta(days=31)
            session.add(payload)
    tending.prune.send()
    eventually(lambda: [each.shopify_id for each in kept(shop)] == [3])
    # And for none
    configured(PAYLOADS_KEPT_DAYS="0")
    tell(shop, "orders/create", order(4))
    eventually(lambda: one(Order, shop, shopify_id=4))
    assert all(each.shopify_id != 4 for each in kept(shop))
