"""Events: what was deleted (kept for a year). Only deletions are recorded here, of all kinds."""

# ruff: noqa: ARG005 - every field is called alike, whether it needs the run or not

from dataclasses import dataclass
from typing import Any

from scripts.store.identity import KINDS, gid
from scripts.store.paging import Slice, list_slice
from scripts.store.run import Run
from scripts.store.search import Field, Filter, parse_search
from scripts.store.shop import Shop

SUBJECTS = {"order": ("ORDER", "Order"), "customer": ("CUSTOMER", "Customer"), "product": ("PRODUCT", "Product")}
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Destroyed:
    id: int
    created_at: int
    subject: int
    kind: str

    @property
    def subject_type(self) -> str:
        return SUBJECTS[self.kind][0]

    @property
    def subject_gid(self) -> str:
        return gid(SUBJECTS[self.kind][1], self.subject)


FIELDS = {
    "created_at": Field("date", lambda event: event.created_at),
    "id": Field("id", lambda event: event.id),
    "action": Field("text", lambda event: "destroy"),
    "subject_type": Field("text", lambda event: event.subject_type),
}


def all_events(shop: Shop) -> list[Destroyed]:
    first = KINDS["BasicEvent"] + shop.salt * 100_000_000
    return [Destroyed(first + place, at, subject, kind) for place, (at, subject, kind) in enumerate(shop.events)]


def _found(run: Run, arguments: dict[str, Any]) -> list[Destroyed]:
    search: Filter = parse_search(arguments.get("query"), FIELDS, words=lambda event: event.subject_type)
    run.warn_search(arguments["path"], arguments.get("query") or "", search.warnings)
    with run.shop.lock:
        return [event for event in all_events(run.shop) if all(test(event) for test in search.wanted)]


def events(_: object, run: Run, arguments: dict[str, Any]) -> Slice:
    return list_slice(_found(run, arguments), arguments)


def events_count(_: object, run: Run, arguments: dict[str, Any]) -> tuple[int, str]:
    found = len(_found(run, arguments))
    return (found, "EXACT") if found < MOST_COUNTED else (MOST_COUNTED, "AT_LEAST")


PLAIN = {
    "BasicEvent": {
        "id": "f'gid://shopify/BasicEvent/{o.id}'",
        "action": "'destroy'",
        "appTitle": "None",
        "attributeToApp": "False",
        "attributeToUser": "True",
        "createdAt": "utc(o.created_at)",
        "criticalAlert": "False",
        "message": "f'Somebody deleted {o.subject_gid}.'",
        "subjectId": "o.subject_gid",
        "subjectType": "o.subject_type",
    }
}
CALLS: dict[str, dict[str, Any]] = {"QueryRoot": {"events": events, "eventsCount": events_count}}
TYPES = {Destroyed: "BasicEvent"}
