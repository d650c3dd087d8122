"""The virtual environment is made when it is missing, and again when what it was made from has changed."""

import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from scripts import bootstrap
from scripts.bootstrap import ROOT, SOURCES, BootstrapError, Environment


class _Recorded(Environment):
    """Makes an environment that looks real, and writes down what would have been installed."""

    def __init__(self, root):
        super().__init__(root)
        self.created = 0
        self.installed: list[list[str]] = []

    def install(self, requirements: Sequence[str]) -> None:
        self.installed.append(list(requirements))

    def _create(self) -> None:
        self.created += 1
        self.python.parent.mkdir(parents=True, exist_ok=True)
        self.python.unlink(missing_ok=True)
        self.python.symlink_to(sys.executable)
        (self.python.parent / "activate").write_text(f"VIRTUAL_ENV={self.directory}")


@pytest.fixture
def root(tmp_path):
    for name in SOURCES:
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def environment(root):
    environment = _Recorded(root)
    environment.ensure(["local"])
    return environment


def test_a_fresh_clone_gets_an_environment(environment):
    assert environment.created == 1
    assert environment.installed == [["--editable", ".[local]"]]


def test_a_second_start_installs_nothing(environment):
    environment.ensure(["local"])
    assert len(environment.installed) == 1


@pytest.mark.parametrize("source", SOURCES)
def test_a_change_of_what_it_was_made_from_installs_again_without_making_it_anew(environment, root, source):
    (root / source).write_text("changed")
    environment.ensure(["local"])
    assert len(environment.installed) == 2
    assert environment.created == 1


def test_more_extras_are_added_and_fewer_take_none_away(environment):
    environment.ensure(["local", "test"])
    assert environment.installed[-1] == ["--editable", ".[local,test]"]
    environment.ensure(["local"])
    assert len(environment.installed) == 2


def test_an_installation_that_was_cut_short_is_begun_again(environment, root, monkeypatch):
    (root / "setup.cfg").write_text("changed")

    def cut_short(_: Sequence[str]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(environment, "install", cut_short)
        with pytest.raises(KeyboardInterrupt):
            environment.ensure(["local"])
    environment.ensure(["local"])
    assert len(environment.installed) == 2


def test_an_environment_whose_python_is_gone_is_made_anew(environment):
    environment.python.unlink()
    environment.python.symlink_to("/nonexistent/python3")
    environment.ensure(["local"])
    assert environment.created == 2


def test_an_environment_that_was_moved_is_made_anew(environment, root):
    moved = root.with_name(f"{root.name}-moved")
    root.rename(moved)
    there = _Recorded(moved)
    there.ensure(["local"])
    assert there.created == 1


class _Called(Environment):
    """An environment that calls nothing, and remembers what it would have called."""

    def __init__(self, root, *, refuses=lambda command: False):
        super().__init__(root)
        self.called: list[list[str]] = []
        self._refuses = refuses

    def _call(self, command: Sequence[str], *, quiet: bool = False) -> bool:
        self.called.append(list(command))
        return not self._refuses(command)


@pytest.fixture
def without_uv(monkeypatch):
    monkeypatch.setattr(bootstrap.shutil, "which", lambda _: None)
    told = SimpleNamespace(stdout="global.cert='/etc/ssl'\nglobal.extra-index-url='https://more.example'\n")
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: told)
    return told


def test_where_there_is_no_uv_pip_brings_it_and_it_installs_the_rest(root, without_uv):
    environment = _Called(root)
    environment.install(["redis"])
    *_, bring, install = environment.called
    assert bring[1:3] + bring[-1:] == ["-m", "pip", "uv"]
    assert install[0] == str(environment.python.parent / "uv")
    assert install[-4:] == ["redis", "--compile-bytecode", "--python", str(environment.python)]


def test_where_pip_was_told_of_an_index_pip_installs(root, without_uv):
    without_uv.stdout += "global.index-url='https://packages.example/simple'\n"
    environment = _Called(root)
    environment.install(["redis"])
    assert not any("uv" in command for command in environment.called)
    assert environment.called[-1][1:3] + environment.called[-1][-1:] == ["-m", "pip", "redis"]


@pytest.mark.parametrize("is_brought", [True, False])
def test_what_uv_cannot_do_pip_does(root, without_uv, is_brought):
    environment = _Called(
        root, refuses=lambda command: command[-1] == "uv" if not is_brought else command[0].endswith("/uv")
    )
    environment.install(["redis"])
    assert environment.called[-1][1:3] + environment.called[-1][-1:] == ["-m", "pip", "redis"]


def test_a_python_without_ensurepip_is_told_what_to_install(root, monkeypatch):
    monkeypatch.setattr(bootstrap.shutil, "which", lambda _: None)
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BootstrapError, match="apt install python3-venv"):
        Environment(root).ensure(["local"])


def test_a_machine_without_a_new_enough_python_is_told_so(tmp_path):
    # Given a PATH with an old python3 alone
    for name in ("dirname", "sh"):
        (tmp_path / name).symlink_to(f"/bin/{name}" if name == "sh" else "/usr/bin/dirname")
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts" / "run", "--help"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "Shopstream needs Python 3.11 or newer, and no python3 on the PATH is that new\n"
