"""The orders, customers or products of a shop: rows to sort and filter by, records made only when they are shown.

A row is a few values of each record, kept for all of them; the record itself is made from the shop's seed when it is
asked for, unless it was changed since. Indexes are sorted lists, made at first use and kept up from then on.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from .records import Record


class OrderRow(NamedTuple):
    id: int
    created_at: int
    updated_at: int
    processed_at: int
    number: int
    customer_id: int | None
    total: int  # current total price, minor units of the shop's currency
    paid: int  # net payment, likewise
    test: bool
    cancelled: bool
    closed: bool
    financial_status: str
    fulfillment_status: str

    @property
    def counts(self) -> bool:
        return not self.test and not self.cancelled


class CustomerRow(NamedTuple):
    id: int
    created_at: int
    updated_at: int
    name: str
    email: str | None
    state: str


class ProductRow(NamedTuple):
    id: int
    created_at: int
    updated_at: int
    published_at: int
    title: str
    status: str
    vendor: str
    product_type: str
    inventory: int


Row = TypeVar("Row", OrderRow, CustomerRow, ProductRow)
R = TypeVar("R", bound=Record)
Key = tuple[Any, int]
LAST = float("inf")


class Table(Generic[R, Row]):
    """Not safe for threads by itself: the shop's lock is held around scans and changes."""

    def __init__(self, rows: dict[int, Row], load: Callable[[int], R], *, keep: bool = False) -> None:
        self.rows: dict[int, Row] = rows
        self.changed: dict[int, R] = {}
        #: When each deleted record went.
        self.deleted: dict[int, int] = {}
        self._load = load
        self._keep = keep
        #: The record made last: its parts often ask for it again.
        self._last: R | None = None
        self._indexes: dict[int, list[Key]] = {}

    def get(self, number: int) -> R | None:
        """The record, None when it is unknown or deleted. Safe beside a change, without the lock."""
        if number not in self.rows:
            return None
        record = self.changed.get(number)
        if record is None:
            last = self._last
            if last is not None and last.id == number:
                return last
            try:
                record = self._load(number)
            except LookupError:  # deleted a moment ago
                return None
            self._last = record
            if self._keep:
                record = self.changed.setdefault(number, record)
        return record

    def put(self, record: R, row: Row) -> Row | None:
        """Store a new state; returns the row that it replaces."""
        old: Row | None = self.rows.get(record.id)
        self.changed[record.id] = record
        self.rows[record.id] = row
        for column, index in self._indexes.items():
            if old is not None and old[column] != row[column]:
                del index[bisect_left(index, (old[column], record.id))]
            if old is None or old[column] != row[column]:
                insort(index, (row[column], record.id))
        return old

    def delete(self, number: int, at: int) -> Row | None:
        old: Row | None = self.rows.pop(number, None)
        self.changed.pop(number, None)
        self.deleted[number] = at
        if old is not None:
            for column, index in self._indexes.items():
                del index[bisect_left(index, (old[column], number))]
        return old

    def index(self, column: int) -> list[Key]:
        index = self._indexes.get(column)
        if index is None:
            index = sorted((row[column], number) for number, row in self.rows.items())
            self._indexes[column] = index
        return index

    def scan(
        self,
        column: int,
        *,
        low: Key | None = None,
        high: Key | None = None,
        reverse: bool = False,
        wanted: Callable[[Row], bool] | None = None,
    ) -> Iterator[int]:
        """The ids between the keys ``low`` and ``high`` (both left out), in the column's order."""
        index = self.index(column)
        start = bisect_right(index, low) if low is not None else 0
        end = bisect_left(index, high) if high is not None else len(index)
        places = range(end - 1, start - 1, -1) if reverse else range(start, end)
        rows = self.rows
        for place in places:
            number = index[place][1]
            if wanted is None or wanted(rows[number]):
                yield number

    def span(self, column: int, low: Key | None, high: Key | None) -> int:
        """How many keys lie between ``low`` and ``high``."""
        index = self.index(column)
        start = bisect_right(index, low) if low is not None else 0
        end = bisect_left(index, high) if high is not None else len(index)
        return max(0, end - start)
