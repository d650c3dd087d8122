"""Scalars: what is taken can be stored exactly, and everything else is refused with a ValueError."""

import contextlib
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopify.resources.customers import from_payload
from shopify.row import RowRejected
from shopify.scalars import MAX_ID, amount, gid, time
from tests.shopify.sample import sample

#: A machine that is busy with other tests is no failure of this one.
patient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
#: What a hostile or mistaken sender could put in any place.
HOSTILE = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    math.nan,
    math.inf,
    2**63,
    10**400,
    b"x",
    [],
    [[]],
    {},
    {"id": 1},
    {"id": None},
]
HOSTILE += ["", "\x00", "\ud800", "a, b", "NaN", "1e9", "2026-01-02T15:00:00Z", "2026-01-02", "24:00", "9" * 1000]
HOSTILE += [
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("-Infinity"),
    Decimal("1E+9999"),
    Decimal("1E-9999"),
    Decimal("-0.0"),
]
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
anything = st.sampled_from(HOSTILE) | st.text(max_size=20) | st.integers()


@patient
@given(st.decimals(min_value=-(10**15), max_value=10**15, places=6) | st.integers(-(10**15), 10**15).map(Decimal))
def test_an_amount_in_range_is_kept_exactly(value):
    assert amount(f"{value:f}") == amount(value) == value


@patient
@given(st.decimals(min_value=-(10**15), max_value=10**15, places=4))
def test_trailing_zeros_do_not_make_another_amount(value):
    assert str(amount(f"{value:f}")) == str(amount(f"{value:f}00"))


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("13.5", "13.50"),
        ("0.0", "0.00"),
        ("-0.00", "0.00"),
        ("20", "20.00"),
        ("1.2345", "1.2345"),
        ("1.234500", "1.2345"),
    ],
)
def test_an_amount_has_one_spelling(given_, kept):
    assert str(amount(given_)) == kept


@patient
@given(anything)
def test_an_amount_is_finite_or_refused(value):
    try:
        kept = amount(value)
    except ValueError:
        return
    assert kept.is_finite()
    assert abs(kept) <= 10**15
    assert kept == round(kept, 6)
    assert not isinstance(value, float)


@patient
@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=OFFSETS))  # noqa: DTZ001
def test_a_time_with_an_offset_is_the_same_moment_in_utc(moment):
    kept = time(moment.isoformat())
    assert kept == moment
    assert kept.tzinfo is UTC


@patient
@given(anything)
def test_a_time_is_aware_or_refused(value):
    with contextlib.suppress(ValueError):
        assert time(value).tzinfo is UTC


def test_a_time_in_z_is_utc():
    assert time("2026-01-02T15:00:00Z") == datetime(2026, 1, 2, 15, tzinfo=UTC)


@patient
@given(st.integers(1, MAX_ID))
def test_a_global_id_is_its_number(number):
    assert gid("Order")(f"gid://shopify/Order/{number}") == number


@patient
@given(anything | st.text("0123456789٣²", max_size=25).map("gid://shopify/Order/".__add__))
def test_a_global_id_is_of_its_kind_or_refused(value):
    try:
        number = gid("Order")(value)
    except ValueError:
        return
    assert value == f"gid://shopify/Order/{number}"
    assert 1 <= number <= MAX_ID


@patient
@given(st.text(st.characters(exclude_categories=[])))
def test_text_is_kept_as_it_is_unless_postgres_could_not(text):
    payload = sample("customer_payload", note=text)
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        with pytest.raises(RowRejected):
            from_payload(payload)
    else:
        assert from_payload(payload).columns["note"] == text


@patient
@given(st.fixed_dictionaries({}, optional={key: anything for key in sample("customer_payload") if key != "id"}))
def test_whatever_comes_is_a_row_or_refused(changes):
    try:
        row = from_payload({"id": 8759} | changes)
    except RowRejected:
        return
    # Then a column is there if and only if its key was, and None only for a null
    present = {key: value for key, value in changes.items() if key in row.columns}
    assert row.columns.keys() == present.keys()
    assert {key for key, value in row.columns.items() if value is None} == {k for k, v in present.items() if v is None}
    assert all(not isinstance(value, float) or not math.isnan(value) for value in row.columns.values())
