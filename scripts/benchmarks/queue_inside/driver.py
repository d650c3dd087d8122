"""A contestant's sender: a process that does what each line of stdin says, and answers with a line of JSON.

``python driver.py MODULE`` in the contestant's own environment. MODULE has the contestant's ``work`` and ``stamp`` tasks
and a ``Sender``. Only the standard library is imported here.
"""

import importlib
import json
import os
import random
import sys
import time
from typing import Any, Protocol

#: An argument of this size makes a message of about half a kilobyte.
PAYLOAD = "x" * 256


class Sender(Protocol):
    def one_by_one(self, *, seconds: float, threads: int) -> int:
        """Send no-ops, each after the last was confirmed. Returns how many."""

    def bulk(self, count: int) -> None:
        """Send so many no-ops the fastest way that confirms them all."""

    def stamped(self) -> None:
        """Send a task that notes how long it took to start."""

    def delayed(self, count: int, *, seconds: float) -> None:
        """Send so many no-ops that are due in ``seconds``. Raises NotImplementedError."""

    def clear(self) -> None:
        """Drop everything that waits."""


def execute(sender: Sender, order: dict[str, Any]) -> Any:
    began = time.perf_counter()
    match order.pop("do"):
        case "one_by_one":
            return sender.one_by_one(**order) / (time.perf_counter() - began)
        case "bulk":
            sender.bulk(order["count"])
            return order["count"] / (time.perf_counter() - began)
        case "stamped":
            for _ in range(order["count"]):
                time.sleep(random.uniform(*order["pause"]))
                sender.stamped()
        case "delayed":
            sender.delayed(order["count"], seconds=order["seconds"])
        case "clear":
            sender.clear()
    return None


def main(module: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    sender = importlib.import_module(module).Sender()
    for line in sys.stdin:
        try:
            answer = {"value": execute(sender, json.loads(line))}
        except NotImplementedError as error:
            answer = {"impossible": str(error)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(sys.argv[1])
