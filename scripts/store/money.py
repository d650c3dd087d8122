"""Money as Shopify keeps it: an amount in the shop's currency beside the buyer's, in minor units."""

from functools import lru_cache
from typing import NamedTuple

#: Currencies without the usual two decimals (ISO 4217) that a test may meet.
DECIMALS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "KWD": 3, "BHD": 3}


class Money(NamedTuple):
    """``shop`` and ``presentment`` are minor units; ``currencies`` is the pair "USD/EUR", shop's first."""

    shop: int
    presentment: int
    currencies: str

    def plus(self, other: "Money") -> "Money":
        return Money(self.shop + other.shop, self.presentment + other.presentment, self.currencies)

    def minus(self, other: "Money") -> "Money":
        return Money(self.shop - other.shop, self.presentment - other.presentment, self.currencies)

    def times(self, count: int) -> "Money":
        return Money(self.shop * count, self.presentment * count, self.currencies)

    def share(self, part: int, whole: int) -> "Money":
        """``part / whole`` of it, rounded half up in both currencies; the whole of it when part equals whole."""
        if part == whole:
            return self
        return Money(rounded(self.shop * part, whole), rounded(self.presentment * part, whole), self.currencies)

    @property
    def negative(self) -> "Money":
        return Money(-self.shop, -self.presentment, self.currencies)

    @property
    def currency(self) -> str:
        return self.currencies.partition("/")[0]

    @property
    def presentment_currency(self) -> str:
        return self.currencies.partition("/")[2]


def rounded(numerator: int, denominator: int) -> int:
    """The quotient rounded half away from zero."""
    half = abs(numerator) * 2 + denominator
    quotient = half // (2 * denominator)
    return quotient if numerator >= 0 else -quotient


def zero(currencies: str) -> Money:
    return Money(0, 0, currencies)


@lru_cache(maxsize=100_000)
def rest_amount(minor: int, currency: str) -> str:
    """``"45.00"``: REST keeps the currency's decimals."""
    decimals = DECIMALS.get(currency, 2)
    if not decimals:
        return str(minor)
    whole, part = divmod(abs(minor), 10**decimals)
    return f"{'-' if minor < 0 else ''}{whole}.{part:0{decimals}d}"


@lru_cache(maxsize=100_000)
def graphql_amount(minor: int, currency: str) -> str:
    """``"45.0"``: GraphQL trims zeros but keeps one decimal."""
    text = rest_amount(minor, currency)
    if "." not in text:
        return text + ".0"
    text = text.rstrip("0")
    return text + "0" if text.endswith(".") else text


def minor_units(amount: str, currency: str) -> int:
    """The minor units of a decimal string. Raises ValueError when it has more decimals than the currency."""
    decimals = DECIMALS.get(currency, 2)
    sign = -1 if amount.startswith("-") else 1
    whole, _, part = amount.lstrip("+-").partition(".")
    part = part.rstrip("0")
    if len(part) > decimals:
        raise ValueError(f"{amount} has more decimals than {currency} knows")
    return sign * int(whole + part.ljust(decimals, "0"))
