"""The chart library is installed once, and where npm cannot, one line says why."""

import pytest

from scripts import charts


@pytest.fixture
def project(tmp_path):
    (tmp_path / "package-lock.json").write_text("{}")
    return tmp_path


@pytest.fixture
def npm(project, monkeypatch):
    """Puts a program in npm's place."""

    def put(script: str) -> None:
        program = project / "bin" / "npm"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    return put


def test_it_is_installed_once_and_again_when_the_lock_file_changes(project, npm):
    npm("mkdir -p node_modules; echo x >> calls")
    for _ in range(2):
        assert charts.install(project) is None
    assert (project / "calls").read_text() == "x\n"
    (project / "package-lock.json").write_text('{"changed": true}')
    assert charts.install(project) is None
    assert (project / "calls").read_text() == "x\nx\n"


def test_a_failure_is_one_line_with_npms_first_error(project, npm):
    npm("echo 'npm warn deprecated' >&2; echo 'npm error code ENOTFOUND' >&2; echo 'npm error more' >&2; exit 1")
    assert charts.install(project) == "npm ci failed: npm error code ENOTFOUND"


def test_an_npm_that_hangs_is_not_waited_for(project, npm, monkeypatch):
    monkeypatch.setattr(charts, "TIMEOUT", 0.3)
    npm("sleep 60")
    assert charts.install(project) == "npm ci did not end within 0 s"
