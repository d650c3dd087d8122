"""A deprecation that the store tells of is logged once, for all processes, and counted."""

import uuid

import pytest
from sqlalchemy.exc import OperationalError

from models import api_notices
from models.database import transaction
from shopify import version


@pytest.fixture(autouse=True)
def always_kept(store, monkeypatch):
    from tasks import api_notices  # noqa: PLC0415

    version.take()
    monkeypatch.setattr(api_notices, "PAUSE", 0.0)
    monkeypatch.setattr(api_notices, "_next", 0.0)


@pytest.fixture
def reason(shop):
    """What the shop's answers say is deprecated."""
    reason = f"https://shopify.dev/{uuid.uuid4().hex}"
    shop.configure(faults={"deprecated": {"every": 1, "reason": reason}})
    return reason


def deprecations():
    with transaction() as session:
        return api_notices.totals(session).get(version.Kind.DEPRECATED, 0)


def ask(shop):
    from tasks import shops  # noqa: PLC0415

    shops.ask(shop.tenant(), lambda client: client.shop(), cost=10)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "tasks.api_notices"]


def test_a_deprecation_is_logged_once_and_counted(shop, reason, caplog):
    before = deprecations()
    for _ in range(3):
        ask(shop)
    assert warnings_of(caplog) == [f"Shopify deprecates what we use: {reason}"]
    assert deprecations() == before + 3


def test_what_cannot_be_kept_now_is_kept_later_and_hinders_no_answer(shop, reason, caplog, monkeypatch):
    before = deprecations()

    def away(*_, **__):
        raise OperationalError("insert", None, Exception("away"))

    with monkeypatch.context() as outage:
        outage.setattr(api_notices, "count", away)
        ask(shop)
        ask(shop)
    ask(shop)
    assert deprecations() == before + 3
    assert warnings_of(caplog)[-1] == f"Shopify deprecates what we use: {reason}"


def test_a_process_keeps_what_it_hears_now_and_then(shop, reason, monkeypatch):
    import tasks.api_notices  # noqa: PLC0415

    monkeypatch.setattr(tasks.api_notices, "PAUSE", 3600.0)
    before = deprecations()
    for _ in range(3):
        ask(shop)
    assert deprecations() == before + 1
    monkeypatch.setattr(tasks.api_notices, "_next", 0.0)
    tasks.api_notices.keep()
    assert deprecations() == before + 3
