"""Entering NATS: TLS, a token, a key pair, credentials, an inbox of one's own. For requests and for consuming alike."""

import base64
import datetime
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any

import dramatiq
import nkeys
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from brokers import BrokerUnavailable, JetStreamBroker
from brokers.options import Options
from brokers.servers import Servers
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until
from tests.brokers.small_server import nats_server


def works(make_broker: MakeBroker, start_worker: MakeWorker, url: str, **options: Any) -> bool:
    """Whether a task enqueued with these options, many at a time too, is run."""
    broker = make_broker(url, **options)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act(number: int) -> None:
        ran.append(number)

    act.send(0)
    broker.enqueue_many([act.message(number) for number in range(1, 300)])
    start_worker(broker)
    broker.join("default", timeout=20_000)
    return sorted(ran) == list(range(300))


def is_refused(broker: JetStreamBroker, reason: str) -> bool:
    """Whether it says that this is why; a busy server may just have been slow at first."""
    with pytest.raises(BrokerUnavailable) as raised:
        broker.ping()
    return reason in str(raised.value)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, beside its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(here, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    path = tmp_path / "certificate.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    as_pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.with_suffix(".key").write_bytes(key.private_bytes(*as_pem))
    return path


def test_tls_encrypts_and_verifies(
    tmp_path: Path, certificate: Path, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{certificate.with_suffix(".key")}", timeout: 5 }}'
    with nats_server(tmp_path, more=tls) as url:
        address = url.partition("://")[2]
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert works(make_broker, start_worker, f"tls://{address}", tls=trusting)
        for stranger in (make_broker(f"tls://{address}"), make_broker(f"nats://{address}")):
            wait_until(lambda stranger=stranger: is_refused(stranger, "certificate verify failed"), timeout=30)


def test_a_server_without_tls_gets_no_password(tmp_path: Path, make_broker: MakeBroker) -> None:
    with nats_server(tmp_path) as url:
        broker = make_broker(url.replace("nats://", "tls://user:secret@"))
        wait_until(lambda: is_refused(broker, "offers no TLS"), timeout=30)


def test_a_token_lets_in(tmp_path: Path, make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    with nats_server(tmp_path, more='authorization { token: "s3cr3t" }') as url:
        assert works(make_broker, start_worker, url.replace("nats://", "nats://s3cr3t@"))
        with pytest.raises(BrokerUnavailable) as raised:
            make_broker(url.replace("nats://", "nats://wr0ng@")).ping()
        assert "wr0ng" not in str(raised.value)


@pytest.mark.parametrize("as_file", [True, False], ids=["file", "text"])
def test_a_key_pair_lets_in(tmp_path: Path, make_broker: MakeBroker, start_worker: MakeWorker, as_file: bool) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
    public = nkeys.from_seed(bytearray(seed.encode())).public_key.decode()
    credentials: Path | str = seed
    if as_file:
        credentials = tmp_path / "user.nk"
        credentials.write_text(seed + "\n")
    with nats_server(tmp_path, more=f"authorization {{ users: [ {{ nkey: {public} }} ] }}") as url:
        assert works(make_broker, start_worker, url, credentials=credentials)


def test_credentials_prove_who_holds_them() -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
    text = (
        "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    login = Options(Servers.parse("nats://a"), credentials=text).login("nonce")
    assert login["jwt"] == "eyJ0.eyJq.c2ln"
    assert nkeys.from_seed(bytearray(seed.encode())).verify(b"nonce", base64.b64decode(login["sig"]))
    assert seed not in repr(login)


def test_credentials_that_cannot_be_read_are_told(tmp_path: Path, make_broker: MakeBroker) -> None:
    with nats_server(tmp_path) as url:
        missing, empty = make_broker(url, credentials=tmp_path / "missing"), make_broker(url, credentials="nothing")
        wait_until(lambda: is_refused(missing, "cannot be read"), timeout=30)
        wait_until(lambda: is_refused(empty, "hold no seed"), timeout=30)


def test_answers_come_to_an_inbox_of_ones_own(
    tmp_path: Path, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    permissions = 'publish: ">", subscribe: ["_INBOX_mine.>", "*.bell.>", "*.told.>"]'
    users = f"authorization {{ users: [ {{ user: u, password: p, permissions: {{ {permissions} }} }} ] }}"
    with nats_server(tmp_path, more=users) as url:
        assert works(make_broker, start_worker, url.replace("nats://", "nats://u:p@"), inbox_prefix="_INBOX_mine")
        stranger = make_broker(url.replace("nats://", "nats://u:p@"))
        with pytest.raises(BrokerUnavailable):
            stranger.ping()
