"""Middleware is told of what it listens to, and of nothing else."""

from typing import ClassVar

from dramatiq.broker import Broker
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from brokers import JetStreamBroker


class Listener(Middleware):
    def __init__(self) -> None:
        self.heard: list[object] = []

    def before_enqueue(self, broker: Broker, message: Message[object], delay: float | None) -> None:
        self.heard.append(message)


def test_a_listener_is_told_also_when_it_is_added_or_changed_later() -> None:
    broker, first, second = JetStreamBroker(middleware=[]), Listener(), Listener()
    broker.add_middleware(first)
    broker.emit_before("enqueue", "a", None)
    broker.add_middleware(second)
    broker.emit_before("enqueue", "b", None)
    broker.middleware.remove(first)
    broker.emit_before("enqueue", "c", None)
    assert first.heard == ["a", "b"]
    assert second.heard == ["b", "c"]


def test_what_is_no_subclass_of_dramatiqs_and_a_method_of_an_instance_are_told_too() -> None:
    told: list[str] = []

    class Duck:
        actor_options: ClassVar[set[str]] = set()

        def __getattr__(self, name: str) -> object:
            return lambda *_, **__: told.append(name)

    instance = Middleware()
    instance.after_ack = lambda *_: told.append("instance")  # type: ignore[method-assign]
    broker = JetStreamBroker(middleware=[instance])
    broker.middleware.append(Duck())  # type: ignore[arg-type]
    broker.emit_after("ack", None)
    assert told == ["after_ack", "instance"]


def test_a_listener_that_fails_harms_no_other() -> None:
    class Failing(Middleware):
        def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
            raise ValueError("a test wants it so")

    heard: list[str] = []

    class Hearing(Middleware):
        def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
            heard.append("told")

    JetStreamBroker(middleware=[Hearing(), Failing()]).emit_after("worker_boot", None)
    assert heard == ["told"]
