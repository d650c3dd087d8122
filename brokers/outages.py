"""What the log says of an outage: a line when it begins and one when it is over, however many connections notice it."""

import logging
import threading
import time

logger = logging.getLogger(__name__)


class Outage:
    """Shared by the connections of one process to the same servers."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self._is_known = False
        self._was_connected = False

    def begin(self, reason: str) -> None:
        """NATS is away, or cannot be reached."""
        with self._lock:
            if self._is_known:
                return
            self._is_known = True
            if self._was_connected:
                self._since = time.monotonic()
                logger.warning("lost the connection to NATS at %s (%s), reconnecting", self._address, reason)
            else:
                logger.warning("cannot reach NATS at %s (%s), trying again", self._address, reason)

    def end(self) -> None:
        """There is a connection."""
        with self._lock:
            self._was_connected = True
            if self._is_known:
                self._is_known = False
                logger.info("connected to NATS at %s after %.1f s", self._address, time.monotonic() - self._since)
