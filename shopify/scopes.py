"""Access scopes: which we ask for, and which of them a shop has not granted."""

from collections.abc import Iterable

import settings
from shopify.resources import taken
from shopify.resources.orders import ALL_ORDERS

#: What the resources need that are taken of every shop, and the orders of more than sixty days ago.
DEFAULT = tuple(sorted({resource.scope for resource in taken(()).values()} | {ALL_ORDERS}))


def wanted() -> tuple[str, ...]:
    return settings.load().shopify_scopes or DEFAULT


def missing(granted: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Those of ``wanted`` that ``granted`` does not cover: to write includes to read."""
    held = set(granted)
    held |= {scope.replace("write_", "read_", 1) for scope in held if scope.startswith("write_")}
    return sorted(set(wanted) - held)
