"""The broker under gevent's monkey-patching."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker

APP = Path(__file__).with_name("gevent_app.py")


def test_messages_delays_and_results_work_in_a_process_patched_by_gevent(
    nats: EmbeddedNats, make_broker: MakeBroker, namespace: str
) -> None:
    pytest.importorskip("gevent")
    make_broker()  # removes what the program stored
    command = [sys.executable, str(APP), nats.url, namespace]
    root = str(APP.parent.parent.parent)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": root}, check=False)
    assert done.stdout.split("\n")[-2:] == [str([number * 2 for number in range(20)]), ""], done.stderr
    assert done.returncode == 0
