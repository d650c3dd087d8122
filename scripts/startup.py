"""One start of everything that Shopstream needs on this machine: in order, watched, and stopped in reverse.

Embedded Postgres and NATS, a simulated Shopify, the release command, the web process and a worker; then the demo shops
become tenants, whose history is synced. Each step's own subject is a module beside this one.
"""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import requests

from scripts import charts
from scripts.api import Api, loopback_session
from scripts.bootstrap import ROOT
from scripts.embedded import free_port
from scripts.installation import Installation, Shop, given_settings
from scripts.onboarding import onboard, store_shops
from scripts.processes import MARK, Child, StartFailed, Supervisor, end_leftovers, procfile, shell, with_our_programs
from scripts.progress import ProgressDisplay
from scripts.services import EmbeddedNats, EmbeddedPostgres
from settings import Settings, load

#: Seconds that the release command, and each process after it, may take until it has done or answers.
START_TIMEOUT = 120.0
#: Seconds that everything else, once ready, waits for the chart library; it may come later, too.
_CHARTS_PATIENCE = 5.0
_POLL = 0.05
#: Each of these ends a run.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        self._store: Child | None = None
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
        if not self._options.no_demo:
            self._start_store()  # it reads its shops while the tables are brought up to date
        self._keep_environment()
        self._release()
        self._say("Starting the web process and a worker")
        web = self._start_program("web")
        self._wait_for(f"{self.url}/healthz", web)
        self._start_program("worker")
        if self._store is not None:
            self._wait_for(f"{self._store_url}/control/shops", self._store)
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

    def _keep_environment(self) -> None:
        names = [name.upper() for name in Settings.model_fields]
        self._installation.keep_environment({name: self._env[name] for name in names if name in self._env})

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
        self._store = self._child("store", command)
        self._supervisor.start(self._store)
        self._env |= {"SHOPIFY_API_ORIGIN": self._store_url, "SHOPSTREAM_SIMULATED": "1"}

    def _start_program(self, name: str) -> Child:
        program = self._child(name, shell(procfile(ROOT / "Procfile")[name]))
        self._supervisor.start(program)
        return program

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
