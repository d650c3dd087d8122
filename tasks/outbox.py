"""Messages that go out when, and only when, a transaction commits: what starts a run and the run itself are one."""

from sqlmodel import SQLModel

from brokers.outbox import Outbox, OutboxRelay
from models.database import engine
from tasks.connection import broker

outbox = Outbox(SQLModel.metadata, broker=broker)
broker.add_middleware(OutboxRelay(outbox, engine))
