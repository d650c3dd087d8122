"""Filters in Shopify's search syntax."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shopify import search

MOMENT = datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)


def test_dates_stand_in_quotes_and_in_utc_and_the_end_is_exclusive():
    in_berlin = MOMENT.astimezone(timezone(timedelta(hours=1)))
    assert search.updated(since=in_berlin) == "updated_at:>='2026-01-01T12:00:00Z'"
    assert search.created(before=in_berlin) == "created_at:<'2026-01-01T12:00:00Z'"


def test_both_ends_hold_at_once():
    both = search.updated(since=MOMENT, before=MOMENT + timedelta(days=1))
    assert both == "updated_at:>='2026-01-01T12:00:00Z' AND updated_at:<'2026-01-02T12:00:00Z'"


def test_no_filter_is_none():
    assert search.updated() is None
    assert search.everything(None, "") is None


def test_a_time_without_an_offset_is_refused():
    with pytest.raises(ValueError, match="offset"):
        search.updated(since=datetime(2026, 1, 1))  # noqa: DTZ001
