"""Keeping what Shopify's answers say about our version of its API: counted for all processes, and logged by one of them."""

import logging
import threading
import time
from collections.abc import Mapping

from models import api_notices
from models.database import OUTAGES, transaction
from shopify import version
from shopify.version import API_VERSION, Kind, Notice

logger = logging.getLogger(__name__)

#: Seconds between two writes of a process: every answer may say the same. A killed process loses what it counted since.
PAUSE = 10.0

_TOLD = {
    Kind.OTHER_VERSION: f"Shopify answers with API version %s where {API_VERSION} was asked for",
    Kind.DEPRECATED: "Shopify deprecates what we use: %s",
}
_turn = threading.Lock()
_next = 0.0


def keep() -> None:
    """Keep what this process has heard, unless it did a moment ago. Raises nothing while Postgres is away."""
    global _next  # noqa: PLW0603
    if time.monotonic() < _next or not _turn.acquire(blocking=False):
        return
    try:
        taken = version.take()
        if taken:
            _next = time.monotonic() + PAUSE
            for notice in _kept(taken):
                logger.warning(_TOLD[notice.kind], notice.detail)
    finally:
        _turn.release()


def _kept(taken: Mapping[Notice, int]) -> list[Notice]:
    """Those that are to be told."""
    try:
        with transaction() as session:
            return [
                notice
                for notice in sorted(taken, key=str)  # in one order, so that two processes do not wait for each other
                if api_notices.count(session, kind=notice.kind, detail=notice.detail, answers=taken[notice])
            ]
    except OUTAGES as error:
        logger.warning("what Shopify says about our API version is kept later: %s", type(error).__name__)
        version.put_back(taken)
        return []
