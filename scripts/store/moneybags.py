"""Money in answers: the dicts of one selection, made once for each amount.

Shops repeat their amounts, and JSON does not mind that one dict stands in many places.
"""

from typing import Any

from .money import Money, graphql_amount

#: Amounts remembered for one selection.
MOST = 50_000
#: (response key, field) pairs.
Names = list[tuple[str, str]]


class MoneyBags(dict[Money | None, Any]):
    """``bags[money]`` is the MoneyBag; ``selected`` holds (key, side, fields of the side)."""

    def __init__(self, selected: list[tuple[str, str, Names]]) -> None:
        super().__init__()
        self._selected = selected

    def __missing__(self, money: Money | None) -> dict[str, Any] | None:
        if money is None:
            return None
        if len(self) > MOST:
            self.clear()
        bag: dict[str, Any] = {}
        for key, side, names in self._selected:
            if side == "shopMoney":
                bag[key] = _amount(names, money.shop, money.currency)
            elif side == "presentmentMoney":
                bag[key] = _amount(names, money.presentment, money.presentment_currency)
            else:
                bag[key] = "MoneyBag"
        self[money] = bag
        return bag


class Amounts(dict[tuple[int, str] | None, Any]):
    """Likewise for MoneyV2, by (minor units, currency)."""

    def __init__(self, selected: Names) -> None:
        super().__init__()
        self._selected = selected

    def __missing__(self, amount: tuple[int, str] | None) -> dict[str, Any] | None:
        return None if amount is None else _amount(self._selected, *amount)


def _amount(names: Names, minor: int, currency: str) -> dict[str, str]:
    values = {"amount": graphql_amount(minor, currency), "currencyCode": currency, "__typename": "MoneyV2"}
    return {key: values[name] for key, name in names}
