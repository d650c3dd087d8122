"""Actors of this broker on Dramatiq's ``StubBroker``, for tests that need no server."""

import contextvars
import functools
from collections.abc import Callable
from typing import Any

from dramatiq.actor import Actor
from dramatiq.broker import Broker, MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.message import Message
from dramatiq.middleware import Middleware

from . import batches, lanes, unique

#: What JetStreamBroker adds to the options of Dramatiq's actors.
ACTOR_OPTIONS = batches.OPTIONS | {
    "infrastructure_errors",
    lanes.LANE,
    lanes.PRIORITY,
    lanes.LIMIT,
    lanes.DEAD_LANE,
    unique.UNIQUE,
    unique.WHILE,
}


class JetStreamOptions(Middleware):
    """Lets actors with the options of JetStreamBroker be declared on, and run by, Dramatiq's ``StubBroker``.

    A batch actor gets one message in each call there.  The other options have no effect.  On another broker it does nothing.

    Examples:

      >>> broker = StubBroker()
      >>> broker.add_middleware(JetStreamOptions())
    """

    def __init__(self) -> None:
        self._message: contextvars.ContextVar[MessageProxy | None] = contextvars.ContextVar("message", default=None)

    @property
    def actor_options(self) -> set[str]:
        return set(ACTOR_OPTIONS)

    def before_declare_actor(self, broker: Broker, actor: "Actor[Any, Any]") -> None:
        if isinstance(broker, StubBroker) and batches.Limits.of(actor.options) is not None:
            actor.fn = self._one_at_a_time(actor.fn, actor.actor_name)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002  Dramatiq's form
        self._message.set(message)

    def _one_at_a_time(self, function: Callable[..., Any], actor_name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            message = self._message.get()
            if message is None or message.actor_name != actor_name:  # another actor calls this one
                return function(*args, **kwargs)
            self._message.set(None)
            return batches.results_of(actor_name, function([Message(**message.asdict())]), 1)[0]

        return run
