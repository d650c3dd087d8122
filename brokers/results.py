"""Results of actors in a key-value bucket of JetStream's. Whoever waits for one is told, and does not poll."""

from typing import Any

from dramatiq.encoder import Encoder
from dramatiq.message import Message
from dramatiq.results import Missing, ResultBackend, ResultMissing, ResultTimeout
from dramatiq.results.backend import DEFAULT_TIMEOUT

from .broker import JetStreamBroker
from .errors import MessageTooLarge
from .key_value import Entry

#: The bucket, behind the broker's namespace.
BUCKET = "results"
#: Milliseconds that a blocking read takes at least: one look at the server.
SHORTEST_WAIT = 50


class JetStreamResultBackend(ResultBackend):
    """A result backend for NATS JetStream, with the streams' replicas and on file storage.

    Making one does no I/O; the bucket is made by the broker's ``ensure_streams``, or with the first result.

    Examples:

      >>> from dramatiq.results import Results
      >>> from brokers import JetStreamBroker, JetStreamResultBackend
      >>> broker = JetStreamBroker("nats://127.0.0.1:4222")
      >>> broker.add_middleware(Results(backend=JetStreamResultBackend(broker=broker)))

    Parameters:
      broker(JetStreamBroker): Whose connection to use.
      url(str): Where to connect to without a broker.
      namespace(str): Begins every key.
      encoder(Encoder): Of the results; Dramatiq's global encoder by default.
      use_namespace_prefix_keys(bool): When True, keys are readable: ``<namespace>:<queue>:<actor>:<message_id>``.
      **parameters: Further parameters of the connection, as JetStreamBroker has them.

    Raises:
      TypeError: When both a broker and how to connect are given.
    """

    def __init__(
        self,
        *,
        broker: JetStreamBroker | None = None,
        url: str | None = None,
        namespace: str = "dramatiq-results",
        encoder: Encoder | None = None,
        use_namespace_prefix_keys: bool = False,
        **parameters: Any,
    ) -> None:
        super().__init__(namespace=namespace, encoder=encoder, use_namespace_prefix_keys=use_namespace_prefix_keys)
        self.broker = JetStreamBroker.given_or_at(broker, url, parameters)
        self._values = self.broker.key_value(BUCKET)

    def get_result(self, message: "Message[Any]", *, block: bool = False, timeout: int | None = None) -> Any:
        """Get a result.

        Parameters:
          message(Message): What was sent.
          block(bool): Whether to wait for the result.
          timeout(int): Milliseconds to wait for at most when blocking, 10 seconds by default.  An outage of NATS
            meanwhile is waited out.

        Raises:
          ResultMissing: When block is False and there is no result.
          ResultTimeout: When there is none after ``timeout``.
          ResultFailure: When the actor failed for good.
          BrokerUnavailable: When block is False and NATS cannot be reached.
        """
        timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        key = self.build_message_key(message)
        if block and timeout > 0:
            return self._unwrap(message, self._values.wait(key, max(timeout, SHORTEST_WAIT) / 1000))
        result = self._get(key)
        if result is Missing:
            raise (ResultTimeout if block else ResultMissing)(message)
        return self.unwrap_result(result)  # type: ignore[no-untyped-call]

    async def get_result_async(self, message: "Message[Any]", *, timeout: int | None = None) -> Any:  # noqa: ASYNC109
        """Wait for a result in an event loop.  As ``get_result`` with ``block=True``."""
        timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        entry = await self._values.wait_async(self.build_message_key(message), max(timeout, SHORTEST_WAIT) / 1000)
        return self._unwrap(message, entry)

    def store_result(self, message: "Message[Any]", result: Any, ttl: int) -> None:
        """Store a result for ``ttl`` milliseconds, rounded up to whole seconds.

        Raises:
          MessageTooLarge: When the server would not take it; whoever waits for it gets that as a ResultFailure.
          BrokerUnavailable: When the server did not confirm.
        """
        try:
            super().store_result(message, result, ttl)
        except MessageTooLarge as error:
            self.store_exception(message, error, ttl)
            raise

    def forget(self, message: "Message[Any]") -> None:
        """Remove a result before its time.  Does nothing when there is none."""
        self._values.delete(self.build_message_key(message))

    def close(self) -> None:
        """Disconnect the broker."""
        self.broker.close()

    def _unwrap(self, message: "Message[Any]", entry: Entry | None) -> Any:
        if entry is None:
            raise ResultTimeout(message)  # type: ignore[no-untyped-call]
        return self.unwrap_result(self.encoder.decode(entry.value))  # type: ignore[no-untyped-call]

    def _get(self, message_key: str) -> Any:
        entry = self._values.get(message_key)
        return Missing if entry is None else self.encoder.decode(entry.value)

    def _store(self, message_key: str, result: Any, ttl: int) -> None:
        self._values.put(message_key, self.encoder.encode(result), ttl=ttl / 1000)
