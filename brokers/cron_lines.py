"""When a recurring schedule ticks next, as JetStream reckons it.

The server needs no help with that. It is reckoned here to refuse a line that cannot be read where it is written, and to
know which tick is missing.
"""

import math
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

NAMED = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
#: Days in which a line has to tick at least once: the server refuses one that does not within five years.
HORIZON = 5 * 366
_DURATION = re.compile(r"(\d+(\.\d+)?(h|m|s|ms))+")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_MONTHS = {
    "jan": 1,
    "feb": 2,
    "mar": 3,
    "apr": 4,
    "may": 5,
    "jun": 6,
    "jul": 7,
    "aug": 8,
    "sep": 9,
    "oct": 10,
    "nov": 11,
    "dec": 12,
}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)


def schedule_of(every: str | float) -> str:
    """``30`` (seconds), ``"30s"``, ``"@every 30s"`` or a six-field cron line, as JetStream writes it."""
    if isinstance(every, int | float):
        return f"@every {every:.3f}".rstrip("0").rstrip(".") + "s"
    return f"@every {every}" if _DURATION.fullmatch(every) else every


def check(schedule: str, time_zone: str | None) -> None:
    """Raises ValueError, which says what is wrong, for what the server would not take."""
    seconds = _interval(schedule)
    if seconds is None:
        Line.parse(schedule)
        _zone(time_zone)
    elif seconds < 1:
        raise ValueError(f"{schedule!r} is too often: at most once a second")
    elif time_zone is not None:
        raise ValueError(f"a time zone belongs to a cron line, not to {schedule!r}")


def next_tick(schedule: str, time_zone: str | None, after: datetime) -> datetime | None:
    """The first tick after a moment. None when there is none within years. Raises ValueError."""
    seconds = _interval(schedule)
    whole = datetime.fromtimestamp(math.floor(after.timestamp() + 0.5), UTC)  # the server rounds
    if seconds is not None:
        return whole + timedelta(seconds=seconds)
    return Line.parse(schedule).next(whole + timedelta(seconds=1), _zone(time_zone))


def _interval(schedule: str) -> float | None:
    kind, _, duration = schedule.partition(" ")
    if kind != "@every" or not _DURATION.fullmatch(duration):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", duration))


def _zone(name: str | None) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None


@dataclass(frozen=True, slots=True)
class Line:
    """A cron line: the values at which it ticks, field by field."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    #: With a star in one of them both day fields have to match, otherwise one of them.
    has_star_day: bool

    @classmethod
    def parse(cls, text: str) -> "Line":
        fields = NAMED.get(text, text).split()
        if len(fields) != len(_FIELDS):
            raise ValueError(f"{text!r} is neither '@every 30s' nor a cron line of six fields, seconds first")
        values = [_values(field, *limits) for field, limits in zip(fields, _FIELDS, strict=True)]
        second, minute, hour, day, month, weekday = values
        return cls(second, minute, hour, day, month, weekday, _is_star(fields[3]) or _is_star(fields[5]))

    def next(self, begin: datetime, zone: zoneinfo.ZoneInfo) -> datetime | None:
        """The first tick at or after ``begin``."""
        first = begin.astimezone(zone).date()
        for number in range(HORIZON):
            day = first + timedelta(days=number)
            if self._has_day(day):
                found = next(self._ticks(day, begin, zone), None)
                if found is not None:
                    return found
        return None

    def _has_day(self, day: date) -> bool:
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        is_day = (in_month and in_week) if self.has_star_day else (in_month or in_week)
        return is_day and day.month in self.months

    def _ticks(self, day: date, begin: datetime, zone: zoneinfo.ZoneInfo) -> Iterator[datetime]:
        """The ticks of a day from ``begin`` on; an hour that a clock change skips has none, one that it repeats twice."""
        hour = datetime.combine(day, time(), zone).astimezone(UTC)
        while (local := hour.astimezone(zone)).date() <= day:
            if local.date() == day and local.hour in self.hours and hour + timedelta(hours=1) > begin:
                for minute in sorted(self.minutes):
                    for second in sorted(self.seconds):
                        tick = hour + timedelta(minutes=minute, seconds=second)
                        if tick >= begin:
                            yield tick
            hour += timedelta(hours=1)


def _is_star(field: str) -> bool:
    return any(part.removesuffix("/1") in {"*", "?"} for part in field.split(","))


def _values(field: str, what: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        begin, dash, end = span.partition("-")
        if span in {"*", "?"}:
            first, last = low, high
        else:
            first = _number(begin, what, names)
            last = _number(end, what, names) if dash else (high if slash else first)
        by = _number(step, what, {}) if slash else 1
        if not (low <= first <= last <= high) or by < 1:
            raise ValueError(
                f"{part!r} is no {what}: {low} to {high}, a range such as {low}-{high}, or a step such as */2"
            )
        values.update(range(first, last + 1, by))
    return frozenset(values)


def _number(text: str, what: str, names: dict[str, int]) -> int:
    number = names.get(text.lower())
    if number is None and not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no {what}")
    return int(text) if number is None else number
