"""Customers invented from a seed."""

import unicodedata
from functools import lru_cache

from . import names
from .dice import Dice
from .identity import make_id
from .records import Address, Customer

TAGS = ["newsletter", "vip", "wholesale"]


def invent_customer(seed: int, salt: int, place: int, *, created_at: int, updated_at: int) -> Customer:
    """The customer at ``place`` of the shop; the same one every time."""
    dice = Dice(seed, 101, place)
    first, last = _name(dice)
    town, province, country, code = dice.pick(names.TOWNS)
    address = Address(
        id=make_id("MailingAddress", salt, place),
        first_name=first,
        last_name=last,
        address1=f"{dice.between(1, 180)} {dice.pick(names.STREETS)}",
        city=town,
        province_code=province,
        country_code=country,
        zip=code,
    )
    return Customer(
        id=make_id("Customer", salt, place),
        first_name=first,
        last_name=last,
        email=_email(first, last, place),
        phone=f"+1555{place % 10_000_000:07d}" if dice.chance(300) else None,
        created_at=created_at,
        updated_at=max(updated_at, created_at),
        state="enabled" if dice.chance(350) else "disabled",
        verified_email=not dice.chance(60),
        note="Asked for a call before delivery" if dice.chance(15) else None,
        tags=[dice.pick(TAGS)] if dice.chance(200) else [],
        address=address,
    )


def invent_email(seed: int, place: int) -> str:
    """The address of the customer at ``place``, without the rest of them."""
    return _email(*_name(Dice(seed, 101, place)), place)


def _name(dice: Dice) -> tuple[str, str]:
    return dice.pick(names.FIRST), dice.pick(names.LAST)


def _email(first: str, last: str, place: int) -> str:
    return f"{_ascii(first)}.{_ascii(last)}.{place + 1}@example.com"


@lru_cache(maxsize=1024)
def _ascii(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.replace("ø", "o").replace("Ø", "O"))
    return "".join(letter for letter in letters if letter.isascii() and letter.isalnum()).lower()
