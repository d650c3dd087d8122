"""Instants as microseconds since 1970 (UTC), and the forms in which Shopify shows them."""

import time
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
#: No zone changes its offset but at a quarter of an hour.
QUARTER = 900 * SECOND


def now() -> int:
    return time.time_ns() // 1000


@lru_cache(maxsize=8192)
def _date(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def utc(instant: int | None) -> str | None:
    """``2026-08-02T08:17:13Z``: whole seconds, as GraphQL shows times."""
    if instant is None:
        return None
    day, seconds = divmod(instant // SECOND, 86400)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_date(day)}T{hour:02d}:{minute:02d}:{second:02d}Z"


@lru_cache(maxsize=65536)
def _offset(quarter: int, zone: str) -> int:
    """Seconds east of Greenwich in ``zone``."""
    moment = datetime.fromtimestamp(quarter * 900, UTC).astimezone(ZoneInfo(zone))
    offset = moment.utcoffset()
    return int(offset.total_seconds()) if offset else 0


def local(instant: int | None, zone: str) -> str | None:
    """``2026-02-06T16:13:36+11:00``: whole seconds with the shop's offset, as REST shows times."""
    if instant is None:
        return None
    offset = _offset(instant // QUARTER, zone)
    hours, minutes = divmod(abs(offset) // 60, 60)
    text = utc(instant + offset * SECOND) or ""
    return f"{text[:-1]}{'-' if offset < 0 else '+'}{hours:02d}:{minutes:02d}"


def local_day(instant: int, zone: str) -> str:
    """The day in the shop's time zone, ``2026-02-06``."""
    return _date((instant + _offset(instant // QUARTER, zone) * SECOND) // DAY)


@lru_cache(maxsize=8192)
def midnight(day: date, zone: str) -> int:
    """The instant at which ``day`` begins in ``zone``."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def with_microseconds(instant: int) -> str:
    """``2026-08-02 08:17:13.012345``, the form inside cursors."""
    return (utc(instant) or "").replace("T", " ")[:-1] + f".{instant % SECOND:06d}"


def parse(text: str) -> int:
    """The instant of an ISO 8601 text; without an offset it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip().replace(" ", "T"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * SECOND + since.microseconds
