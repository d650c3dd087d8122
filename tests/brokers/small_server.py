"""A nats-server with settings of a test's own, such as little room or narrow permissions."""

import json
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.brokers.conftest import wait_until


@contextmanager
def nats_server(directory: Path, *, max_file: str = "64MB", more: str = "") -> Iterator[str]:
    """Runs one and gives its address. ``more`` is appended to its configuration."""
    ports = directory / "ports"
    ports.mkdir()
    config = directory / "server.conf"
    store = f'store_dir: "{directory / "store"}", max_file: {max_file}'
    config.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\njetstream {{ {store} }}\n{more}')
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    with (directory / "server.log").open("wb") as log:
        server = subprocess.Popen([program, "--config", config], stdout=log, stderr=log)
    try:
        file = wait_until(lambda: next(ports.glob("*.ports"), None))
        yield wait_until(lambda: json.loads(file.read_text() or "{}").get("nats"))[0]
    finally:
        server.kill()
        server.wait(5)
