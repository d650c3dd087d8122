"""Orders as webhooks tell of them, as many distinct ones as are wanted: some of a simulated shop's, with other ids each time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests

#: Between the ids of one round of the same orders and those of the next: more than a simulated shop gives out.
_ROUND = 10**13


def of_shop(control_url: str, domain: str, *, count: int) -> list[dict[str, Any]]:
    """The payloads of some orders of a simulated shop, spread over its history."""
    shop_url = f"{control_url}/shops/{domain}"
    with requests.Session() as session:
        session.trust_env = False

        def asked(url: str, query: Mapping[str, str]) -> Any:
            answer = session.get(url, params=query, timeout=30)
            answer.raise_for_status()
            return answer.json()

        ids = asked(shop_url, {"ids": "orders"})["ids"]
        chosen = ids[:: max(len(ids) // count, 1)][:count]
        return [asked(f"{shop_url}/payload", {"kind": "orders", "id": each["id"]}) for each in chosen]


def distinct(orders: Sequence[dict[str, Any]], *, first: int, count: int) -> Iterator[bytes]:
    """The ``count`` bodies from number ``first`` on of an endless row in which no two are of one order."""
    for number in range(first, first + count):
        rounds, index = divmod(number, len(orders))
        yield json.dumps(_renumbered(orders[index], by=rounds * _ROUND)).encode()


def _renumbered(value: Any, *, by: int) -> Any:
    """The same with every id raised, its own and those that it refers to."""
    if isinstance(value, list):
        return [_renumbered(each, by=by) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _raised(name, each, by) for name, each in value.items()}


def _raised(name: str, value: Any, by: int) -> Any:
    if isinstance(value, int) and (name == "id" or name.endswith("_id")):
        return value + by
    if isinstance(value, str) and value.startswith("gid://shopify/"):
        kind, _, number = value.rpartition("/")
        return f"{kind}/{int(number) + by}"
    return _renumbered(value, by=by)
