"""The web process as it is deployed, gunicorn and all, with a Postgres and a NATS of its own to be taken away from it."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from app.webhooks import MAX_BODY
from scripts.embedded import free_port
from scripts.services import EmbeddedNats, EmbeddedPostgres
from tests.app.conftest import signature

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ADMIN = ("admin", "admin-password")


class Server:
    """A gunicorn with one process, and its services."""

    def __init__(self, directory: Path) -> None:
        self.postgres = EmbeddedPostgres(directory / "postgres", durable=False)
        self.nats = EmbeddedNats(directory / "nats", durable=False)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = directory / "gunicorn.log"
        self.process: psutil.Popen | None = None

    def start(self) -> None:
        self.postgres.start()
        self.nats.start()
        environment = os.environ | {
            "DATABASE_URL": self.postgres.url,
            "NATS_URL": self.nats.url,
            "PORT": self.url.rpartition(":")[2],
        }
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
        subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=90, capture_output=True)
        with self.log.open("wb") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "gunicorn", "--access-logfile", "-", "wsgi:app"],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.wait_until(lambda: self.get("/readyz") == 200)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
        self.nats.stop()
        self.postgres.remove()

    def get(self, path: str) -> int | None:
        try:
            return requests.get(self.url + path, timeout=10).status_code
        except requests.RequestException:  # it is still starting
            return None

    def wait_until(self, condition, *, seconds: float = 60) -> float:
        """Seconds until the condition held."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, self.log.read_text()
            time.sleep(0.05)
        return time.monotonic() - started

    def outbox(self) -> int:
        """How many messages wait there to be published."""
        connection = psycopg2.connect(self.postgres.url)
        try:
            with connection.cursor() as cursor:
                cursor.execute("select count(*) from dramatiq_outbox")
                return cursor.fetchone()[0]
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return socket.create_connection((host, int(port)), timeout=25)

    def onboard(self, name: str) -> str:
        body = {"shopDomain": f"{name}.myshopify.com", "accessToken": "shpat_x", "sync": False}
        answer = requests.post(f"{self.url}/api/tenants", json=body, auth=ADMIN, timeout=10)
        assert answer.status_code == 201, answer.text
        return body["shopDomain"]

    def deliver(self, domain: str, body: bytes = b'{"id":1}') -> requests.Response:
        return requests.post(f"{self.url}/api/webhooks", data=body, headers=headers(domain, body), timeout=10)


