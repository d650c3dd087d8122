"""The actors that worker processes of the broker's tests run; each notes what it does in the file at WORKER_LOG."""

import os
import signal
import time
from pathlib import Path

import dramatiq

from brokers import JetStreamBroker

broker = JetStreamBroker(
    os.environ["WORKER_NATS_URL"],
    namespace=os.environ["WORKER_NAMESPACE"],
    ack_wait=float(os.environ.get("WORKER_ACK_WAIT", "1.5")),
    replicas=int(os.environ.get("WORKER_REPLICAS", "1")),
)
dramatiq.set_broker(broker)
LOG = Path(os.environ["WORKER_LOG"])


def note(text: str) -> None:
    with LOG.open("a") as log:
        log.write(f"{text}\n")


@dramatiq.actor
def noted(text: str) -> None:
    note(text)


@dramatiq.actor
def slow(text: str, seconds: float) -> None:
    note(f"begin-{text}")
    time.sleep(seconds)
    note(f"end-{text}")


@dramatiq.actor(lane_limit=1)
def limited(text: str, seconds: float) -> None:
    note(f"begin-{text}")
    time.sleep(seconds)
    note(f"end-{text}")


@dramatiq.actor
def die_after_enqueueing_the_next(text: str, marker: str) -> None:
    """The first time: enqueue a successor, then die as by SIGKILL before the acknowledgement."""
    noted.send(f"next-{text}")
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    note(f"done-{text}")


class DieBeforeAck(dramatiq.Middleware):
    """Kills the process between the retry's enqueue and the original's acknowledgement, once."""

    def before_ack(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        marker = message.options.get("marker")
        if marker and message.options.get("retries") and not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)


broker.add_middleware(DieBeforeAck())


@dramatiq.actor(min_backoff=600, max_backoff=600, max_retries=1)
def fail_once(text: str) -> None:
    message = dramatiq.middleware.CurrentMessage.get_current_message()
    retries = message.options.get("retries", 0) if message else 0
    note(f"try-{text}-{retries}")
    if retries == 0:
        raise ValueError("the first time")


broker.add_middleware(dramatiq.middleware.CurrentMessage())


@dramatiq.actor
def kill_the_worker(text: str) -> None:
    note(text)
    os.kill(os.getpid(), signal.SIGKILL)


@dramatiq.actor(batch_size=3, batch_wait=3000)
def die_after_enqueueing_for_all(messages: list[dramatiq.Message[None]]) -> None:
    """The first time: enqueue a successor for each, then die as by SIGKILL before the acknowledgement."""
    for message in messages:
        noted.send(f"next-{message.args[0]}")
    marker = Path(messages[0].args[1])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    for message in messages:
        note(f"done-{message.args[0]}")


@dramatiq.actor(batch_size=4, batch_wait=500)
def kill_the_worker_in_a_batch(messages: list[dramatiq.Message[None]]) -> None:
    texts = [message.args[0] for message in messages]
    if "poison" in texts:
        time.sleep(0.5)  # as memory takes to fill: what ended just before has been acknowledged by then
        os.kill(os.getpid(), signal.SIGKILL)
    for text in texts:
        note(text)
