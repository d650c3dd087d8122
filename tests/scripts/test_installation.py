"""DATA_DIR keeps its secrets to its owner, the same ever after, and has one runner at a time."""

import json
import os
import stat
import subprocess
import sys

import pytest

from scripts.bootstrap import ROOT
from scripts.installation import AlreadyRunning, Installation, Shop, given_settings


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_and_for_the_owners_eyes(tmp_path):
    first = Installation(tmp_path).secrets()
    assert {"ENCRYPTION_KEYS", "ADMIN_PASSWORD", "METRICS_TOKEN"} == set(first)
    assert Installation(tmp_path).secrets() == first
    assert _mode(tmp_path / "secrets.json") == 0o600


def test_two_installations_share_no_secret(tmp_path):
    first, second = (Installation(tmp_path / name).secrets() for name in ("one", "two"))
    assert not set(first.values()) & set(second.values())


def test_shops_with_their_tokens_come_back_and_are_for_the_owners_eyes(tmp_path):
    shop = Shop(shop_domain="a.myshopify.com", api_token="t", webhook_secret="w", access_token="s", sync_id=None)
    Installation(tmp_path).shops = [shop]
    assert Installation(tmp_path).shops == [shop]
    assert _mode(tmp_path / "shops.json") == 0o600
    assert "'t'" not in repr(shop)


def test_a_second_runner_is_refused_and_told_who_the_first_is(tmp_path):
    program = (
        "import sys; from pathlib import Path; from scripts.installation import Installation\n"
        f"first = Installation(Path({str(tmp_path)!r})); first.acquire(); print('ready', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    first.stdout.readline()
    second = Installation(tmp_path)
    assert second.runner() == first.pid
    with pytest.raises(AlreadyRunning, match=str(first.pid)):
        second.acquire()
    # When the first one is killed, the second may run
    first.kill()
    first.communicate()
    assert second.runner() is None
    second.acquire()
    assert Installation(tmp_path).runner() == os.getpid()
    second.release()


def test_what_a_killed_runner_announced_is_not_taken_for_the_next_ones(tmp_path):
    killed = Installation(tmp_path)
    killed.state = {"url": "http://127.0.0.1:1"}
    assert _mode(tmp_path / "running.json") == 0o600
    next_one = Installation(tmp_path)
    next_one.acquire()
    assert next_one.state is None
    next_one.release()


def test_the_environment_wins_over_the_env_file_and_empty_means_not_given(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://file/db\nNATS_URL=nats://file\nSHOP_DOMAIN=\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://environment/db")
    monkeypatch.delenv("NATS_URL")
    given = given_settings(tmp_path)
    assert given["DATABASE_URL"] == "postgresql://environment/db"
    assert given["NATS_URL"] == "nats://file"
    assert "SHOP_DOMAIN" not in given


def test_a_crash_while_writing_leaves_the_old_file_whole(tmp_path, monkeypatch):
    installation = Installation(tmp_path)
    installation.state = {"url": "old"}

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space"):
        installation.state = {"url": "new"}
    assert json.loads((tmp_path / "running.json").read_text()) == {"url": "old"}
