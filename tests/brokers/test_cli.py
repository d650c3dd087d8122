"""The operator's command line, which knows nothing of the code that declares queues and actors."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from brokers import JetStreamBroker
from brokers.__main__ import main
from brokers.leases import Delivery
from scripts.benchmarks.queue_servers import Redis
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeWorker, wait_until

ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(nats: EmbeddedNats, namespace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the test's namespace. Returns its exit code and what it said, on stdout and on stderr."""
    monkeypatch.setenv("NATS_URL", nats.url)
    monkeypatch.delenv("NATS_CREDS", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["--namespace", namespace, *arguments])
        except SystemExit as usage:
            code = int(usage.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def as_json(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def bury(broker: JetStreamBroker, *, actor: str = "act", lane: str | None = None, count: int = 1) -> None:
    for number in range(count):
        message = dramatiq.Message("default", actor, ("ä",), {}, {} if lane is None else {"lane": lane})
        delivery = Delivery("default", hash((actor, lane, number)), 1, 1, "", "", message.encode(), {}, 30.0)
        broker._bury(delivery, error=ValueError("boom\nin two lines"), message=message)


def test_queues_are_found_without_anyone_declaring_them(broker: JetStreamBroker, run: Run) -> None:
    assert run("queues") == (0, "no queues\n", "")
    assert as_json(run, "queues") == []
    # Given queues with work, with a delay, with a lane, with dead letters alone, and an empty one
    for queue in ("with.dots", "late", "laned", "empty"):
        broker.declare_queue(queue)
    broker.ensure_streams()
    broker.enqueue(dramatiq.Message("with.dots", "act", (), {}, {}))
    broker.enqueue(dramatiq.Message("late", "act", (), {}, {}), delay=60_000)
    broker.enqueue(dramatiq.Message("laned", "act", (), {}, {"lane": "shop a"}))
    bury(broker)
    found = {each["queue"]: each for each in as_json(run, "queues")}
    # Then each is shown with what it holds
    assert sorted(found) == ["default", "empty", "laned", "late", "with.dots"]
    assert (found["with.dots"]["ready"], found["late"]["delayed"], found["laned"]["ready"]) == (1, 1, 1)
    assert (found["default"]["dead"], found["empty"]["ready"]) == (1, 0)
    code, out, _ = run("queues")
    assert code == 0
    assert out.splitlines()[0].split() == [
        "queue",
        "ready",
        "delayed",
        "lent",
        "dead",
        "oldest",
        "s",
        "lag",
        "s",
        "state",
    ]
    assert len(out.splitlines()) == 6


def test_a_queue_that_workers_have_not_met_is_found_by_its_messages(broker: JetStreamBroker, run: Run) -> None:
    broker.ensure_streams()
    broker.declare_queue("new")
    broker.enqueue(dramatiq.Message("new", "act", (), {}, {}))
    assert [each["queue"] for each in as_json(run, "queues")] == ["new"]


def test_a_queue_is_paused_and_resumed(broker: JetStreamBroker, run: Run, start_worker: MakeWorker) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    broker.ensure_streams()
    assert run("pause", "default") == (0, "paused default\n", "")
    assert [each["paused"] for each in as_json(run, "queues")] == [True]
    assert "paused" in run("queues")[1]
    act.send()
    start_worker(broker)
    assert as_json(run, "resume", "default") == {"queue": "default", "paused": False}
    wait_until(lambda: ran)
    assert [each["paused"] for each in as_json(run, "queues")] == [False]
    code, out, err = run("pause", "no-such-queue")
    assert (code, out, err) == (1, "", "error: there is no queue no-such-queue: default\n")


def test_dead_letters_are_listed_and_shown(broker: JetStreamBroker, run: Run) -> None:
    assert run("dead-letters", "list") == (0, "no dead letters\n", "")
    assert as_json(run, "dead-letters", "list") == []
    bury(broker, lane="shop a")
    bury(broker, actor="other", count=3)
    code, out, _ = run("dead-letters", "list")
    assert code == 0
    assert len(out.splitlines()) == 4
    assert "shop a  ValueError: boom in two lines" in out
    # And paged, saying how to go on
    code, out, err = run("dead-letters", "list", "--limit", "3")
    assert len(out.splitlines()) == 3
    assert err == "there are more: go on with --after 3\n"
    assert len(as_json(run, "dead-letters", "list", "--after", "3")) == 1
    assert [each["lane"] for each in as_json(run, "dead-letters", "list", "--actor", "act")] == ["shop a"]
    # And shown whole
    (letter,) = as_json(run, "dead-letters", "list", "--lane", "shop a")
    code, out, _ = run("dead-letters", "show", str(letter["sequence"]))
    assert code == 0
    assert letter["message_id"] in out
    assert "delivered" in out
    assert as_json(run, "dead-letters", "show", str(letter["sequence"]))["message"]["args"] == ["ä"]
    assert letter["history"][0]["error"].startswith("ValueError: boom")


def test_dead_letters_are_replayed_and_purged_by_what_names_them(broker: JetStreamBroker, run: Run) -> None:
    broker.declare_queue("default")
    bury(broker, lane="shop a", count=2)
    bury(broker, actor="other", count=3)
    assert run("dead-letters", "replay", "1") == (0, "replayed 1\n", "")
    assert as_json(run, "dead-letters", "replay", "--lane", "shop a") == {"replayed": 1}
    assert run("dead-letters", "replay", "--actor", "other", "--queue", "elsewhere") == (0, "replayed 0\n", "")
    assert broker.get_queue_message_counts("default") == (2, 0, 3)
    assert run("dead-letters", "purge", "3") == (0, "purged 1\n", "")
    assert run("dead-letters", "purge", "--all") == (0, "purged 2\n", "")
    # And nothing that was not named, or is not there
    for command in ("replay", "purge"):
        assert run("dead-letters", command)[0] == 2
        assert run("dead-letters", command, "1", "--all")[0] == 2
    assert run("dead-letters", "replay", "99") == (1, "", "error: there is no dead letter 99\n")
    assert run("dead-letters", "show", "99") == (1, "", "error: there is no dead letter 99\n")


def test_recurring_messages_are_listed_and_removed(broker: JetStreamBroker, run: Run) -> None:
    assert run("cron", "list") == (0, "no recurring messages\n", "")
    # Given one that the code declares and one made at run time
    broker.declare_queue("default")
    broker.cron("nightly", "0 30 2 * * *", dramatiq.Message("default", "clean", (), {}, {}), time_zone="Europe/Berlin")
    broker.ensure_streams()
    broker.schedules.put("shop a", 3600, dramatiq.Message("default", "sync", ("a",), {}, {}))
    # Then both are listed
    _, out, _ = run("cron", "list")
    assert ["nightly", "code", "0", "30", "2", "*", "*", "*", "Europe/Berlin", "default", "clean"] in [
        line.split() for line in out.splitlines()
    ]
    assert [each["owner"] for each in as_json(run, "cron", "list")] == ["code", "runtime"]
    # And only the latter can be removed
    assert run("cron", "remove", "shop a") == (0, "removed shop a\n", "")
    code, _, err = run("cron", "remove", "nightly")
    assert (code, "declared in code" in err) == (1, True)
    assert run("cron", "remove", "shop a") == (
        1,
        "",
        "error: cannot remove shop a: there is none of that name\n",
    )
    assert [each["name"] for each in as_json(run, "cron", "list")] == ["nightly"]


def test_options_may_stand_before_and_behind_a_command(broker: JetStreamBroker, run: Run, nats: EmbeddedNats) -> None:
    broker.declare_queue("default")
    broker.ensure_streams()
    assert len(json.loads(run("--json", "queues")[1])) == 1
    assert len(json.loads(run("queues", "--json", "--url", nats.url)[1])) == 1
    assert json.loads(run("queues", "--json", "--namespace", "another")[1]) == []


def test_what_goes_wrong_is_one_line(run: Run) -> None:
    for arguments in (
        ["--url", "nats://127.0.0.1:9", "queues"],
        ["--url", "http://x", "queues"],
        ["import", "ftp://x"],
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert run()[0] == 2
    assert run("no-such-command")[0] == 2


def test_an_import_counts_moves_and_says_what_it_lacks(
    broker: JetStreamBroker, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("redis://127.0.0.1:9", "amqp://127.0.0.1:9"):
        code, out, err = run("import", url, "--queue", "default")
        assert (code, out, err.count("\n")) == (1, "", 1), err
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pika", None)
        without.delitem(sys.modules, "brokers.rabbitmq_source", raising=False)
        assert "pip install dramatiq-jetstream[rabbitmq]" in run("import", "amqp://127.0.0.1:9")[2]
    broker.declare_queue("default")
    if not Redis.is_installed():
        pytest.skip("no redis-server (apt install redis-server)")
    with Redis(tmp_path, durable=False) as server:
        stock = RedisBroker(url=server.url, middleware=[])
        stock.declare_queue("default")
        stock.enqueue(dramatiq.Message("default", "act", (), {}, {}))
        counted = [{"queue": "default", "waiting": 1, "delayed": 0, "dead": 0, "held": 0}]
        # When it is tried dry, then nothing moves
        assert as_json(run, "import", server.url, "--dry-run") == counted
        assert broker.get_queue_message_counts("default") == (0, 0, 0)
        assert as_json(run, "import", server.url) == counted
        assert run("import", server.url) == (0, "no messages\n", "")
        assert broker.get_queue_message_counts("default") == (1, 0, 0)
        stock.client.connection_pool.disconnect()


def test_it_runs_as_a_module(nats: EmbeddedNats, namespace: str) -> None:
    command = [sys.executable, "-m", "brokers", "queues", "--url", nats.url, "--namespace", namespace]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "no queues\n", "")
