"""Which queues there are on the server, for whoever has no code that declares them."""

import time

from .api import STREAM_NOT_FOUND, Api
from .errors import NoResponders, RequestRefused
from .names import Names, from_token


def known_queues(names: Names, api: Api, *, timeout: float = 10.0) -> list[str]:
    """The queues of a namespace that have a consumer, messages or dead letters.  Raises BrokerUnavailable."""
    deadline = time.monotonic() + timeout
    work, dead = names.work_stream, names.dead_stream
    subjects = _consumed(api, work, deadline)
    for stream, kind in ((work, "q"), (work, "lane"), (dead, "dead")):
        subjects |= api.subjects(stream, f"{names.namespace}.{kind}.>", deadline=deadline).keys()
    # Each delayed message has a subject of its own, too many to ask for all.
    for ask in (api.first, api.last):
        try:
            stored = ask(work, names.all_schedules, deadline=deadline)
        except NoResponders:  # no such stream yet
            continue
        subjects |= set() if stored is None else {stored.subject}
    return sorted({from_token(subject.split(".")[2]) for subject in subjects})


def _consumed(api: Api, stream: str, deadline: float) -> set[str]:
    found: set[str] = set()
    offset = 0
    while True:
        try:
            page = api.ask(f"CONSUMER.LIST.{stream}", {"offset": offset}, deadline=deadline)
        except RequestRefused as error:
            if error.code == STREAM_NOT_FOUND:
                return found
            raise
        consumers = page.get("consumers") or []
        found |= {each["config"]["filter_subject"] for each in consumers if each["config"].get("filter_subject")}
        offset += len(consumers)
        if not consumers or offset >= page["total"]:
            return found
