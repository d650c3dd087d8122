"""What the figures of the queue benchmark come to: the best peer of each column, our ratio to it, and the goal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scripts.benchmarks.queue_contestants import Contestant, Survives

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Column:
    name: str
    title: str
    #: Our figure divided by the best peer's should be at least this; at most, where less is better.
    goal: float
    is_less_better: bool = False
    #: Whether it is about sending; else it begins with a message that is there.
    is_sending: bool = False

    def best(self, figures: Iterable[float]) -> float:
        return min(figures) if self.is_less_better else max(figures)

    def is_met(self, ratio: float) -> bool:
        return ratio <= self.goal if self.is_less_better else ratio >= self.goal


COLUMNS = (
    Column("oneThreadPerSecond", "send, 1 thread /s", 1.5, is_sending=True),
    Column("eightThreadsPerSecond", "send, 8 threads /s", 2.0, is_sending=True),
    Column("bulkPerSecond", "bulk /s", 2.0, is_sending=True),
    Column("drainPerSecond", "drain /s", 2.0),
    Column("latencyP50Milliseconds", "p50 ms", 0.6, is_less_better=True),
    Column("latencyP99Milliseconds", "p99 ms", 0.8, is_less_better=True),
)
#: Not a ratio: what an idle worker grows by while so many delayed messages wait.
MEMORY = "delayedMebibytes"
_WIDTH = 18


@dataclass(frozen=True)
class Ratio:
    column: Column
    value: float
    peer: str


def ratios(ours: Contestant, results: Mapping[Contestant, Figures]) -> list[Ratio]:
    """Our figures against the best peer's that promises as much."""
    found = []
    for column in COLUMNS:
        figures = {
            peer.name: results[peer][column.name]
            for peer in results
            if not peer.is_ours and column.name in results[peer] and _promise(peer, column) >= _promise(ours, column)
        }
        if figures and column.name in results[ours]:
            best = column.best(figures.values())
            peer = next(name for name, figure in figures.items() if figure == best)
            found.append(Ratio(column, round(results[ours][column.name] / best, 2), peer))
    return found


def table(results: Mapping[Contestant, Figures]) -> str:
    """The figures in rows, by what a message survives; a ``*`` marks those that promise less than their neighbours."""
    columns = [(column.name, column.title) for column in COLUMNS] + [(MEMORY, "delayed MiB")]
    lines = []
    for kept, title in ((Survives.SERVER, "the server's death"), (Survives.POWER, "a power loss")):
        members = [contestant for contestant in results if contestant.kept == kept]
        if not members:
            continue
        lines.append(f"\n{f'Messages survive {title}':40}" + "".join(f"{each:>{_WIDTH + 2}}" for _, each in columns))
        for member in members:
            cells = [_cell(member, name, results[member]) for name, _ in columns]
            lines.append(f"{member.name:40}" + "".join(f"{cell:>{_WIDTH + 2}}" for cell in cells))
        for ours in (member for member in members if member.is_ours):
            of_column = {ratio.column.name: ratio for ratio in ratios(ours, results)}
            if of_column:
                lines.append(f"{'  to the best peer':40}" + "".join(_ratio(of_column.get(name)) for name, _ in columns))
    lines.append("* without a confirmation to the sender: no peer in that column")
    return "\n".join(lines)


def _promise(contestant: Contestant, column: Column) -> Survives:
    return contestant.sent if column.is_sending else contestant.kept


def _cell(member: Contestant, name: str, figures: Figures) -> str:
    if name not in figures:
        return "-"
    if name == MEMORY:
        return f"{figures[name]:+.1f} ({member.delayed // 1000}k)"
    column = next(column for column in COLUMNS if column.name == name)
    text = f"{figures[name]:.2f}" if column.is_less_better else f"{figures[name]:,.0f}"
    return f"{text}*" if _promise(member, column) < member.kept else text


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return " " * (_WIDTH + 2)
    column = ratio.column
    sign, verdict = "≤" if column.is_less_better else "≥", "ok" if column.is_met(ratio.value) else "MISSED"
    return f"{f'{ratio.value:.2f} ({sign} {column.goal}) {verdict}':>{_WIDTH + 2}}"
