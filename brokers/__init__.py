"""Dramatiq on NATS JetStream."""

from .broker import JetStreamBroker
from .census import ActorStats, QueueStats
from .contents import Contents, Held, Place
from .dead_letters import DeadLetter, DeadLetters
from .errors import (
    AlreadyQueued,
    BrokerUnavailable,
    DeadLetterNotFound,
    KeyConflict,
    MessageTooLarge,
    NotStored,
    NotStoredYet,
    RequestRefused,
    ServerTooOld,
    StorageFull,
    UnsafeSetting,
    WorkerKilled,
)
from .history import Attempt
from .key_value import Entry, KeyValue
from .lane_stats import LaneStats
from .rate_limits import JetStreamRateLimiterBackend
from .results import JetStreamResultBackend
from .schedules import Schedule, Schedules

__all__ = [
    "ActorStats",
    "AlreadyQueued",
    "Attempt",
    "BrokerUnavailable",
    "Contents",
    "DeadLetter",
    "DeadLetterNotFound",
    "DeadLetters",
    "Entry",
    "Held",
    "JetStreamBroker",
    "JetStreamRateLimiterBackend",
    "JetStreamResultBackend",
    "KeyConflict",
    "KeyValue",
    "LaneStats",
    "MessageTooLarge",
    "NotStored",
    "NotStoredYet",
    "Place",
    "QueueStats",
    "RequestRefused",
    "Schedule",
    "Schedules",
    "ServerTooOld",
    "StorageFull",
    "UnsafeSetting",
    "WorkerKilled",
    "__version__",
]

#: Of the wheel ``dramatiq-jetstream``; its one place.
__version__ = "0.1.0"
