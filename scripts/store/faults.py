"""Faults on order: what goes wrong with a shop's answers, how often, and for how long."""

import random
import threading
from dataclasses import dataclass
from typing import Any

#: 429 is Shopify's rate limit by request, 5xx its own trouble, ``internal`` an INTERNAL_SERVER_ERROR with data null,
#: ``unauthorized`` a 401 to a token that is good, ``slow`` an answer that takes its time, ``drop`` a connection closed without
#: one, and ``cut`` one closed in the middle.
REQUESTS = ("rate_limited", "server_error", "internal", "unauthorized", "slow", "drop", "cut")
#: How a bulk operation ends instead of completing, after ``lines`` lines.
BULK_ENDS = {"bulk_failed": "FAILED", "bulk_expired": "EXPIRED", "bulk_canceled": "CANCELED"}
#: What befalls a bulk operation: it stays CREATED, or RUNNING after ``lines`` lines, until released; its output is not
#: grouped although that was asked; its file has ``lines`` lines only, although it completes with all of them counted; its
#: link has expired when it ends.
OPERATIONS = (*BULK_ENDS, "bulk_never_starts", "bulk_held", "bulk_ungrouped", "bulk_short", "bulk_link_expired")
#: What befalls the download of a result: 403, ``status``, ``bytes`` of it and no more, with the length announced
#: (``download_cut``) or as if it were all (``download_short``), a trickle, Range ignored, or held after ``lines`` lines.
DOWNLOADS = (
    "download_expired",
    "download_unavailable",
    "download_cut",
    "download_short",
    "download_slow",
    "download_ignores_range",
    "download_held",
)
#: What an answer carries besides: ``deprecated``, a header that says by ``reason`` what is going to be removed.
HEADERS = ("deprecated",)
KINDS = (*REQUESTS, *OPERATIONS, *DOWNLOADS, *HEADERS)


@dataclass
class Fault:
    """One kind of fault; ``next`` counts down, ``every`` hits each n-th request, ``probability`` any."""

    kind: str
    next: int = 0
    every: int = 0
    probability: float = 0.0
    status: int = 503
    seconds: float = 5.0
    retry_after: str = "2.0"
    lines: int = 0
    bytes: int = 0
    bytes_per_second: int = 1000
    error_code: str = "INTERNAL_SERVER_ERROR"
    reason: str = "https://shopify.dev/api/usage/versioning#deprecation-practices"
    seen: int = 0
    hits: int = 0

    def strikes(self) -> bool:
        self.seen += 1
        if self.next > 0:
            self.next -= 1
        elif not (self.every and self.seen % self.every == 0) and not (
            self.probability and random.random() < self.probability
        ):
            return False
        self.hits += 1
        return True


class Faults:
    """The faults of one shop, and whether it is locked (423), frozen (402) or gone (404)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}
        self.state: str | None = None  # locked, frozen, gone

    def strike(self, kinds: tuple[str, ...]) -> list[Fault]:
        """The faults of these kinds that hit this request, operation or download."""
        if not self._faults:
            return []
        with self._lock:
            return [fault for fault in self._faults.values() if fault.kind in kinds and fault.strikes()]

    def configure(self, wanted: dict[str, Any]) -> None:
        """Set faults as the control endpoint gives them: ``{"server_error": {"next": 3, "status": 502}}``.

        None takes a fault away. Raises ValueError for a kind or field that does not exist.
        """
        faults = dict(self._faults)
        for kind, values in wanted.items():
            if kind == "state":
                if values not in {None, "locked", "frozen", "gone"}:
                    raise ValueError(f"no such state: {values}")
                continue
            if kind not in KINDS:
                raise ValueError(f"no such fault: {kind}; there are {', '.join(KINDS)}")
            if values is None:
                faults.pop(kind, None)
                continue
            try:
                faults[kind] = Fault(kind, **values)
            except TypeError as error:
                raise ValueError(f"{kind}: {error}") from error
        with self._lock:
            self._faults = faults
            self.state = wanted.get("state", self.state)

    def clear(self) -> None:
        with self._lock:
            self._faults = {}
            self.state = None

    def describe(self) -> dict[str, Any]:
        with self._lock:
            described: dict[str, Any] = {kind: dict(vars(fault)) for kind, fault in self._faults.items()}
            return {**described, "state": self.state}
