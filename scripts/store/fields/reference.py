"""An object named by its id inside another record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reference:
    """``number`` is the expression of the id; ``exists(run, id)`` and ``load(record, run)`` look it up."""

    number: str
    exists: Callable[[Any, int | None], bool]
    load: Callable[[Any, Any], Any]
