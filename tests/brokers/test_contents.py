"""What lies in the streams: every message is found, wherever it waits, and removed for good."""

import time

import dramatiq
from dramatiq.middleware import Retries

from brokers import JetStreamBroker, Place
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


def test_messages_are_found_wherever_they_wait_and_removed(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    broker = make_broker(middleware=[Retries(max_retries=0)])
    ran: list[str] = []

    @dramatiq.actor(broker=broker, lane=lambda message: message.args[1])
    def tell(secret: str, _lane: str | None) -> None:
        ran.append(secret)
        raise ValueError("the secret is out")

    broker.ensure_streams()
    # Given a message that died, one that waits for its time, and two that are ready
    worker = start_worker(broker)
    tell.send("dead", None)
    wait_until(lambda: broker.dead_letters.count() == 1)
    worker.stop()
    tell.send_with_options(args=("delayed", None), delay=1_500)
    tell.send("in a lane", "one")
    tell.send("ready", None)
    # Then each is found with what it says
    held = {each.message.args[0]: each for each in broker.contents.each() if each.message is not None}
    assert {name: each.place for name, each in held.items()} == {
        "dead": Place.DEAD,
        "delayed": Place.DELAYED,
        "in a lane": Place.READY,
        "ready": Place.READY,
    }
    assert {(each.queue, each.actor) for each in held.values()} == {("default", "tell")}
    assert "the secret is out" in held["dead"].notes
    # And what is removed is gone: nothing of it runs, the delayed one neither
    assert all(broker.contents.remove(held[name]) for name in ("dead", "delayed", "in a lane"))
    assert not broker.contents.remove(held["dead"])
    assert [each.message.args[0] for each in broker.contents.each() if each.message is not None] == ["ready"]
    removed = time.monotonic()
    start_worker(broker)
    tell.send_with_options(args=("later", None), delay=2_000)
    wait_until(lambda: "later" in ran)
    assert time.monotonic() > removed + 1.5
    assert ran == ["dead", "ready", "later"]


def test_what_cannot_be_decoded_is_held_all_the_same(broker: JetStreamBroker) -> None:
    broker.ensure_streams()
    subject = broker._names.work("default", "any")
    broker._publisher.publish(subject, b"not a message", publish_id="one")
    (held,) = broker.contents.each()
    assert (held.message, held.body) == (None, b"not a message")


def test_a_namespace_without_streams_holds_nothing(broker: JetStreamBroker) -> None:
    assert list(broker.contents.each()) == []
