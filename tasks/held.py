"""What NATS holds of a person or of a shop that is gone: found by what the messages say, and taken out of them.

What is ready to run is left to its run, which obeys the marks: while it lies in the stream it is found, so that whoever waits
for it knows. What waits longer goes on without its body, and its resource is fetched instead: nothing that it told is lost.
"""

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from dramatiq import Message
from pydantic import ValidationError

from brokers import Held, Place
from models import redactions, sync_runs, tenants
from models.database import transaction
from models.tenants import Write
from shopify.about import about
from tasks.connection import broker
from tasks.deliveries import Delivery

#: The actor of ``tasks.webhooks``, whose messages alone carry what Shopify sent.
WEBHOOKS = "process_webhooks"
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Options in which earlier runs are noted, with whatever their errors say.
SPENT = frozenset({"traceback", "broker_history", "retries", "requeue_timestamp", "eta"})


@dataclass(frozen=True, slots=True)
class Marked:
    """Whom to look for: those who are marked, and their addresses."""

    tenant_id: uuid.UUID
    customers: Set[int]
    orders: Set[int]
    #: Casefolded emails and phones.
    addresses: Sequence[str]

    @classmethod
    def of(cls, write: Write, addresses: Iterable[str]) -> "Marked":
        return cls(
            write.tenant.id,
            frozenset(redactions.marked(write, redactions.PEOPLE)),
            frozenset(redactions.marked(write, "orders")),
            [each.casefold() for each in addresses],
        )

    def is_named_in(self, said: str) -> bool:
        folded = said.casefold()
        return any(address in folded for address in self.addresses)

    def is_of(self, topic: str, body: bytes) -> bool:
        found = about(topic, body)
        if found is None or not found.may_name_a_person:
            return False
        marked = {"customers": self.customers, "orders": self.orders}.get(found.resource, frozenset())
        return found.shopify_id in marked or found.customer_id in self.customers or self.is_named_in(_readable(body))


def forget(marked: Marked) -> tuple[dict[str, int], int]:
    """Take a person out of every message of their shop that waits for longer.

    Returns how many were changed, by where they lay, and how many are at work, or about to be, and have to be waited for.
    """
    changed = {"delayed messages": 0, "dead letters": 0}
    waited_for = 0
    for held in _of(marked.tenant_id):
        if not _names(held, marked):
            continue
        if held.place == Place.READY:
            waited_for += 1
            continue
        if held.message is not None:
            broker.enqueue(_without_person(held.message))
        broker.contents.remove(held)
        changed["dead letters" if held.place == Place.DEAD else "delayed messages"] += 1
    return {name: count for name, count in changed.items() if count}, waited_for


def remove_all(tenant_id: uuid.UUID, run_ids: Iterable[uuid.UUID], *, but: Set[str]) -> int:
    """Remove every message of a tenant that is being erased, but those of the actors that erase it. Returns how many."""
    ours = {str(tenant_id), *map(str, run_ids)}
    return sum(
        broker.contents.remove(held)
        for held in broker.contents.each()
        if held.actor not in but and not ours.isdisjoint(_uuids(held))
    )


def remove_orphans() -> int:
    """Remove every webhook whose shop is no tenant any more. Returns how many."""
    found = [held for held in broker.contents.each() if held.actor == WEBHOOKS and held.message is not None]
    with transaction() as session:
        known = {str(tenant_id) for tenant_id in tenants.every_id(session)}
    return sum(
        broker.contents.remove(held) for held in found if held.message is not None and held.message.args[0] not in known
    )


def _of(tenant_id: uuid.UUID) -> Iterator[Held]:
    """A tenant's messages: most name it, those of a sync its run."""
    with transaction() as session:
        ours = {str(tenant_id), *map(str, sync_runs.ids(session, tenant_id))}
    return (held for held in broker.contents.each() if not ours.isdisjoint(_uuids(held)))


def _uuids(held: Held) -> set[str]:
    return {found.decode() for found in _UUID.findall(held.body)}


def _names(held: Held, marked: Marked) -> bool:
    delivery = None if held.message is None else _delivery(held.message)
    if delivery is not None and delivery.body is not None and marked.is_of(delivery.topic, delivery.body):
        return True
    return marked.is_named_in("\n".join([_readable(held.body), *map(_readable, held.notes.encode().splitlines())]))


def _delivery(message: "Message[Any]") -> Delivery | None:
    if message.actor_name != WEBHOOKS:
        return None
    try:
        return Delivery.model_validate(message.args[1])
    except (ValidationError, IndexError):
        return None


def _without_person(message: "Message[Any]") -> "Message[Any]":
    """The same to be run now, without its body and without notes of how it failed."""
    delivery = _delivery(message)
    body = None if delivery is None else delivery.body
    args = message.args
    if delivery is not None and body is not None:
        args = (args[0], delivery.without_body(body).model_dump(mode="json", exclude_none=True))
    options = {name: value for name, value in message.options.items() if name not in SPENT}
    return Message(message.queue_name, message.actor_name, args, message.kwargs, options)


def _readable(said: bytes) -> str:
    """JSON with its escapes undone, so that an address is found however it was written."""
    try:
        return json.dumps(json.loads(said), ensure_ascii=False)
    except (ValueError, RecursionError):
        return said.decode("utf-8", "replace")
