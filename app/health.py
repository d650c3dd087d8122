"""Whether the process lives, and whether it can take webhooks."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from flask_openapi3.blueprint import APIBlueprint

from app import schemas
from app.directory import directory
from app.problems import RETRY_AFTER, Refusal, documented
from models import database
from tasks import broker

#: Seconds in which a dependency has to answer.
PATIENCE = 1.0

blueprint = APIBlueprint("health", __name__)


class Probe:
    """Asks a dependency in a thread of its own, at most once at a time: one that hangs costs PATIENCE, and one thread."""

    def __init__(self, ping: Callable[[], object]) -> None:
        self._ping = ping
        self._lock = threading.Lock()
        self._asked: Future[object] | None = None

    def answers(self) -> Literal["ok", "error"]:
        with self._lock:
            if self._asked is None or self._asked.done():
                executor = ThreadPoolExecutor(1, thread_name_prefix="probe")
                self._asked = executor.submit(self._ping)
                executor.shutdown(wait=False)
            asked = self._asked
        try:
            failed = asked.exception(timeout=PATIENCE) is not None
        except TimeoutError:
            failed = True
        return "error" if failed else "ok"


_nats = Probe(lambda: broker.ping(timeout=PATIENCE))
_postgres = Probe(database.ping)


@blueprint.get("/healthz", responses={200: schemas.Alive, **documented()})
def healthz() -> schemas.Alive:
    """Whether the process lives. Asks nothing of anybody."""
    return schemas.Alive()


@blueprint.get("/readyz", responses={200: schemas.Readiness, **documented(503)})
def readyz() -> schemas.Readiness:
    """Whether webhooks can be stored, and each dependency by name.

    Without Postgres webhooks still can, once the shops have been read.
    """
    nats, postgres = _nats.answers(), _postgres.answers()
    known: Literal["ok", "error"] = "ok" if directory.is_loaded else "error"
    if nats == "ok" and known == "ok":
        return schemas.Readiness(ready=True, nats=nats, postgres=postgres, directory=known)
    lacking = "NATS does not answer" if nats == "error" else "the shops have not been read yet"
    raise Refusal(
        503,
        f"webhooks cannot be stored: {lacking}",
        headers={"Retry-After": str(RETRY_AFTER)},
        ready=False,
        nats=nats,
        postgres=postgres,
        directory=known,
    )
