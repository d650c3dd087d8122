"""What surrounds the processing of a message: Dramatiq's signals before and after it, with our bookkeeping around them."""

from typing import Any, NoReturn

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import (
    CurrentMessage,
    Middleware,
    MiddlewareError,
    ShutdownNotifications,
    SkipMessage,
    TimeLimit,
)
from dramatiq.results import Results

from . import history, identity
from .batches import Batch, Member
from .consumer import JetStreamMessage
from .errors import BrokerUnavailable, JetStreamError, WorkerKilled
from .pauses import GivenBack
from .poison import Suspects
from .signals import Signals
from .unique import Started

#: Middleware that keeps one thing for each worker thread, which a batch's members share and end one after another.
OF_A_THREAD = (TimeLimit, ShutdownNotifications, CurrentMessage)


class ProcessingBroker(Broker):
    """The part of the broker that Dramatiq's worker threads call around each message."""

    #: Set by the broker itself.
    _suspects: Suspects
    #: Told of messages that are unique only until they start.
    started: Started

    def __init__(self, middleware: list[Middleware] | None) -> None:
        self._signals = Signals()
        super().__init__(middleware)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        if signal == "process_message" and isinstance(args[0], JetStreamMessage):
            _give_back_if_held(args[0])
            self._suspects.begin(args[0])
            self._begin(args[0])
            return
        if args and isinstance(args[0], Batch):
            self._emit_before_batch(signal, args[0])
            return
        if signal == "worker_boot":
            self._suspects.worker_starts()
        elif signal == "worker_shutdown":
            self._suspects.worker_stops()
        self._tell_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        if args and isinstance(args[0], Batch):
            self._emit_after_batch(signal, args[0], kwargs.get("exception"))
            return
        if signal in {"process_message", "skip_message"} and isinstance(args[0], JetStreamMessage):
            try:
                if args[0].has_begun:
                    self._finish(signal, args[0], kwargs)
            finally:
                self._suspects.end()
            return
        if signal == "worker_shutdown":
            self._suspects.worker_starts()  # another worker of this process may go on
        self._tell_after(signal, *args, **kwargs)

    def _tell_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """As Dramatiq's ``emit_before``, without those who do nothing."""
        method = f"before_{signal}"
        for middleware in self._signals.listeners(self.middleware, method):
            try:
                getattr(middleware, method)(self, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:
                self.logger.critical("Unexpected failure in %s of %r.", method, middleware, exc_info=True)

    def _tell_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """As Dramatiq's ``emit_after``."""
        method = f"after_{signal}"
        for middleware in reversed(self._signals.listeners(self.middleware, method)):
            try:
                getattr(middleware, method)(self, *args, **kwargs)
            except Exception:
                self.logger.critical("Unexpected failure in %s of %r.", method, middleware, exc_info=True)

    def _begin(self, message: JetStreamMessage) -> None:
        identity.begin(message.processing)
        self.started.begin(message.message, message.delivery)
        message.has_begun = True
        self._tell_before("process_message", message)

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
        processing.once_all_is_stored.clear()  # of a first time that was interrupted, and stored not all
        if kwargs.get("exception") is not None:
            history.note(message.message, message.delivery, kwargs["exception"])  # before Retries passes it on
        method = f"after_{signal}"
        for middleware in reversed(self._signals.listeners(self.middleware, method)):
            try:
                getattr(middleware, method)(self, message, **kwargs)
            except Exception as error:
                if isinstance(error, BrokerUnavailable | JetStreamError):
                    processing.failure = processing.failure or error
                elif error is not processing.failure:
                    self.logger.critical("Unexpected failure in %s of %r.", method, middleware, exc_info=True)
        failure = processing.failure
        if isinstance(failure, BrokerUnavailable):
            message.give_back_after = processing.pause.failed(failure)
        elif failure is not None:
            self.logger.error(
                "Message %s becomes a dead letter, its result or successor cannot be stored: %s", message, failure
            )
            message.fail()
            message.stuff_exception(failure)
        else:
            for call in processing.once_all_is_stored:
                call()

    # Batches: the middleware sees their members

    def _emit_before_batch(self, signal: str, batch: Batch) -> None:
        if signal == "process_message":
            self._begin_batch(batch)
            return
        for member in batch.members:
            if not member.is_settled:  # Dramatiq's worker comes again when a dead letter could not be stored
                self._tell_before(_of_member(signal, member), member.message)

    def _emit_after_batch(self, signal: str, batch: Batch, error: BaseException | None) -> None:
        if signal not in {"process_message", "skip_message"}:
            for member in batch.members:
                self._tell_after(_of_member(signal, member), member.message)
            return
        try:
            for member in batch.members:
                if not member.is_finished:
                    self._finish_member(member, error)
        finally:
            self._suspects.end()

    def _begin_batch(self, batch: Batch) -> None:
        """Tell the middleware of each member. Raises SkipMessage when none is left to be run."""
        first = batch.members[0].message
        try:
            self._suspects.begin(first)  # a suspect has no companions
        except GivenBack:
            for member in batch.members:
                member.message.give_back_after = first.give_back_after
            raise
        except WorkerKilled as error:
            first.stuff_exception(error)
            raise
        for member in batch.members:
            self._begin_member(member)
        if not batch.begin(self):
            raise SkipMessage("none of its messages is to be run")
        identity.begin(batch.processing)

    def _begin_member(self, member: Member) -> None:
        try:
            self._begin(member.message)
        except SkipMessage as error:
            member.is_skipped = True
            if member.message.failed:
                member.message.stuff_exception(error)
            self.logger.warning("Message %s was skipped.", member.message)
        except MiddlewareError as error:
            member.error = error

    def _finish_member(self, member: Member, error_of_all: BaseException | None) -> None:
        message, error = member.message, member.error or error_of_all
        if not message.has_begun:
            if message.give_back_after is None and not message.failed:
                message.give_back_after = 0.0  # an interrupt came before it
        elif member.is_skipped:
            self._finish("skip_message", message, {})
        elif error is None or (message.failed and member.error is None):
            self._finish("process_message", message, {"result": member.result})
        else:
            message.stuff_exception(error)
            trace = error.__traceback__
            try:
                _raise(error)  # middleware may ask for the exception that is being handled
            except BaseException as raised:  # noqa: BLE001
                self._finish("process_message", message, {"exception": raised})
            error.__traceback__ = trace
        member.is_finished = True

    # What a batch needs to run its members alone

    def prepare_alone(self, message: MessageProxy) -> None:
        """Begin anew what middleware keeps for a thread, and not for a message."""
        for middleware in self.middleware:
            if isinstance(middleware, OF_A_THREAD):
                middleware.before_process_message(self, message)  # type: ignore[no-untyped-call]

    def note_failure(self, message: MessageProxy, error: BaseException) -> None:
        """Log a failure as Dramatiq's worker does."""
        throws = message.options.get("throws") or self.get_actor(message.actor_name).options.get("throws")
        if throws and isinstance(error, throws):
            self.logger.info("Failed to process message %s with expected exception %s.", message, type(error).__name__)
        elif not isinstance(error, Retry | RateLimitExceeded):
            self.logger.error("Failed to process message %s with unhandled exception.", message, exc_info=error)

    def is_stopping(self) -> bool:
        """The worker was told to stop."""
        return self._suspects.is_stopping

    def note_progress(self) -> None:
        """Called by an actor: what it did until now is kept, and a run after this one would go on from here.

        So a task that outlives its workers, and gets on each time, is never taken for what kills them. Costs nothing unless it
        already is under suspicion. Raises nothing.
        """
        self._suspects.note_progress()


def _raise(error: BaseException) -> NoReturn:
    raise error


def _of_member(signal: str, member: Member) -> str:
    """A batch is acknowledged or rejected member by member."""
    return "nack" if signal in {"ack", "nack"} and member.message.failed else signal


def _give_back_if_held(message: JetStreamMessage) -> None:
    """Raises GivenBack for a message that was prefetched when an operator paused its queue."""
    pause = message.processing.pause
    if pause.is_held:
        message.give_back_after = pause.remaining()
        raise GivenBack("the queue is paused")
