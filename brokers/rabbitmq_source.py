"""What Dramatiq's RabbitmqBroker keeps in RabbitMQ, for moving it over: the queues ``q``, ``q.DQ`` and ``q.XQ``.

The protocol cannot list queues, so their names have to be given. Messages are taken without acknowledgement and
acknowledged a block at once; RabbitMQ puts what was not back in its place when the connection ends.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pika
import pika.exceptions
from dramatiq.common import dq_name, xq_name

from .importing import Found, ImportRefused, Kind, Moved

#: What goes wrong between here and RabbitMQ.
ERRORS = (pika.exceptions.AMQPError,)
_NOT_FOUND = 404


class RabbitmqSource:
    """A RabbitmqBroker's messages.

    Parameters:
      url(str): Such as ``amqp://user:password@host:5672/vhost``; also ``amqps://``.
      queues(Sequence[str]): The names of its queues.
    """

    name = "rabbitmq"

    def __init__(self, url: str, *, queues: Sequence[str]) -> None:
        if not queues:
            raise ImportRefused("RabbitMQ's protocol cannot list queues: name them with --queue")
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0  # we are busy elsewhere while a block is stored
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._queues = queues
        self._last_tag = 0

    def queues(self) -> Sequence[str]:
        return self._queues

    def count(self, queue: str) -> Moved:
        counts = {kind: self._declared(_place(queue, kind)) for kind in ("waiting", "delayed", "dead")}
        return Moved(queue, **{kind: 0 if found is None else found.message_count for kind, found in counts.items()})

    def require_idle(self, queue: str) -> None:
        for place in (queue, dq_name(queue)):
            found = self._declared(place)
            if found is not None and found.consumer_count:
                raise ImportRefused(f"queue {place} has {found.consumer_count} consumers: stop its workers first")

    def blocks(self, queue: str, kind: Kind, size: int) -> Iterator[Sequence[Found]]:
        if self._declared(_place(queue, kind)) is None:
            return
        while block := self._take(_place(queue, kind), size):
            yield block

    def remove(self, queue: str, kind: Kind, block: Sequence[Found]) -> None:  # noqa: ARG002
        self._channel.basic_ack(self._last_tag, multiple=True)
        # An answer to something later says that the acknowledgement has been read.
        self._channel.queue_declare(_place(queue, kind), passive=True)

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()

    def _take(self, place: str, size: int) -> Sequence[Found]:
        block: list[Found] = []
        while len(block) < size:
            method, properties, body = self._channel.basic_get(place)
            if method is None:
                break
            self._last_tag = method.delivery_tag
            block.append(Found(body, died=_died(properties)))
        return block

    def _declared(self, place: str) -> Any:
        """What RabbitMQ says of a queue, or None when there is no such queue."""
        try:
            return self._channel.queue_declare(place, passive=True).method
        except pika.exceptions.ChannelClosedByBroker as error:
            self._channel = self._connection.channel()
            if error.reply_code != _NOT_FOUND:
                raise
            return None


def _place(queue: str, kind: Kind) -> str:
    return {"waiting": queue, "delayed": dq_name(queue), "dead": xq_name(queue)}[kind]


def _died(properties: Any) -> int | None:
    """When the message failed for good, as RabbitMQ notes in the header ``x-death``."""
    deaths = (properties.headers or {}).get("x-death") or []
    when = deaths[0].get("time") if deaths else None
    return int(when.timestamp() * 1000) if isinstance(when, datetime) else None
