"""This process's broker, made from the settings. Making it does no I/O."""

import logging

import dramatiq
from dramatiq import Message, MessageProxy

from brokers import JetStreamBroker
from settings import creds_file_or_text, load


def _broker() -> JetStreamBroker:
    settings = load()
    return JetStreamBroker(
        settings.nats_servers,
        namespace=settings.nats_namespace,
        credentials=creds_file_or_text(settings.nats_creds.get_secret_value()) if settings.nats_creds else None,
        replicas=settings.jetstream_replicas,
    )


class _WithoutArguments(logging.Filter):
    """Dramatiq's log names a failed message with its arguments; ours hold shoppers' data, and its id says enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_named(value) for value in record.args)
        return True


def _named(value: object) -> object:
    return f"{value.actor_name} {value.message_id}" if isinstance(value, Message | MessageProxy) else value


broker = _broker()
for _logger in (
    broker.logger,
    *map(logging.getLogger, ("dramatiq.worker.WorkerThread", "brokers.poison", "brokers.unique")),
):
    _logger.addFilter(_WithoutArguments())
dramatiq.set_broker(broker)
