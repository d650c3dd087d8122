"""Lets Dramatiq's own tests run on JetStreamBroker, under a harness that asks an adapter for what they need.

Uses the server at HARNESS_NATS_URL, or starts one for this process and the ones that it starts. Stopping and starting the
server is offered only for one of our own.
"""

import atexit
import os
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dramatiq.broker import Broker
from dramatiq.common import dq_name, xq_name
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from dramatiq.rate_limits import RateLimiterBackend
from dramatiq.results import ResultBackend

#: The wheel's package where that is installed, else this repository's.
PACKAGE = "dramatiq_jetstream" if find_spec("dramatiq_jetstream") else "brokers"
broker_package, names, testing = (import_module(PACKAGE + part) for part in ("", ".names", ".testing"))
NAMES = names.Names("conformance")
LACKS: set[str] = set()
XFAIL: dict[str, str] = {}


if "HARNESS_NATS_URL" not in os.environ:
    _server = testing.NatsServer()
    _server.start()
    atexit.register(_server.remove)
    os.environ["HARNESS_NATS_URL"] = _server.url
    stop_server, start_server = _server.stop, _server.start


def make_broker(middleware: list[Middleware] | None = None) -> Broker:
    url = os.environ["HARNESS_NATS_URL"]
    return broker_package.JetStreamBroker(url, namespace=NAMES.namespace, middleware=middleware)


def make_result_backend() -> ResultBackend:
    return broker_package.JetStreamResultBackend(broker=make_broker([]))


def make_rate_limiter_backend() -> RateLimiterBackend:
    broker = make_broker([])
    reset(broker)  # tests use the same keys one after the other
    return broker_package.JetStreamRateLimiterBackend(broker=broker)


def _real(broker: Broker) -> Any:
    """The broker behind the harness's disguise."""
    return getattr(broker, "real", broker)


def _api(broker: Broker) -> Any:
    return _real(broker)._api


def _deadline() -> float:
    return time.monotonic() + 5


def reset(broker: Broker) -> None:
    """Empty every stream and bucket of the namespace."""
    found = _api(broker).ask("STREAM.NAMES", deadline=_deadline())
    for stream in found.get("streams") or []:
        if stream.removeprefix("KV_").startswith(NAMES.namespace):
            _api(broker).ask(f"STREAM.PURGE.{stream}", deadline=_deadline())


def message_ids(broker: Broker, queue: str) -> list[str]:
    name = queue.removesuffix(".DQ").removesuffix(".XQ")
    if queue == xq_name(name):
        return [letter.message_id or "" for letter in _real(broker).dead_letters.list(name, limit=1000)]
    subjects = [NAMES.schedules_of(name)] if queue == dq_name(name) else [NAMES.work_of(name), NAMES.lanes_of(name)]
    return [
        Message.decode(stored.body).message_id
        for subject in subjects
        for stored in _api(broker).each(NAMES.work_stream, subject, deadline=_deadline())
    ]


def put_raw(broker: Broker, queue: str, data: bytes) -> None:
    _real(broker)._publisher.publish(NAMES.work(queue, "raw"), data, publish_id=os.urandom(8).hex())


def expire_dead(broker: Broker, queue: str) -> None:
    """Ours do not expire: they are purged by a person, here."""
    _real(broker).dead_letters.purge(queue=queue)


class _Connection:
    """Both of a process's connections, as the tests see one."""

    def __init__(self, wire: Any, consuming: Any) -> None:
        self._wire = wire
        self._consuming = consuming

    @property
    def is_open(self) -> bool:
        return self._wire.is_up

    def close(self) -> None:
        async def lose() -> None:
            (await self._consuming.session()).lose()

        self._consuming.start_task(lose()).result(5)
        self._wire.connected(_deadline()).lose("a test wants it so")


def connection(broker: Broker) -> _Connection:
    real = _real(broker)
    real.ping()
    return _Connection(real._links.wire(), real._links.consuming().connection)


def queue_exists(broker: Broker, queue: str) -> bool:
    try:
        _api(broker).ask(f"CONSUMER.INFO.{NAMES.work_stream}.{NAMES.consumer(queue)}", deadline=_deadline())
    except broker_package.RequestRefused:
        return False
    return True


def delete_queue(broker: Broker, queue: str) -> dict[str, Any]:
    """The worst that can happen to a queue: its whole stream is gone."""
    return _api(broker).ask(f"STREAM.DELETE.{NAMES.work_stream}", deadline=_deadline())
