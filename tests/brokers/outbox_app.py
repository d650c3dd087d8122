"""Commits a message through the outbox, and dies by SIGKILL at the moment that OUTBOX_DIE names."""

import os
import signal
import time
from typing import Any, NoReturn

import dramatiq
import sqlalchemy as sa
from sqlalchemy.orm import Session

from brokers import JetStreamBroker
from brokers.outbox import Outbox


def die(*_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


broker = JetStreamBroker(os.environ["OUTBOX_NATS"], namespace=os.environ["OUTBOX_NAMESPACE"])
dramatiq.set_broker(broker)
outbox = Outbox(sa.MetaData(), table=os.environ["OUTBOX_TABLE"])
if os.environ["OUTBOX_DIE"] == "before the relay":
    outbox._wake = die  # type: ignore[method-assign]
else:
    outbox._settle = die  # type: ignore[method-assign]


@dramatiq.actor
def act(value: str) -> None: ...


engine = sa.create_engine(os.environ["OUTBOX_URL"])
with Session(engine) as session, session.begin():
    outbox.send(session, act, "committed")
time.sleep(30)
