"""This process's broker, made from the settings. Making it does no I/O."""

import dramatiq

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


broker = _broker()
dramatiq.set_broker(broker)
