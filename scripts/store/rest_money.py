"""Money in REST shapes."""

from typing import Any

from .money import Money, rest_amount


def amount(money: Money) -> str:
    """In the shop's currency, with its decimals."""
    return rest_amount(money.shop, money.currency)


def money_set(money: Money) -> dict[str, Any]:
    return {
        "shop_money": {"amount": amount(money), "currency_code": money.currency},
        "presentment_money": {
            "amount": rest_amount(money.presentment, money.presentment_currency),
            "currency_code": money.presentment_currency,
        },
    }
