"""What one installation of scripts/run keeps in DATA_DIR: its secrets, its shops, and who runs it right now."""

import json
import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from dotenv import dotenv_values

from scripts.embedded import DirectoryLock


class AlreadyRunning(Exception):
    """Another process runs this installation; its id is the argument."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A tenant of the demo, and what a script needs to act as it."""

    shop_domain: str
    api_token: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    access_token: str = field(repr=False)
    sync_id: str | None


class Installation:
    """The folder DATA_DIR. What is secret in it is readable for its owner only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.logs = self.directory / "logs"
        self._lock = DirectoryLock(self.directory)

    def acquire(self) -> None:
        """Claim the installation for this process. Raises AlreadyRunning."""
        self._lock.acquire(AlreadyRunning)
        self._state.unlink(missing_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def release(self) -> None:
        self._state.unlink(missing_ok=True)
        self._lock.release()

    def runner(self) -> int | None:
        """The id of the process that runs this installation now, if one does."""
        return self._lock.holder()

    @property
    def state(self) -> dict[str, Any] | None:
        """What the running process has announced: the object that ``--detach`` prints. None until it is ready."""
        state: dict[str, Any] | None = _read(self._state)
        return state

    @state.setter
    def state(self, value: Mapping[str, Any]) -> None:
        _write(self._state, value)

    @property
    def shops(self) -> list[Shop]:
        return [Shop(**shop) for shop in _read(self.directory / "shops.json") or []]

    @shops.setter
    def shops(self, value: list[Shop]) -> None:
        _write(self.directory / "shops.json", [asdict(shop) for shop in value])

    def secrets(self) -> dict[str, str]:
        """Settings that have to be secret, made once and the same ever after."""
        path = self.directory / "secrets.json"
        known: dict[str, str] | None = _read(path)
        if known is None:
            known = {
                "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
                "ADMIN_PASSWORD": secrets.token_urlsafe(12),
                "METRICS_TOKEN": secrets.token_urlsafe(24),
            }
            _write(path, known)
        return known

    def keep_environment(self, environment: Mapping[str, str]) -> None:
        """Write down the settings as a shell reads them, for the operator's command line."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items())]
        _replace(self.directory / "environment", "".join(lines))

    @property
    def _state(self) -> Path:
        return self.directory / "running.json"


def given_settings(root: Path) -> dict[str, str]:
    """The settings that a person gave: the environment, and under it the file ``.env``. Empty ones count as not given."""
    given = {**dotenv_values(root / ".env"), **os.environ}
    return {name: value for name, value in given.items() if value}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _write(path: Path, value: object) -> None:
    _replace(path, json.dumps(value, indent=1))


def _replace(path: Path, text: str) -> None:
    """Replace the file in one step: whoever reads it, even after a crash, finds the old or the new."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
