"""Whose webhook it is: every live tenant's domain and secrets in memory, so that taking webhooks needs no Postgres.

The whole is read again every minute and kept, stale, while Postgres is away. What this process itself changes it
remembers at once; a domain that is not here is looked up, within bounds that no stranger's requests can exceed.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from models import signing_secrets
from models.database import transaction
from models.signing_secrets import SigningSecrets
from models.tenants import Tenant

logger = logging.getLogger(__name__)

#: Seconds between two readings of the whole; and after one that failed, before and after the first success.
REFRESH, RETRY_FIRST, RETRY = 60.0, 1.0, 5.0
#: Seconds that a webhook waits for the first reading.
FIRST_READING = 1.0
#: Seconds for which the answer to a look-up of one domain holds, and for which Postgres counts as away after a failure.
LOOKED_UP, AWAY = 2.0, 2.0
#: Look-ups a second that strangers can cause, and how many of them at once.
LOOK_UPS_PER_SECOND, LOOK_UPS_AT_ONCE = 20, 2
#: Seconds that a webhook waits for its turn to be looked up.
TURN = 0.5
#: Domains whose look-up is remembered; more than that within LOOKED_UP is somebody making names up.
MOST_LOOKED_UP = 1000


class Unknowable(Exception):
    """Whether there is such a shop cannot be found out now."""


class Directory:
    """``read_all`` and ``read_one`` raise SQLAlchemyError when Postgres is away."""

    def __init__(
        self,
        *,
        read_all: Callable[[], Sequence[SigningSecrets]],
        read_one: Callable[[str], SigningSecrets | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_all, self._read_one, self._clock = read_all, read_one, clock
        self._entries: dict[str, SigningSecrets] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """The parent's thread is not here, and its locks may be held by threads that are not either."""
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(LOOK_UPS_AT_ONCE)
        self._thread: threading.Thread | None = None
        self._was_read, self._was_tried, self._stopped = threading.Event(), threading.Event(), threading.Event()
        #: Counts this process's own changes: what was read before one must not undo it.
        self._changes = 0
        self._looked_up: dict[str, float] = {}
        self._away_until = 0.0
        self._second, self._look_ups = 0, 0

    # --- asking ------------------------------------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether the whole was read at least once. Waits for the first try."""
        self.start()
        return self._was_read.is_set() or (self._was_tried.wait(FIRST_READING) and self._was_read.is_set())

    def find(self, shop_domain: str) -> SigningSecrets | None:
        """The tenant of a domain. Raises Unknowable."""
        self.start()
        if not self._was_read.is_set():
            self._was_tried.wait(FIRST_READING)
        known = self._entries.get(shop_domain)
        return known if known is not None else self._look_up(shop_domain)

    def look_again(self, known: SigningSecrets) -> SigningSecrets | None:
        """The tenant as it is now, for a webhook that the known secrets did not sign: they may just have been replaced."""
        try:
            return self._look_up(known.shop_domain)
        except Unknowable:
            return known

    def _look_up(self, shop_domain: str) -> SigningSecrets | None:
        now = self._clock()
        if self._looked_up.get(shop_domain, 0.0) > now:
            return self._entries.get(shop_domain)
        if self._away_until > now or not self._may_look_up(now) or not self._turns.acquire(timeout=TURN):
            raise Unknowable
        try:
            changes = self._changes
            found = self._read_one(shop_domain)
        except SQLAlchemyError:
            self._away_until = self._clock() + AWAY
            raise Unknowable from None
        finally:
            self._turns.release()
        with self._lock:
            if changes == self._changes:
                self._set(shop_domain, found)
            if len(self._looked_up) >= MOST_LOOKED_UP:
                self._looked_up.clear()
            self._looked_up[shop_domain] = self._clock() + LOOKED_UP
        return found

    def _may_look_up(self, now: float) -> bool:
        with self._lock:
            if int(now) != self._second:
                self._second, self._look_ups = int(now), 0
            self._look_ups += 1
            return self._look_ups <= LOOK_UPS_PER_SECOND

    # --- what this process changes -----------------------------------------------------------------------------------

    def remember(self, tenant: Tenant) -> None:
        """After the commit that made or changed the tenant."""
        with self._lock:
            self._changes += 1
            self._set(tenant.shop_domain, signing_secrets.of(tenant))

    def forget(self, shop_domain: str) -> None:
        """After the commit that offboarded the tenant."""
        with self._lock:
            self._changes += 1
            self._set(shop_domain, None)

    def _set(self, shop_domain: str, entry: SigningSecrets | None) -> None:
        if entry is None:
            self._entries.pop(shop_domain, None)
        else:
            self._entries[shop_domain] = entry

    # --- staying fresh -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read in the background, in this process; nothing if it has begun."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_fresh, name="directory", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_fresh(self) -> None:
        stopped = self._stopped
        pause = 0.0
        while not stopped.wait(pause):
            try:
                self.refresh()
                pause = REFRESH
            except SQLAlchemyError as error:
                pause = RETRY if self._was_read.is_set() else RETRY_FIRST
                logger.warning("the shops cannot be read, trying again in %.0f s: %s", pause, type(error).__name__)
            except Exception:
                # Without this thread the process would serve ever staler secrets and say nothing.
                pause = RETRY
                logger.exception("the shops cannot be read, trying again in %.0f s", pause)
            self._was_tried.set()

    def refresh(self) -> None:
        """Read the whole. Raises SQLAlchemyError."""
        while True:
            changes = self._changes
            entries = {each.shop_domain: each for each in self._read_all()}
            with self._lock:
                if changes == self._changes:
                    self._entries = entries
                    self._was_read.set()
                    return


def _read_all() -> Sequence[SigningSecrets]:
    with transaction() as session:
        return signing_secrets.of_all(session)


def _read_one(shop_domain: str) -> SigningSecrets | None:
    with transaction() as session:
        return signing_secrets.of_domain(session, shop_domain)


#: This process's directory.
directory = Directory(read_all=_read_all, read_one=_read_one)
os.register_at_fork(after_in_child=directory.after_fork)