def headers(domain: str, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-Shopify-Topic": "orders/delete",
        "X-Shopify-Shop-Domain": domain,
        "X-Shopify-Hmac-Sha256": signature(body, "app-secret"),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    for each in (directory, *directory.parents):
        if each.is_relative_to(directory.parents[1]):
            each.chmod(0o711)
    server = Server(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_while_nats_is_away_webhooks_are_refused_soon_and_taken_again_soon(server):
    domain = server.onboard("nats-away")
    assert server.deliver(domain).status_code == 200
    server.nats.stop()
    started = time.monotonic()
    answer = server.deliver(domain)
    assert time.monotonic() - started < 3
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert server.get("/readyz") == 503
    assert server.get("/healthz") == 200
    server.nats.start()
    assert server.wait_until(lambda: server.deliver(domain).status_code == 200) < 3


def test_a_tenant_that_is_onboarded_while_nats_is_away_is_synced_when_it_is_back(server):
    server.nats.stop()
    body = {"shopDomain": "no-nats.myshopify.com", "accessToken": "shpat_x"}
    answer = requests.post(f"{server.url}/api/tenants", json=body, auth=ADMIN, timeout=10)
    assert answer.status_code == 201
    bearer = {"Authorization": f"Bearer {answer.json()['apiToken']}"}
    (run,) = requests.get(f"{server.url}/api/sync-status", headers=bearer, timeout=10).json()["runs"]
    assert (run["id"], run["status"]) == (answer.json()["syncId"], "running")
    # Its first message goes out once NATS is back, without anybody's doing
    server.nats.start()
    server.wait_until(lambda: server.outbox() == 0)


def test_while_postgres_is_away_webhooks_are_taken_and_questions_put_off(server):
    domain = server.onboard("postgres-away")
    server.postgres.stop()
    for _ in range(5):
        started = time.monotonic()
        assert server.deliver(domain).status_code == 200
        assert time.monotonic() - started < 3
    assert server.deliver("never-heard-of.myshopify.com").status_code == 503
    assert server.get("/readyz") == 200
    question = requests.get(f"{server.url}/api/stats?shop={domain}", auth=ADMIN, timeout=10)
    assert question.status_code == 503
    assert "Retry-After" in question.headers
    server.postgres.start()
    server.wait_until(lambda: server.deliver("never-heard-of.myshopify.com").status_code == 200)
    assert requests.get(f"{server.url}/api/stats?shop={domain}", auth=ADMIN, timeout=10).status_code == 200


@pytest.mark.parametrize("size", [1_200_000, MAX_BODY])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_large_webhook_arrives(server, size, is_chunked):
    domain = server.onboard(f"large-{size}-{is_chunked}".lower())
    body = b'{"id":1,"note":"' + b"x" * (size - 18) + b'"}'
    assert len(body) == size
    sent = (body[at : at + 65536] for at in range(0, size, 65536)) if is_chunked else body
    answer = requests.post(f"{server.url}/api/webhooks", data=sent, headers=headers(domain, body), timeout=30)
    assert answer.status_code == 200


def test_a_webhook_that_says_it_is_too_large_is_not_read(server):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/api/webhooks")
    for name, value in headers("x.myshopify.com", b"").items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(MAX_BODY + 1))
    connection.endheaders()
    with connection.getresponse() as answer:  # although nothing of the body was sent
        assert answer.status == 413
        assert answer.headers["Content-Type"] == "application/problem+json"
    connection.close()


def test_a_webhook_that_turns_out_too_large_is_refused_without_reading_on(server):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/api/webhooks")
    for name, value in headers("x.myshopify.com", b"").items():
        connection.putheader(name, value)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    chunk = b"x" * 1_048_576
    for _ in range(17):  # and never an end
        connection.send(b"100000\r\n" + chunk + b"\r\n")
    with connection.getresponse() as answer:
        assert answer.status == 413
    connection.close()


def test_a_client_that_sends_it_all_is_told_that_it_is_too_large(server):
    body = b"x" * (MAX_BODY + 1)
    assert server.deliver("x.myshopify.com", body).status_code == 413


BODY_BEGUN = b"POST /api/webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n"
CHUNKS_BEGUN = BODY_BEGUN.replace(b"Content-Length: 2000", b"Transfer-Encoding: chunked")
SIGNED = "".join(f"{name}: {value}\r\n" for name, value in headers("x.myshopify.com", b"").items()).encode()


#: Requests that have begun, and how their answers do.
UNFINISHED = {
    "a webhook": (BODY_BEGUN + SIGNED + b"\r\n{", b"HTTP/1.1 408 "),
    "chunks": (CHUNKS_BEGUN + SIGNED + b"\r\n", b"HTTP/1.1 408 "),
    "a JSON body": (
        BODY_BEGUN.replace(b"webhooks", b"sync") + b"Content-Type: application/json\r\n\r\n{",
        b"HTTP/1.1 408 ",
    ),
    "a body that its route does not read": (BODY_BEGUN + b"\r\n{", b"HTTP/1.1 401 "),
    "a head": (BODY_BEGUN, b""),
}


def test_strangers_who_do_not_finish_their_requests_stop_nobody(server):
    # Given more strangers than threads, each with a request that has begun
    strangers = [(server.connect(), what) for what in UNFINISHED for _ in range(2)]
    for each, what in strangers:
        each.sendall(UNFINISHED[what][0])
    # When half of them fall silent, and the others send a byte now and then
    for _ in range(4):
        time.sleep(1)
        for each, _what in strangers[::2]:
            with contextlib.suppress(OSError):  # its connection is closed
                each.sendall(b"1")
    # Then the process serves others soon
    assert server.wait_until(lambda: server.get("/healthz") == 200, seconds=15) < 10
    # And every stranger is told, and sent away
    for each, what in strangers:
        answer = received(each)
        assert answer.startswith(UNFINISHED[what][1]), what
        if answer.startswith(b"HTTP/1.1 408"):
            assert b"application/problem+json" in answer
            assert b"Connection: close" in answer


def received(connection: socket.socket) -> bytes:
    """What arrives until the connection ends."""
    pieces = []
    with connection, contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("chunks", [b"ZZ\r\n{}\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX"], ids=str)
def test_malformed_chunks_are_the_senders_fault(server, chunks):
    stranger = server.connect()
    stranger.sendall(CHUNKS_BEGUN + SIGNED + b"\r\n" + chunks)
    answer = received(stranger)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert b"Connection: close" in answer
    assert "Traceback" not in server.log.read_text()


def test_a_body_that_keeps_coming_may_take_its_time(server):
    # Given 2 MB at half a megabyte a second after the half of what a silent one would be granted
    domain = server.onboard("slow-but-coming")
    body = b'{"id":1,"note":"' + b"x" * 2_000_000 + b'"}'

    def pieces():
        time.sleep(2.5)
        for at in range(0, len(body), 250_000):
            yield body[at : at + 250_000]
            time.sleep(0.6)

    sent = requests.post(f"{server.url}/api/webhooks", data=pieces(), headers=headers(domain, body), timeout=40)
    assert sent.status_code == 200


def test_no_token_reaches_the_log(server):
    server.onboard("logged")
    log = server.log.read_text()
    for secret in ("shpat_x", "sst_", "admin-password", "app-secret", "Traceback"):
        assert secret not in log


def test_no_query_reaches_an_access_log(server):
    address = f"{server.url}/api/oauth/callback?code=very-secret-code&shop=a.myshopify.com"
    requests.get(address, headers={"Referer": address}, timeout=10)
    server.wait_until(lambda: "GET /api/oauth/callback HTTP/1.1" in server.log.read_text(), seconds=10)
    assert "very-secret-code" not in server.log.read_text()
