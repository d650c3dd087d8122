"""Shopify's search syntax, as far as we filter by it. Dates stand in quotes: without them results are silently wrong."""

from datetime import UTC, datetime


def everything(*filters: str | None) -> str | None:
    """All of the filters at once; None filters nothing."""
    return " AND ".join(part for part in filters if part) or None


def between(field: str, *, since: datetime | None = None, before: datetime | None = None) -> str | None:
    """``field`` (updated_at, created_at, …) from ``since``, inclusive, to ``before``, exclusive, both whole seconds.

    Shopify compares microseconds and shows seconds: only with an exclusive end do both sides mean the same.
    """
    return everything(
        None if since is None else f"{field}:>='{_quoted(since)}'",
        None if before is None else f"{field}:<'{_quoted(before)}'",
    )


def updated(*, since: datetime | None = None, before: datetime | None = None) -> str | None:
    return between("updated_at", since=since, before=before)


def created(*, since: datetime | None = None, before: datetime | None = None) -> str | None:
    return between("created_at", since=since, before=before)


def _quoted(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a filter needs a time with an offset")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
