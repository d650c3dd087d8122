"""What a refund comes to, whichever shape told of it.

``discrepancy`` is what was withheld (a restocking fee) or, negative, went to the customer beyond what the lines justify.
While the money is on its way Shopify books a discrepancy of its whole amount, and takes it back once it has arrived; such
entries are no sale's, and are left out: a refund says from its first day what it will say once it is settled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from shopify.resources.orders.columns import total

#: The reason of an adjustment that takes back, or foretells, money on its way.
PENDING_DISCREPANCY = "pending_refund_discrepancy"
#: The kind of an adjustment, in REST alone, that tells of refunded shipping once more.
SHIPPING_REFUND = "shipping_refund"
#: Transactions that have not come to an end.
_ON_ITS_WAY = frozenset({"pending", "awaiting_response"})


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Negative amounts went to the customer, positive ones were withheld."""

    shopify_id: int
    reason: str | None
    amount: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class Refunded:
    """A transaction of a refund. ``amount`` is the shop's; None: it is told in the buyer's currency only."""

    kind: str | None
    status: str | None
    amount: Decimal | None

    @property
    def is_pending(self) -> bool:
        return self.kind == "refund" and self.status in _ON_ITS_WAY

    @property
    def is_paid(self) -> bool:
        return self.kind == "refund" and self.status == "success"


def reason_word(text: str | None) -> str | None:
    """REST's ``Refund discrepancy`` and GraphQL's ``REFUND_DISCREPANCY`` as one word."""
    return None if text is None else "_".join(text.lower().split())


def amounts(adjustments: Sequence[Adjustment], transactions: Sequence[Refunded], *, worth: Decimal) -> dict[str, Any]:
    """The columns that adjustments and transactions make; ``worth`` is what was taken back, with its taxes.

    Shopify names the entry that foretells a pending refund now the one reason, now the other, but it is of the amount on
    its way, and the one that takes it back is named for what it is. What is named so beyond that amount foretells money
    of which we were not told. Raises ValueError if an amount of money that moved, or is on its way, is not known.
    """
    paid = _known(each for each in transactions if each.is_paid)
    on_its_way = _known(each for each in transactions if each.is_pending)
    foretold = total(each.amount + each.tax for each in adjustments if each.reason == PENDING_DISCREPANCY)
    booked = [each for each in adjustments if each.reason != PENDING_DISCREPANCY]
    discrepancy, tax = total(each.amount for each in booked), total(each.tax for each in booked)
    if on_its_way and paid + on_its_way == worth - discrepancy - tax - foretold:
        discrepancy += foretold  # the entries explain all of the money: none foretells any
    else:
        discrepancy += min(foretold, on_its_way) - on_its_way
    return {
        "discrepancy": discrepancy,
        "discrepancy_tax": tax,
        "adjustments": [
            {"reason": each.reason, "amount": each.amount, "tax": each.tax}
            for each in sorted(adjustments, key=lambda each: each.shopify_id)
        ],
        "is_pending": foretold > 0 or any(each.is_pending for each in transactions),
    }


def _known(transactions: Iterable[Refunded]) -> Decimal:
    found = [each.amount for each in transactions]
    known = [amount for amount in found if amount is not None]
    if len(known) < len(found):
        raise ValueError("an amount is not known in shop currency")
    return total(known)


def day_of(refund: Mapping[str, Any], order: Mapping[str, Any]) -> datetime | None:
    """When it was processed; Shopify may say neither that nor when it was made, and then it is its order's day."""
    found: datetime | None = refund.get("processed_at") or refund.get("created_at") or order.get("processed_at")
    return found


def pending_since(refunds: Iterable[Mapping[str, Any]]) -> datetime | None:
    """Since when money is on its way, of the refund whose money is so longest."""
    return min((each["processed_at"] for each in refunds if each["is_pending"] and each["processed_at"]), default=None)
