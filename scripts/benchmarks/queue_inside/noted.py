"""What the tasks of every contestant do: nothing, and now and then a note of when.

The benchmark says where notes go (BENCH_NOTES) and how many no-ops are one drain (BENCH_COUNT).
"""

import itertools
import os
import time

_COUNT = int(os.environ.get("BENCH_COUNT", "0"))
_number = itertools.count(1)
_notes = (
    os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "BENCH_NOTES" in os.environ else -1
)


def note(value: float) -> None:
    os.write(_notes, f"{value!r}\n".encode())


def count() -> None:
    """Note the time of the first and of the last no-op of a drain: all that a no-op costs beyond nothing."""
    number = next(_number)
    if number in (1, _COUNT):
        note(time.monotonic())


def arrived(sent: float) -> None:
    """Note the seconds since the sender looked at the clock, which all processes of a machine share."""
    note(time.monotonic() - sent)
