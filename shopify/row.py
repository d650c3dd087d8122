"""What every shape of Shopify's ends in: a plain typed row, or the refusal of one resource with its reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One version of one resource, from a GraphQL read or a webhook.

    ``columns`` holds what the answer or payload held, under Shopify's REST names: times aware and in UTC, money as
    Decimal in the shop's currency. A key that was absent stays absent; None means that Shopify cleared it.
    """

    shopify_id: int
    #: One-second resolution. None: the payload says nothing of it.
    updated_at: datetime | None
    columns: Mapping[str, Any]
    #: Table name to its complete list; a list that may be cut short is left out. Every child has a ``shopify_id``.
    children: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    #: Whether nothing of the resource is missing. Otherwise it has to be fetched by id.
    is_whole: bool = True
    incomplete_because: str | None = None
    #: Since when something of it is on its way at Shopify, so that it has to be read again: a refund's money.
    pending_since: datetime | None = None
    #: When the webhook that told of it was triggered. None: a read told of it.
    triggered_at: datetime | None = None


class RowRejected(Exception):
    """One resource that cannot be stored: a NUL, a lone surrogate, an absurd number, a missing id.

    The reason names the fields and what is wrong with them, never their values. ``payload`` is what was refused.
    """

    def __init__(self, resource: str, shopify_id: int | None, reason: str, payload: Any) -> None:
        super().__init__(f"{resource} {shopify_id if shopify_id is not None else '(no id)'}: {reason}")
        self.resource = resource
        self.shopify_id = shopify_id
        self.reason = reason
        self.payload = payload
