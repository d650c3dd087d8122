"""scripts/run in the background: its start as seen from the terminal, and its end."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time

from scripts.installation import AlreadyRunning, Installation
from scripts.processes import GRACE, end_leftovers

#: Seconds beyond the grace of a stop before it is taken for hung.
_PATIENCE = 10.0
_POLL = 0.05


def relay_until_ready(options: argparse.Namespace, installation: Installation) -> int:
    """Start the runner in a session of its own, pass on what it says, and return when it is ready or has failed.

    What it says goes to stderr, the JSON object that it ends with to stdout. Raises AlreadyRunning.
    """
    holder = installation.runner()
    if holder is not None:
        raise AlreadyRunning(str(holder))
    command = [sys.executable, "-m", "scripts.runner", "--background"]
    command += ["--no-demo"] if options.no_demo else ["--webhooks-per-second", f"{options.webhooks_per_second:g}"]
    runner = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert runner.stdout is not None
    try:
        for line in runner.stdout:
            if line.startswith("{"):
                print(line, end="", flush=True)
                return 0
            print(line, end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        runner.terminate()
    return runner.wait(GRACE + _PATIENCE) or 1


def stop_running(installation: Installation) -> int:
    """End the runner of this installation and wait until everything is down. Fine when nothing runs."""
    holder = installation.runner()
    if holder is None:
        leftovers = end_leftovers(installation.directory)
        print(
            "Ended what a killed run had left" if leftovers else f"Nothing runs in {installation.directory}",
            file=sys.stderr,
        )
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + GRACE + _PATIENCE
    while installation.runner() == holder:
        if time.monotonic() > deadline:
            print(f"process {holder} does not stop: see {installation.logs}", file=sys.stderr)
            return 1
        time.sleep(_POLL)
    print("Stopped", file=sys.stderr)
    return 0
