"""What surrounds the processing of a message: Dramatiq's signals before and after it, with our bookkeeping around them."""

from typing import Any

from dramatiq.broker import Broker
from dramatiq.results import Results

from . import history, identity
from .consumer import JetStreamMessage
from .errors import BrokerUnavailable, JetStreamError
from .pauses import GivenBack
from .poison import Suspects
from .unique import Started


class ProcessingBroker(Broker):
    """The part of the broker that Dramatiq's worker threads call around each message."""

    #: Set by the broker itself.
    _suspects: Suspects
    #: Told of messages that are unique only until they start.
    started: Started

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        if signal == "process_message" and isinstance(args[0], JetStreamMessage):
            self._suspects.begin(args[0])
            identity.begin(args[0].processing)
            self.started.begin(args[0].message, args[0].delivery)
            args[0].has_begun = True
        elif signal == "worker_boot":
            self._suspects.worker_starts()
        elif signal == "worker_shutdown":
            self._suspects.worker_stops()
        super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        if signal in {"process_message", "skip_message"} and isinstance(args[0], JetStreamMessage):
            try:
                if args[0].has_begun:
                    self._finish(signal, args[0], kwargs)
            finally:
                self._suspects.end()
            return
        if signal == "worker_shutdown":
            self._suspects.worker_starts()  # another worker of this process may go on
        super().emit_after(signal, *args, **kwargs)

    def _finish(self, signal: str, message: JetStreamMessage, kwargs: dict[str, Any]) -> None:
        identity.begin(message.processing)  # again, when an interrupt made Dramatiq's worker come here twice
        try:
            if isinstance(kwargs.get("exception"), GivenBack):
                # To the middleware it was skipped: Retries must not count it, but timers and sessions must end.
                message.give_back_after = message.processing.pause.remaining()
                self._emit_given_back(message)
            else:
                self._emit_after_actor(signal, message, kwargs)
        finally:
            self.started.end(message.message, message.delivery, is_given_back=message.give_back_after is not None)
            identity.end()

    def _emit_given_back(self, message: JetStreamMessage) -> None:
        for middleware in reversed(self.middleware):
            if isinstance(middleware, Results):  # which would store None as the result of what was skipped
                continue
            try:
                middleware.after_skip_message(self, message)
            except Exception:
                self.logger.critical("Unexpected failure in after_skip_message of %r.", middleware, exc_info=True)

    def _emit_after_actor(self, signal: str, message: JetStreamMessage, kwargs: dict[str, Any]) -> None:
        """Run the middleware, and see to it that no retry, next step or callback of theirs is lost (dramatiq #545).

        Nor a result or a group's count, whose backends raise the same errors.
        """
        processing = message.processing
        processing.is_after_actor = True
        if kwargs.get("exception") is not None:
            history.note(message.message, message.delivery, kwargs["exception"])  # before Retries passes it on
        for middleware in reversed(self.middleware):
            try:
                getattr(middleware, f"after_{signal}")(self, message, **kwargs)
            except Exception as error:
                if isinstance(error, BrokerUnavailable | JetStreamError):
                    processing.failure = processing.failure or error
                elif error is not processing.failure:
                    self.logger.critical("Unexpected failure in after_%s of %r.", signal, middleware, exc_info=True)
        failure = processing.failure
        if isinstance(failure, BrokerUnavailable):
            message.give_back_after = processing.pause.failed(failure)
        elif failure is not None:
            self.logger.error(
                "Message %s becomes a dead letter, its result or successor cannot be stored: %s", message, failure
            )
            message.fail()
            message.stuff_exception(failure)
