"""What the operator reads of shops: a table of all that fits 120 columns, and a page of one."""

from collections.abc import Iterable
from datetime import datetime

from app import schemas
from brokers import tables
from models.columns import now
from models.sync_runs import RunStatus
from models.tenant_summaries import TenantSummary

_TITLES = ("shop", "problem", "webhook", "sync", "lag", "dead", "held", "mended")
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def table(summaries: Iterable[TenantSummary]) -> str:
    """A line a shop: its worst problem and how many more it has, and what they come from. How a sync ended is a problem."""
    return tables.table(_TITLES, map(_row, summaries))


def page(summary: TenantSummary) -> str:
    """A line for each thing that the API tells of a shop."""
    told = schemas.TenantSummary.of(summary).model_dump(mode="json", by_alias=True)
    return tables.table(("", ""), [(name, _in_line(value)) for name, value in told.items()]).lstrip()


def _row(summary: TenantSummary) -> tuple[object, ...]:
    return (
        summary.shop_domain,
        _problem(summary.problems),
        _ago(summary.last_webhook_at),
        "running" if summary.last_sync_status == RunStatus.RUNNING else _ago(summary.last_sync_at),
        "?" if summary.lag_seconds is None else _duration(summary.lag_seconds),
        "?" if summary.dead_letters is None else summary.dead_letters,
        summary.quarantined,
        summary.repairs_last_week,
    )


def _problem(problems: Iterable[str]) -> str:
    worst, *others = [each.replace("_", " ") for each in problems] or ["ok"]
    return f"{worst} +{len(others)}" if others else worst


def _ago(moment: datetime | None) -> str:
    return "never" if moment is None else _duration((now() - moment).total_seconds())


def _duration(seconds: float) -> str:
    """In the largest unit of which there is one whole."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def _in_line(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
