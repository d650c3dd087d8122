"""Shopify's scalars as values that Postgres can hold exactly: ids, money, times, text, states.

Functions read one value, and raise ValueError for what cannot be stored as it stands: nothing is rounded, cut or guessed.
The types are pydantic's, for REST's payloads; ``shopify.nodes`` has those of GraphQL.
"""

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints

#: Ids are stored as bigint.
MAX_ID = 2**63 - 1
#: More than any currency's turnover in its smallest unit; a larger amount is a mistake or an attack.
MAX_MONEY = Decimal(10) ** 15
MAX_MONEY_DECIMALS = 6

#: A NUL cannot be stored by Postgres. pydantic itself refuses lone surrogates in a ``str``.
Text = Annotated[str, StringConstraints(strict=True, pattern=r"^[^\x00]*$")]
#: A state such as PAID or ``paid``; REST spells it in lower case, GraphQL in capitals.
State = Annotated[str, StringConstraints(strict=True, to_lower=True, pattern=r"^[A-Za-z0-9_]+$")]
Currency = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z]{3}$")]
Flag = Annotated[bool, Field(strict=True)]
#: Quantities are stored as integer.
Count = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1)]
#: An id as REST gives it: a JSON number.
Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]

_STATE, _CURRENCY = re.compile(r"[A-Za-z0-9_]+"), re.compile(r"[A-Z]{3}")
_PLAIN_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def text(value: str) -> str:
    """Text as it is. A NUL cannot be stored by Postgres, nor half of a surrogate pair."""
    if "\x00" in value:
        raise ValueError("holds a NUL or a character that does not belong there")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds a lone surrogate") from None
    return value


@functools.lru_cache(maxsize=1024)
def state(value: str) -> str:
    """A state such as PAID in lower case, as REST spells it."""
    if not _STATE.fullmatch(value):
        raise ValueError("holds a character that does not belong there")
    return value.lower()


@functools.lru_cache(maxsize=1024)
def currency(value: str) -> str:
    """An ISO 4217 code."""
    if not _CURRENCY.fullmatch(value):
        raise ValueError("is no currency")
    return value


_SMALLEST = Decimal(1).scaleb(-MAX_MONEY_DECIMALS)
_CENT = Decimal("0.01")


def _stored(amount: Decimal) -> Decimal:
    """The amount as it is kept: exact, and of one spelling, as REST's "13.50" and GraphQL's "13.5" are one amount."""
    if not amount.is_finite():
        raise ValueError("is not finite")
    if abs(amount) > MAX_MONEY:
        raise ValueError("is beyond 1e15")
    if amount != amount.quantize(_SMALLEST):
        raise ValueError(f"has more than {MAX_MONEY_DECIMALS} decimals")
    cents = amount.quantize(_CENT)
    return abs(cents) if not cents and not amount else cents if cents == amount else amount.normalize()


@functools.lru_cache(maxsize=2048)  # amounts repeat: a page of orders holds mostly the same prices and many zeros
def decimal(text: str) -> Decimal:
    """An exact amount from a decimal string, see ``amount``."""
    whole, point, cents = text.partition(".")
    if text.isascii() and whole.isdigit() and len(whole) <= 15 and len(cents) <= 2 and cents.isdigit() == bool(point):
        return Decimal(f"{whole}.{cents:0<2}")  # nearly all are of this kind
    if len(text) > 64 or not _PLAIN_DECIMAL.fullmatch(text):
        raise ValueError("is not a decimal amount")
    return _stored(Decimal(text))


def amount(value: object) -> Decimal:
    """An exact amount from a decimal string, a JSON integer or a JSON number parsed as Decimal; never from a float.

    Raises ValueError when it is not finite, beyond 1e15 or finer than six decimals.
    """
    if type(value) is str:
        return decimal(value)
    if isinstance(value, Decimal):
        return _stored(value)
    if type(value) is int and abs(value) <= MAX_MONEY:
        return _stored(Decimal(value))
    raise ValueError("is not a decimal amount")


