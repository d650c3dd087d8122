"""What Shopify says about our API version: counted by all, told by one, once a day."""

import threading
import uuid
from datetime import timedelta

import pytest
from sqlmodel import col, select

from models import api_notices
from models.api_notices import ApiNotice
from models.columns import now
from models.database import transaction


@pytest.fixture
def kind(migrated):
    """One that no other test counts."""
    return uuid.uuid4().hex


def count(kind, detail="x", answers=1):
    with transaction() as session:
        return api_notices.count(session, kind=kind, detail=detail, answers=answers)


def total(kind):
    with transaction() as session:
        return api_notices.totals(session).get(kind, 0)


def test_a_notice_is_news_once_and_counted_each_time(kind):
    assert [count(kind, "x", 3), count(kind, "x", 4), count(kind, "y")] == [True, False, True]
    assert total(kind) == 8


def test_it_is_news_again_after_a_day(kind):
    assert count(kind)
    with transaction() as session:
        notice = session.exec(select(ApiNotice).where(col(ApiNotice.kind) == kind)).one()
        notice.told_at = now() - api_notices.TOLD_EVERY - timedelta(seconds=1)
    assert [count(kind), count(kind)] == [True, False]


def test_of_many_at_once_one_tells(kind):
    told = []
    threads = [threading.Thread(target=lambda: told.append(count(kind))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(told) == [False] * 5 + [True]
    assert total(kind) == 6


def test_details_without_end_are_counted_together(kind, monkeypatch):
    monkeypatch.setattr(api_notices, "MOST_DETAILS", 2)
    for detail in ("a", "b", "c", "d", "a"):
        count(kind, detail)
    with transaction() as session:
        kept = session.exec(select(ApiNotice).where(col(ApiNotice.kind) == kind)).all()
        assert {each.detail: each.answers for each in kept} == {"a": 2, "b": 1, api_notices.OTHERS: 2}
