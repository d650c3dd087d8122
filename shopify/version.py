"""The version of the Admin API that we speak, and what the answers say about it."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

#: Quarterly; supported for at least a year. An expired one silently falls forward to the oldest supported.
API_VERSION = "2026-10"

#: Different texts that are counted apart, and characters of one; they come from outside.
MOST_DETAILS, LONGEST_DETAIL = 100, 200
OTHERS = "(others)"


class Kind(StrEnum):
    #: Answered with another version than asked: ours has expired.
    OTHER_VERSION = "other_version"
    #: Something in the question is going to be removed (``X-Shopify-API-Deprecated-Reason``).
    DEPRECATED = "deprecated"


@dataclass(frozen=True, slots=True)
class Notice:
    """What an answer says about the version: the one that was served, or why what was asked for is deprecated."""

    kind: Kind
    detail: str


_counted: Counter[Notice] = Counter()
_lock = threading.Lock()


def check(headers: Mapping[str, str]) -> None:
    """Count what an answer's headers say, for ``take``."""
    served = headers.get("X-Shopify-API-Version")
    if served is not None and served != API_VERSION:
        _count(Notice(Kind.OTHER_VERSION, _printable(served)))
    deprecated = headers.get("X-Shopify-API-Deprecated-Reason")
    if deprecated is not None:
        _count(Notice(Kind.DEPRECATED, _printable(deprecated)))


def take() -> Mapping[Notice, int]:
    """How many answers said what since the last call, by all threads of this process."""
    with _lock:
        taken = dict(_counted)
        _counted.clear()
        return taken


def put_back(taken: Mapping[Notice, int]) -> None:
    """What could not be noted now is for the next call of ``take``."""
    for notice, answers in taken.items():
        _count(notice, answers)


def _count(notice: Notice, answers: int = 1) -> None:
    with _lock:
        if notice not in _counted and len(_counted) >= MOST_DETAILS:
            notice = Notice(notice.kind, OTHERS)
        _counted[notice] += answers


def _printable(text: str) -> str:
    return ascii(text[:LONGEST_DETAIL])[1:-1]
