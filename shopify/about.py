"""What a webhook's body is of, as far as its ids tell: for bodies that are kept, found again, or too large to travel.

Unlike ``event_of`` it reads nothing else, so it also finds its way in a body that cannot be stored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shopify.resource import Resource, TopicKind
from shopify.resources import RESOURCES
from shopify.scalars import rest_id

#: Whoever else's body it is, a payload names its customer here.
_CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class About:
    """``shopify_id`` is the resource's own, also where the payload is of a part of it. None: the body does not tell."""

    resource: str
    kind: TopicKind
    shopify_id: int | None
    customer_id: int | None = None

    @property
    def may_name_a_person(self) -> bool:
        """Deletes and merges hold nothing but ids."""
        return self.kind in {TopicKind.WHOLE, TopicKind.FETCH}


def about(topic: str, body: bytes) -> About | None:
    """None for topics that are of no resource."""
    for resource in RESOURCES.values():
        if topic in resource.topics:
            return _about(resource, topic, _object(body))
    return None


def _about(resource: Resource, topic: str, payload: Mapping[str, Any]) -> About:
    found: Any = payload
    for step in resource.parts[topic].id_path if topic in resource.parts else ("id",):
        found = found.get(step) if isinstance(found, dict) else None
    customer = payload.get(_CUSTOMER)
    return About(
        resource.name,
        resource.topics[topic],
        _id(found),
        _id(customer.get("id")) if isinstance(customer, dict) else None,
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _id(value: Any) -> int | None:
    try:
        return rest_id(value)
    except ValueError:
        return None
