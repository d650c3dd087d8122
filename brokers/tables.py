"""What an operator reads: queues, dead letters and recurring messages as text."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from .census import QueueStats
from .dead_letters import DeadLetter


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, numbers to the right."""
    lines = [list(titles), *([_cell(each) for each in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join(
        "  ".join(_aligned(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def queues(stats: Iterable[QueueStats], paused: Iterable[str] = ()) -> str:
    """Depths, how old the oldest is and how far workers lag behind, and whether an operator paused the queue."""
    stopped = set(paused)
    titles = ["queue", "ready", "delayed", "lent", "dead", "oldest s", "lag s", "state"]
    rows = []
    for each in stats:
        state = "paused" if each.queue in stopped else "runs"
        depths = (each.ready, each.delayed, each.outstanding, each.dead)
        rows.append([each.queue, *depths, f"{each.oldest_seconds:.1f}", f"{each.lag_seconds:.1f}", state])
    return table(titles, rows)


def line(letter: DeadLetter) -> str:
    """A dead letter in one line."""
    place = f"{letter.queue}  {letter.actor}" + (f"  {letter.lane}" if letter.lane else "")
    return f"{letter.sequence}  {_moment(letter.dead_at)}  {place}  {' '.join(letter.error.split())}"


def page(letter: DeadLetter) -> str:
    """All of a dead letter: what became of its deliveries, its traceback and its body."""
    enqueued, stored = _moment(letter.enqueued_at), _moment(letter.stored_at)
    lines = [
        line(letter),
        f"message {letter.message_id}, enqueued {enqueued}, last stored {stored}",
        f"retried {letter.retries} times, since then delivered {letter.deliveries} times",
    ]
    for each in letter.history:
        error = " ".join(each.error.split())
        lines.append(
            f"  delivered {_moment(each.delivered_at)} to {each.worker} ({each.count}. time),"
            f" failed {_moment(each.failed_at)}: {error}"
        )
    return "\n".join([*lines, letter.traceback, letter.body.decode("utf-8", "backslashreplace")])


def _moment(when: datetime | None) -> str:
    return "-" if when is None else f"{when:%Y-%m-%d %H:%M:%S}"


def _cell(content: object) -> str:
    return "-" if content is None else str(content)


def _aligned(cell: str, width: int) -> str:
    is_number = cell.replace(".", "", 1).isdigit()
    return cell.rjust(width) if is_number else cell.ljust(width)
