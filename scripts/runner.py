"""scripts/run: everything that Shopstream needs on this machine, started in order and stopped in reverse.

Embedded Postgres and NATS, the release command, a simulated Shopify, the web process and a worker; then the demo shops
become tenants and their history is synced. Each step's own subject is a module beside this one.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import requests

from scripts import charts
from scripts.api import Api, ApiError, loopback_session
from scripts.bootstrap import ROOT
from scripts.detached import relay_until_ready, stop_running
from scripts.embedded import ServiceError, free_port
from scripts.installation import AlreadyRunning, Installation, Shop, given_settings
from scripts.onboarding import onboard, store_shops
from scripts.processes import MARK, Child, StartFailed, Supervisor, end_leftovers, procfile, shell, with_our_programs
from scripts.progress import ProgressDisplay
from scripts.services import EmbeddedNats, EmbeddedPostgres
from settings import SettingsError, load

#: Seconds that the release command, and each process after it, may take until it has done or answers.
START_TIMEOUT = 120.0
#: Seconds that everything else, once ready, waits for the chart library; it may come later, too.
_CHARTS_PATIENCE = 5.0
_POLL = 0.05
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived."""


class Run:
    """One start of an installation, from its lock to its end."""

    def __init__(self, options: argparse.Namespace, installation: Installation, *, say: Callable[[str], None]) -> None:
        self._options = options
        self._installation = installation
        self._say = say
        self._supervisor = Supervisor(say=self._note)
        self._given = given_settings(ROOT)
        self._env = with_our_programs(os.environ | {MARK: str(installation.directory), "PYTHONUNBUFFERED": "1"})
        self._services: list[EmbeddedPostgres | EmbeddedNats] = []
        self._port = 0
        self._store_url: str | None = None
        self._shops: list[Shop] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def api(self) -> Api:
        return Api(self.url, username=self._env["ADMIN_USERNAME"], password=self._env["ADMIN_PASSWORD"])

    def start(self) -> dict[str, Any]:
        """Bring everything up. Returns what ``--detach`` prints."""
        self._configure()
        _require_free(self._port)
        if end_leftovers(self._installation.directory):
            self._say("Ended what an earlier run had left when it was killed")
        chart_library = threading.Thread(target=self._install_chart_library, name="npm", daemon=True)
        chart_library.start()
        for service in self._services:
            self._say(f"Starting {service.name}")
            self._supervisor.start(service)
        self._release()
        if not self._options.no_demo:
            self._start_store()
        self._say("Starting the web process and a worker")
        self._start_program("web", f"{self.url}/healthz")
        self._start_program("worker", None)
        if self._store_url is not None:
            self._shops = onboard(self.api, self._installation, store_shops(f"{self._store_url}/control"))
        chart_library.join(_CHARTS_PATIENCE)
        return self._announce()

    def keep_running(self) -> None:
        """Start again whatever dies; ends only by an exception (StopRequested)."""
        while True:
            if self._supervisor.revive():
                self._announce()
            time.sleep(_POLL * 5)

    def display(self) -> ProgressDisplay:
        display = ProgressDisplay(self.api, self._shops)
        self._say = display.say
        return display

    def stop(self) -> None:
        """Stop everything in reverse order; a signal that comes meanwhile kills what is left."""
        for each in SIGNALS:
            signal.signal(each, lambda _signal, _frame: self._supervisor.kill())
        self._supervisor.stop()

    def _note(self, text: str) -> None:
        self._say(f"{datetime.now().astimezone():%H:%M:%S}  {text}")

    def _announce(self) -> dict[str, Any]:
        announcement = {
            "url": self.url,
            "adminUsername": self._env["ADMIN_USERNAME"],
            "adminPassword": self._env["ADMIN_PASSWORD"],
            "shops": [
                {
                    "shopDomain": shop.shop_domain,
                    "apiToken": shop.api_token,
                    "webhookSecret": shop.webhook_secret,
                    "syncId": shop.sync_id,
                }
                for shop in self._shops
            ],
            "storeControlUrl": self._store_url and f"{self._store_url}/control",
            "pids": {"runner": os.getpid(), **self._supervisor.pids},
        }
        self._installation.state = announcement
        return announcement

    def _configure(self) -> None:
        """Compose the environment of our processes: what a person gave, and for the rest what we make.

        Raises SettingsError: a malformed setting ends here with one line, not in every process with a traceback.
        """
        if not self._options.no_demo and "SHOP_DOMAIN" in self._given:
            raise StartFailed("SHOP_DOMAIN names a real shop, which the simulated Shopify does not have: add --no-demo")
        directory = self._installation.directory
        generated = {"ADMIN_USERNAME": "admin", **self._installation.secrets()}
        if "DATABASE_URL" not in self._given:
            postgres = EmbeddedPostgres(directory / "postgres")
            self._services.append(postgres)
            generated["DATABASE_URL"] = postgres.url
        if "NATS_URL" not in self._given:
            nats = EmbeddedNats(directory / "nats")
            self._services.append(nats)
            generated["NATS_URL"] = nats.url
        for name, value in generated.items():
            self._env[name] = self._given.get(name, value)
        os.environ.update(self._env)
        self._port = load().port or free_port()
        self._env["PORT"] = str(self._port)
        self._env["GUNICORN_CMD_ARGS"] = (
            f"{self._env.get('GUNICORN_CMD_ARGS', '')} --bind 127.0.0.1:{self._port}".strip()
        )

    def _install_chart_library(self) -> None:
        problem = charts.install(ROOT)
        if problem is not None:
            self._say(f"The dashboard shows tables instead of charts: {problem}")

    def _release(self) -> None:
        self._say("Bringing tables and streams up to date")
        release = self._child("release", shell(procfile(ROOT / "Procfile")["release"]))
        release.start()
        deadline = time.monotonic() + START_TIMEOUT
        while release.is_running:
            if time.monotonic() > deadline:
                release.kill()
                raise StartFailed(
                    f"the release command did not end within {START_TIMEOUT:.0f} s: see {release.log_path}"
                )
            time.sleep(_POLL)
        if release.exit_status != 0:
            raise StartFailed(f"the release command failed (all of it: {release.log_path}):\n{release.last_words()}")

    def _start_store(self) -> None:
        self._say("Starting a simulated Shopify")
        port = free_port()
        self._store_url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "scripts.store", "--port", str(port)]
        command += [
            "--directory",
            str(self._installation.directory / "store"),
            "--webhook-url",
            f"{self.url}/api/webhooks",
        ]
        command += ["--webhooks-per-second", f"{self._options.webhooks_per_second:g}"]
        store = self._child("store", command)
        self._supervisor.start(store)
        self._wait_for(f"{self._store_url}/control/shops", store)
        self._env |= {"SHOPIFY_API_ORIGIN": self._store_url, "SHOPSTREAM_SIMULATED": "1"}

    def _start_program(self, name: str, url: str | None) -> None:
        program = self._child(name, shell(procfile(ROOT / "Procfile")[name]))
        self._supervisor.start(program)
        if url is not None:
            self._wait_for(url, program)

    def _child(self, name: str, command: list[str]) -> Child:
        return Child(name, command, env=self._env, cwd=ROOT, log_path=self._installation.logs / f"{name}.log")

    def _wait_for(self, url: str, child: Child) -> None:
        """Return once the child answers at ``url``."""
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(url):
            if not child.is_running:
                raise StartFailed(
                    f"{child.name} ended while it started (all of it: {child.log_path}):\n{child.last_words()}"
                )
            if time.monotonic() > deadline:
                raise StartFailed(f"{child.name} does not answer at {url}: see {child.log_path}")
            time.sleep(_POLL)


def _answers(url: str) -> bool:
    try:
        with loopback_session() as session:
            return session.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StartFailed(f"port {port} is taken: choose another, as in PORT={port + 1} scripts/run") from None


def _raise_on_signals() -> None:
    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # one request is enough, until Run.stop listens again
        raise StopRequested

    for each in SIGNALS:
        if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # nohup has us stay
            signal.signal(each, request_stop)


def _run(options: argparse.Namespace, installation: Installation) -> int:
    installation.acquire()
    run = Run(options, installation, say=lambda text: print(text, flush=True))
    _raise_on_signals()
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
        print("Stopping", flush=True)
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
