"""The wheel dramatiq-jetstream: what its page shows runs, and it needs Dramatiq alone.

``scripts/conformance`` builds it and tries it in an environment of its own; here is what needs no building.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import brokers
from brokers.testing import NatsServer
from scripts.conformance import ten_line_example
from tests.brokers.conftest import wait_until

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "brokers" / "pyproject.toml").read_text())["project"]


@pytest.fixture
def as_installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which this package has the wheel's name."""
    (tmp_path / "dramatiq_jetstream").symlink_to(ROOT / "brokers")
    return os.environ | {"PYTHONPATH": str(tmp_path)}


def test_the_ten_line_example_runs(as_installed: dict[str, str], tmp_path: Path) -> None:
    # Given the example as the README shows it, and a worker on it
    example = ten_line_example()
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    with NatsServer() as server, (tmp_path / "worker.log").open("wb") as log:
        (tmp_path / "greeting.py").write_text(example.replace("nats://127.0.0.1:4222", server.url))
        command = [sys.executable, "-m", "dramatiq", "greeting", "--processes", "1", "--threads", "1"]
        worker = subprocess.Popen(command, cwd=tmp_path, env=as_installed, stdout=log, stderr=log)
        try:
            # When it is run
            subprocess.run([sys.executable, "greeting.py"], cwd=tmp_path, env=as_installed, check=True)
            # Then the worker greets
            wait_until(lambda: "Hello world" in (tmp_path / "worker.log").read_text(), timeout=60)
        finally:
            worker.terminate()
            worker.wait()


def test_the_package_itself_needs_dramatiq_alone() -> None:
    assert {re.split(r"[<>=\[]", name)[0] for name in PROJECT["dependencies"]} == {"dramatiq"}
    # Given an interpreter in which every optional library is missing
    extras = ["sqlalchemy", "prometheus_client", "opentelemetry", "redis", "pika", "nkeys", "nats", "pytest", "uvloop"]
    program = f"import sys; sys.modules.update(dict.fromkeys({extras}))\nimport brokers, brokers.__main__"
    # When the package is imported, its command line too, then nothing is missed
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True)


def test_every_library_that_a_module_imports_is_declared() -> None:
    declared = [
        *PROJECT["dependencies"],
        *(each for extra in PROJECT["optional-dependencies"].values() for each in extra),
    ]
    modules = {"prometheus-client": "prometheus_client", "opentelemetry-api": "opentelemetry"}
    names = [re.split(r"[<>=\[]", each)[0] for each in declared]
    allowed = {*sys.stdlib_module_names, *(modules.get(name, name) for name in names)}
    for path in sorted((ROOT / "brokers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = {str(node.module).split(".")[0]}
            else:
                continue
            assert found <= allowed, path.name


def test_the_version_stands_in_one_place() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", brokers.__version__)
    assert PROJECT["dynamic"] == ["version"]


def test_the_licence_is_the_repositorys() -> None:
    assert (ROOT / "brokers" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
