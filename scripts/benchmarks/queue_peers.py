"""The Python environment of the queue benchmark's peers: no dependency of the project's, so none of them is in its own."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.bootstrap import ROOT

#: Our own Dramatiq, so that brokers are compared and not versions of it.
REQUIREMENTS = (
    f"dramatiq[redis,rabbitmq]=={importlib.metadata.version('dramatiq')}",
    "taskiq-nats",
    "celery[redis]",
)
#: What the figures depend on.
_NAMED = ("dramatiq", "redis", "pika", "taskiq", "taskiq-nats", "nats-py", "celery")
_VERSIONS = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


class PeersMissing(Exception):
    """The peers cannot be installed. The message says why."""


class PeerEnvironment:
    """A virtual environment in the data directory, made at the first ``--peers``."""

    def __init__(self) -> None:
        self.directory = Path(os.environ.get("DATA_DIR", ROOT / ".local")) / "bench-peers"
        self.python = self.directory / "bin" / "python"
        self._stamp = self.directory / "requirements.json"

    def ensure(self) -> None:
        """Raises PeersMissing."""
        if self._stamp.exists() and json.loads(self._stamp.read_text()) == list(REQUIREMENTS):
            return
        print(f"Installing the peers into {self.directory}", file=sys.stderr, flush=True)
        uv = shutil.which("uv")
        venv = [uv, "venv", "--quiet", "--clear", "--python", sys.executable] if uv else _python("venv", "--clear")
        pip = [uv, "pip", "install", "--python", str(self.python)] if uv else [str(self.python), "-m", "pip", "install"]
        for command in ([*venv, str(self.directory)], [*pip, "--quiet", *REQUIREMENTS]):
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if result.returncode != 0:
                raise PeersMissing(result.stdout.strip().splitlines()[-1])
        self._stamp.write_text(json.dumps(REQUIREMENTS))

    def versions(self) -> dict[str, str]:
        if not self._stamp.exists():
            return {}
        command = [str(self.python), "-c", _VERSIONS, *_NAMED]
        return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]
