"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import Any


def eventually(condition: Callable[[], Any], *, timeout: float = 30.0) -> Any:
    """The first true value of ``condition``. Fails after ``timeout`` seconds with what it last was."""
    ends = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > ends:
            raise AssertionError(f"not within {timeout} s; at last: {value!r}")
        time.sleep(0.02)


def equal(left: Callable[[], Any], right: Callable[[], Any], *, timeout: float = 30.0) -> None:
    """Both become equal."""
    ends = time.monotonic() + timeout
    while (one := left()) != (other := right()):
        assert time.monotonic() < ends, f"{one!r} != {other!r}"
        time.sleep(0.05)
