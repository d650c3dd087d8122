"""The virtual environment of this repository: made when missing, brought up to date when what it was made from has changed.

``python bootstrap.py EXTRAS MODULE [ARGUMENT…]`` then becomes ``.venv/bin/python -m MODULE``. Only the standard library is
used here, for nothing else is installed yet. uv does the work, four times as fast as pip, which does it where uv cannot.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: What decides which packages belong into the environment.
SOURCES = ("setup.cfg", "pyproject.toml", "constraints.txt")


class BootstrapError(Exception):
    """The environment cannot be made. The message says what the person can do."""


class Environment:
    """``root/.venv`` with the package in ``root`` installed editable, plus some of its extras."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.directory = root / ".venv"
        self.python = self.directory / "bin" / "python"
        self._stamp = self.directory / "shopstream.json"

    def ensure(self, extras: Iterable[str]) -> None:
        """Make the environment hold the package and at least these extras. Instant when it already does.

        Raises BootstrapError.
        """
        wanted = set(extras)
        if self._is_current(wanted):
            return
        with self._locked():
            if self._is_current(wanted):  # another process has just done it
                return
            wanted |= set(self._read_stamp().get("extras", []))
            _say("Installing the Python packages into .venv (half a minute the first time)")
            self._stamp.unlink(missing_ok=True)
            if not self._is_usable():
                self._create()
            self.install(["--editable", f".[{','.join(sorted(wanted))}]"])
            self._stamp.write_text(json.dumps({"made_from": self._made_from(), "extras": sorted(wanted)}))

    def install(self, requirements: Sequence[str]) -> None:
        """Install packages, in the versions that constraints.txt allows. Raises BootstrapError."""
        uv = shutil.which("uv") or self._own_uv()
        # Compiled now, as pip does: each of our processes would otherwise spend seconds on it at every start.
        if uv and self._call([uv, "pip", *_install(requirements), "--compile-bytecode", "--python", str(self.python)]):
            return
        if not self._call([*self._pip, *_install(requirements)]):
            raise BootstrapError(f"could not install {' '.join(requirements)}: see above")

    def _own_uv(self) -> str | None:
        """uv, installed into the environment by its pip; None where pip was told of an index, which uv would not know of."""
        if not self._call([*self._pip, "--version"], quiet=True) and not self._call(
            [str(self.python), "-m", "ensurepip"]
        ):
            raise BootstrapError("this Python has no ensurepip to install pip with: apt install python3-venv")
        configured = subprocess.run(
            [*self._pip, "config", "list"], stdout=subprocess.PIPE, text=True, check=False
        ).stdout
        if re.search(r"[.:]index-url=", configured) or not self._call([*self._pip, *_install(["uv"])], quiet=True):
            return None
        return str(self.python.parent / "uv")

    @property
    def _pip(self) -> list[str]:
        return [str(self.python), "-m", "pip", "--disable-pip-version-check"]

    def _create(self) -> None:
        uv = shutil.which("uv")
        if uv and self._call([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(self.directory)]):
            return
        if importlib.util.find_spec("ensurepip") is None:
            raise BootstrapError("this Python cannot make virtual environments: apt install python3-venv")
        if not self._call([sys.executable, "-m", "venv", "--clear", str(self.directory)]):
            raise BootstrapError(f"could not make {self.directory}: see above (apt install python3-venv?)")

    def _is_current(self, wanted: set[str]) -> bool:
        stamp = self._read_stamp()
        return (
            stamp.get("made_from") == self._made_from() and wanted <= set(stamp.get("extras", [])) and self._is_usable()
        )

    def _is_usable(self) -> bool:
        """Whether the environment has a Python that runs (its origin may be gone) and was made at this very place."""
        program = "import sys; sys.exit(sys.version_info < (3, 11))"
        # Programs in .venv/bin name their Python by its full path, so a moved environment does not work.
        activate = self.directory / "bin" / "activate"
        is_at_home = activate.exists() and str(self.directory) in activate.read_text()
        return is_at_home and self.python.exists() and self._call([str(self.python), "-c", program], quiet=True)

    def _made_from(self) -> str:
        digest = hashlib.sha256(str(self.root).encode())
        for name in SOURCES:
            digest.update((self.root / name).read_bytes())
        return digest.hexdigest()

    def _read_stamp(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._stamp.read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}

    def _call(self, command: Sequence[str], *, quiet: bool = False) -> bool:
        """Whether the command succeeds. What it says is shown only when it fails, and on stderr: stdout is the program's."""
        # A person's PIP_USER would make pip install elsewhere.
        environment = os.environ | {"PIP_USER": "0"}
        result = subprocess.run(
            command, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False
        )
        if result.returncode != 0 and not quiet:
            _say(result.stdout.decode(errors="replace").strip())
        return result.returncode == 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold off other starts meanwhile. On a file that is there anyway: .venv itself may be cleared."""
        with (self.root / "setup.cfg").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _install(requirements: Sequence[str]) -> list[str]:
    return ["install", "--quiet", "--constraint", "constraints.txt", *requirements]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(extras: str, module: str, *arguments: str) -> None:
    environment = Environment()
    try:
        environment.ensure(extras.split(","))
    except BootstrapError as error:
        raise SystemExit(str(error)) from None
    if "DATA_DIR" in os.environ:
        os.environ["DATA_DIR"] = str(Path(os.environ["DATA_DIR"]).absolute())  # as meant where it was typed
    # What runs here starts many processes of ours, each of which would compile all of our modules anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.chdir(ROOT)
    os.execv(environment.python, [str(environment.python), "-m", module, *arguments])  # noqa: S606


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
