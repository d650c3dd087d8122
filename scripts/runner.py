"""scripts/run: the command line. What it starts is in startup.py, imported only where something is started."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from scripts.bootstrap import ROOT
from scripts.detached import relay_until_ready, stop_running
from scripts.embedded import ServiceError
from scripts.installation import AlreadyRunning, Installation
from scripts.processes import StartFailed

if TYPE_CHECKING:
    from scripts.progress import ProgressDisplay


class StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived."""


def _raise_on_signals(signals: tuple[signal.Signals, ...]) -> None:
    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # one request is enough, until Run.stop listens again
        raise StopRequested

    for each in signals:
        if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # nohup has us stay
            signal.signal(each, request_stop)


def _run(options: argparse.Namespace, installation: Installation) -> int:
    from scripts.api import ApiError  # noqa: PLC0415
    from scripts.startup import SIGNALS, Run  # noqa: PLC0415
    from settings import SettingsError  # noqa: PLC0415

    installation.acquire()
    run = Run(options, installation, say=lambda text: print(text, flush=True))
    _raise_on_signals(SIGNALS)
    display: ProgressDisplay | None = None
    try:
        announcement = run.start()
        if options.background:
            _leave_starter(announcement, installation)
        else:
            _greet(announcement)
            display = run.display()
            display.start()
        run.keep_running()
    except StopRequested:
        print("Stopping, which takes some seconds; Ctrl-C again kills", flush=True)
    except (ServiceError, StartFailed, SettingsError, ApiError) as error:
        print(error, file=sys.stdout if options.background else sys.stderr, flush=True)
        return 1
    finally:
        if display is not None:
            display.stop()
        run.stop()
        installation.release()
    return 0


def _greet(announcement: dict[str, Any]) -> None:
    name, password = announcement["adminUsername"], announcement["adminPassword"]
    print(
        f"\nShopstream is at {announcement['url']}   sign in as {name} with {password}\nCtrl-C stops everything\n",
        flush=True,
    )


def _leave_starter(announcement: dict[str, Any], installation: Installation) -> None:
    """Tell the process that started us that all is ready; from now on our output goes to the log."""
    print(json.dumps(announcement), flush=True)
    log = os.open(installation.logs / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/run",
        description="Start Shopstream with everything it needs on this machine. Ctrl-C stops it. State is kept in DATA_DIR (.local).",
    )
    parser.add_argument("command", nargs="?", choices=["stop"], help="stop: end the one that runs in DATA_DIR")
    parser.add_argument("--no-demo", action="store_true", help="without the simulated Shopify: for real shops")
    parser.add_argument(
        "--webhooks-per-second", type=float, default=2.0, metavar="N", help="live webhooks; 0 for none (default 2)"
    )
    parser.add_argument(
        "--detach",
        action="store_true",
        help="return once all is ready; the last line is a JSON object (the same one when it runs already)",
    )
    parser.add_argument(
        "--background", action="store_true", help=argparse.SUPPRESS
    )  # how --detach starts its other half
    options = parser.parse_args(arguments)
    if options.webhooks_per_second < 0:
        parser.error("--webhooks-per-second must not be negative")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    installation = Installation(Path(os.environ.get("DATA_DIR") or ROOT / ".local"))
    if options.command == "stop":
        return stop_running(installation)
    try:
        if options.detach:
            return relay_until_ready(options, installation)
        return _run(options, installation)
    except AlreadyRunning as running:
        return _say_that_it_runs(running, installation, detach=options.detach)


def _say_that_it_runs(running: AlreadyRunning, installation: Installation, *, detach: bool) -> int:
    state = installation.state
    where = f"at {state['url']}" if state else "but is not ready yet"
    print(f"Shopstream already runs {where} (process {running}); scripts/run stop ends it", file=sys.stderr)
    if detach and state:
        print(json.dumps(state))
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
