"""The shapes of Shopify that ``samples/`` holds: recorded and documented ones of 2026, with synthetic values."""

import json
from pathlib import Path
from typing import Any

from shopify.transport import exact

_DIRECTORY = Path(__file__).parent / "samples"


def sample(name: str, /, **changes: Any) -> dict[str, Any]:
    """A fresh copy of ``samples/{name}.json``, decimals exact as the client and the webhooks parse them."""
    shape: dict[str, Any] = json.loads((_DIRECTORY / f"{name}.json").read_text(encoding="utf-8"), parse_float=exact)
    return shape | changes


def body(name: str, /, **changes: Any) -> bytes:
    """The same as the bytes of a webhook."""
    return json.dumps(sample(name, **changes), default=float).encode()


def without(shape: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in shape.items() if key not in keys}


def money_bag(amount: str, currency: str = "CAD") -> dict[str, Any]:
    """GraphQL's, with another amount in the buyer's currency."""
    return {
        "shopMoney": {"amount": amount, "currencyCode": currency},
        "presentmentMoney": {"amount": "99999.9", "currencyCode": "XXX"},
    }


def money_set(amount: str, currency: str = "AUD") -> dict[str, Any]:
    """REST's, with another amount in the buyer's currency."""
    return {
        "shop_money": {"amount": amount, "currency_code": currency},
        "presentment_money": {"amount": "99999.9", "currency_code": "XXX"},
    }