Money = Annotated[Decimal, PlainValidator(amount)]


def object_of(value: object, key: str) -> dict[str, Any]:
    """``value``, which must be an object. Raises ValueError: pydantic takes no other error for a refusal."""
    if not isinstance(value, dict):
        raise ValueError(f"is not an object with {key}")  # noqa: TRY004
    return value


class MoneySet(NamedTuple):
    """One amount in two currencies: the shop's, and the buyer's (``presentment``) where it is told."""

    amount: Decimal
    currency: str
    presentment: Decimal | None


def _rest_set(value: object) -> MoneySet | None:
    if value is None:
        return None
    sides = object_of(value, "shop_money")
    shop, presentment = object_of(sides.get("shop_money"), "shop_money"), sides.get("presentment_money")
    code = shop.get("currency_code")
    if not isinstance(code, str):
        raise ValueError("has no currency_code")  # noqa: TRY004
    buyers = None if presentment is None else amount(object_of(presentment, "presentment_money").get("amount"))
    return MoneySet(amount(shop.get("amount")), currency(code), buyers)


#: A REST ``…_set``.
RestMoneySet = Annotated[MoneySet | None, PlainValidator(_rest_set)]

#: Digits behind the point of a rate that are written out; below that nobody taxes.
_RATE_DIGITS = 30


def rate(value: object) -> str:
    """A tax rate, of one spelling: REST and GraphQL give JSON numbers, with as many decimals as it has.

    Text, since nothing is reckoned with it: amounts of tax come with it. Raises ValueError.
    """
    if type(value) not in {str, int} and not isinstance(value, Decimal):
        raise ValueError("is not a rate")
    return _written_out(value)


@functools.lru_cache(maxsize=1024)  # a shop has a handful
def _written_out(value: Any) -> str:
    try:
        found = Decimal(value).normalize()
    except ArithmeticError:
        raise ValueError("is not a rate") from None
    if not found.is_finite():
        raise ValueError("is not a rate")
    return f"{found:f}" if abs(found.adjusted()) < _RATE_DIGITS else str(found)


Rate = Annotated[str, PlainValidator(rate)]


def time(value: object) -> datetime:
    """A point in time, in UTC, from ISO 8601 with ``Z`` or an offset. Raises ValueError, also for a naive one."""
    if type(value) is not str:
        raise ValueError("is not a time")
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a time") from None
    if parsed.tzinfo is None:
        raise ValueError("is a time without an offset")
    try:
        return parsed if parsed.tzinfo is UTC else parsed.astimezone(UTC)
    except OverflowError:
        raise ValueError("is a time out of range") from None


Time = Annotated[datetime, PlainValidator(time)]


def _split_tags(value: object) -> object:
    return [tag for part in value.split(",") if (tag := part.strip())] if isinstance(value, str) else value


#: GraphQL's list, or REST's comma string.
Tags = Annotated[list[Text], BeforeValidator(_split_tags)]


def gid(kind: str) -> Callable[[object], int]:
    """A parser of ``gid://shopify/{kind}/{number}`` that raises ValueError for anything else."""
    prefix = f"gid://shopify/{kind}/"

    def parse(value: object) -> int:
        if type(value) is str and value.startswith(prefix):
            digits = value[len(prefix) :]
            if digits.isascii() and digits.isdigit() and digits[0] != "0" and len(digits) < 20:
                number = int(digits)
                if number <= MAX_ID:
                    return number
        raise ValueError(f"is not an id of {kind}")

    return parse


def gid_of(kind: str, shopify_id: int) -> str:
    return f"gid://shopify/{kind}/{shopify_id}"


def rest_id(value: Any) -> int:
    """A REST id: a positive 64-bit JSON integer. Raises ValueError."""
    if type(value) is not int or not 1 <= value <= MAX_ID:
        raise ValueError("is not an id")
    return value


def rest_reference(value: object) -> int | None:
    """REST's ``{"id": 7, …}``, or null."""
    if value is None:
        return None
    return rest_id(object_of(value, "id").get("id"))
