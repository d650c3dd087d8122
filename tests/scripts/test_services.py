"""The embedded servers keep what they confirmed, belong to one process at a time, and leave nothing behind."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import psycopg2
import pytest
from nats import connect

from scripts import embedded
from scripts.bootstrap import ROOT
from scripts.embedded import free_port
from scripts.services import EmbeddedNats, EmbeddedPostgres, ServiceError


def _query(url: str, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_committed_rows_survive_a_sigkill_and_the_address_stays(own_postgres):
    # Given a committed row
    own_postgres.start()
    url = own_postgres.url
    _query(url, "create table kept (id int)")
    _query(url, "insert into kept values (7)")
    # When the server is killed and started again
    own_postgres.kill()
    assert not own_postgres.is_running
    own_postgres.start()
    # Then the row is there, at the same address
    assert own_postgres.url == url
    assert _query(url, "select id from kept") == [(7,)]


def test_a_second_start_and_a_second_stop_do_nothing(own_nats):
    own_nats.start()
    pid = own_nats.pid
    own_nats.start()
    assert own_nats.pid == pid
    own_nats.stop()
    own_nats.stop()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("server_name", ["postgres", "nats"])
def test_a_second_owner_of_the_directory_is_refused_with_the_first_ones_number(server_name, request):
    server = request.getfixturevalue(server_name)
    second = type(server)(server.directory, durable=False)
    with pytest.raises(ServiceError, match=f"already in use by process {os.getpid()}"):
        second.start()
    assert server.is_running


@pytest.mark.parametrize("service", ["EmbeddedPostgres", "EmbeddedNats"])
def test_a_killed_owner_does_not_keep_the_next_one_from_starting(service, tmp_path, wait_until):
    # Given a process that started the service and was killed
    program = (
        f"import sys; from pathlib import Path; from scripts.services import {service} as Service\n"
        f"service = Service(Path({str(tmp_path / 'service')!r}), durable=False); service.start()\n"
        "print(service.pid, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.communicate()
    # Then the server does not outlive it where the system can see to that
    if sys.platform == "linux":
        wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    # And the next owner starts on the same directory
    successor = {"EmbeddedPostgres": EmbeddedPostgres, "EmbeddedNats": EmbeddedNats}[service](
        tmp_path / "service", durable=False
    )
    successor.start()
    successor.remove()


@pytest.mark.parametrize("server_name", ["own_postgres", "own_nats"])
def test_a_server_that_outlived_its_owner_is_ended_by_the_next_one(server_name, request):
    # Given a server whose owner is gone without stopping it (as on a system that cannot tie them together)
    orphaned = request.getfixturevalue(server_name)
    orphaned.start()
    orphaned._lock.release()
    # When another owner starts on the directory
    successor = type(orphaned)(orphaned.directory, durable=False)
    successor.start()
    # Then it has a server of its own, and the old one is gone
    assert not orphaned.is_running
    assert successor.is_running
    successor.stop()


def test_a_pid_file_that_names_a_stranger_does_not_keep_postgres_from_starting(own_postgres):
    # Given a killed Postgres whose process id now belongs to somebody else
    own_postgres.start()
    own_postgres.stop()
    pid_file = own_postgres._home() / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n")
    os.chown(pid_file, pid_file.parent.stat().st_uid, -1)
    # Then it starts, and leaves the stranger alone
    own_postgres.start()
    assert own_postgres.is_running


def test_an_initdb_that_was_killed_midway_is_begun_anew(own_postgres):
    half_made = own_postgres._home() / "data.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18")
    own_postgres.start()
    assert _query(own_postgres.url, "select 1") == [(1,)]


def test_a_database_can_be_created(postgres):
    name = f"an other {uuid.uuid4()}"
    assert _query(postgres.create_database(name), "select current_database()") == [(name,)]


def test_postgres_wants_the_password_which_only_its_owner_can_read(postgres):
    password = postgres.directory / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres.url.replace(password.read_text(), "guessed"))


def test_postgres_works_in_utc_and_unicode(postgres):
    assert _query(postgres.url, "select current_setting('timezone'), lower('ÄÖ')") == [("UTC", "äö")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends Postgres another user")
def test_root_can_use_a_directory_that_no_one_else_can_reach(tmp_path):
    # Given a folder as root's home is
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres", durable=False)
    # Then Postgres runs, as somebody else, with its data in another place
    server.start()
    assert psutil.Process(server.pid).uids().real != 0
    home = server._home()
    assert not home.is_relative_to(closed)
    # And the folders that were closed stay closed, and nothing is left
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    server.remove()
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends Postgres another user")
def test_binaries_that_postgres_cannot_reach_are_copied_with_the_libraries_beside_them(tmp_path, monkeypatch):
    from scripts import services  # noqa: PLC0415

    place = tmp_path / "reachable"
    place.mkdir()
    monkeypatch.setattr(services, "_REACHABLE", place)
    binaries = services._reachable_copy(services._postgres_binaries(None).parent) / "bin"
    version = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True, env={})
    assert version.stdout.startswith("postgres (PostgreSQL)")


async def _publish(url: str) -> None:
    connection = await connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="kept", subjects=["kept"])
    await stream.publish("kept", b"7")
    await connection.close()


async def _stored(url: str) -> int:
    connection = await connect(url)
    info = await connection.jetstream().stream_info("kept")
    await connection.close()
    return info.state.messages


def test_a_stored_message_survives_a_sigkill_of_nats(own_nats):
    own_nats.start()
    asyncio.run(_publish(own_nats.url))
    own_nats.kill()
    own_nats.start()
    assert asyncio.run(_stored(own_nats.url)) == 1


def test_nats_refuses_a_stranger(nats):
    with (
        socket.create_connection(("127.0.0.1", nats.port), timeout=10) as stranger,
        stranger.makefile("rb") as answers,
    ):
        assert answers.readline().startswith(b"INFO")
        stranger.sendall(b'CONNECT {"verbose": true}\r\n')
        assert b"Authorization Violation" in answers.readline()


def test_a_durable_nats_syncs_before_it_confirms(tmp_path):
    with EmbeddedNats(tmp_path / "nats", durable=True) as server:
        config = server.directory / "nats.conf"
        assert "sync_interval: always" in config.read_text()
        assert stat.S_IMODE(config.stat().st_mode) == 0o600


@pytest.mark.parametrize("server_name", ["postgres", "nats"])
def test_the_servers_listen_on_this_machine_only(server_name, request):
    server = request.getfixturevalue(server_name)
    listening = [
        c.laddr.ip for c in psutil.Process(server.pid).net_connections("all") if c.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_a_taken_port_is_said_and_not_waited_for(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = EmbeddedNats(tmp_path / "nats", port=taken.getsockname()[1], durable=False)
        with pytest.raises(ServiceError, match="address already in use"):
            server.start()


def test_a_server_that_ignores_the_request_to_stop_is_killed(own_nats):
    own_nats.start()
    process = psutil.Process(own_nats.pid)
    process.send_signal(signal.SIGSTOP)
    own_nats.stop(timeout=0.2)
    assert not process.is_running()


def test_a_normal_user_runs_both(tmp_path):
    """As root, for a user made up for it; the other way round is what everybody else's run of this suite shows."""
    if os.geteuid() != 0:
        pytest.skip("the whole suite runs as a normal user")
    user = 54_321
    home = Path("/var/tmp") / f"shopstream-user-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, user, user)
    program = (
        "import os; from pathlib import Path; from scripts.services import EmbeddedNats, EmbeddedPostgres\n"
        "for service in (EmbeddedPostgres, EmbeddedNats):\n"
        f"    with service(Path({str(home)!r}) / service.__name__, durable=False) as server:\n"
        "        print(server.name, os.stat(f'/proc/{server.pid}').st_uid)\n"
    )
    try:
        probe = subprocess.run([sys.executable, "-c", ""], user=user, group=user, extra_groups=[], cwd="/", check=False)
    except PermissionError:
        probe = None
    try:
        if probe is None or probe.returncode != 0:
            pytest.skip("another user cannot reach this Python")
        done = subprocess.run(
            [sys.executable, "-c", program],
            user=user,
            group=user,
            extra_groups=[],
            cwd="/",
            env={"PYTHONPATH": str(ROOT), "HOME": str(home), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.splitlines() == [f"Postgres {user}", f"NATS {user}"], done.stderr
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)


def test_a_port_is_given_once_as_long_as_its_process_lives():
    reserve = "from scripts import embedded; embedded._reserve({})"

    def elsewhere(port):
        command = [sys.executable, "-c", reserve.format(port)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False).stderr

    port, beyond_those_given = free_port(), 40_000 + os.getpid() % 10_000
    with pytest.raises(OSError, match="is reserved"):
        embedded._reserve(port)
    assert "BlockingIOError" in elsewhere(port)
    # A process that has ended holds none
    assert elsewhere(beyond_those_given) == elsewhere(beyond_those_given) == ""
