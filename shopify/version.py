"""The version of the Admin API that we speak, and what the answers say about it."""

import logging
import threading
from collections.abc import Mapping

#: Quarterly; supported for at least a year. An expired one silently falls forward to the oldest supported.
API_VERSION = "2026-10"

_logger = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()
_lock = threading.Lock()


def check(headers: Mapping[str, str]) -> None:
    """Log, once a process, that answers are of another version than asked, or that what we use is deprecated."""
    served = headers.get("X-Shopify-API-Version")
    if served is not None and served != API_VERSION and _is_news("served", served):
        _logger.warning("Shopify answers with API version %.20r where %s was asked for", served, API_VERSION)
    deprecated = headers.get("X-Shopify-API-Deprecated-Reason")
    if deprecated is not None and _is_news("deprecated", deprecated):
        _logger.warning("Shopify deprecates what we use: %.200r", deprecated)


def _is_news(kind: str, text: str) -> bool:
    with _lock:
        if (kind, text) in _told or len(_told) > 100:
            return False
        _told.add((kind, text))
        return True
