"""What servers and clients prove who they are with, made afresh: a CA and its certificates, NKEYs, JWTs and .creds files."""

import base64
import datetime as dt
import ipaddress
import json
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import nkeys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority, with its files in ``directory``."""

    def __init__(self, directory: Path, *, name: str) -> None:
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._certificate(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = directory / f"{name}-ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1 and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            self._certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
            .add_extension(addresses, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        paths = self._directory / f"{name}.pem", self._directory / f"{name}-key.pem"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
        return paths

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.path))

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )


@dataclass(frozen=True)
class Key:
    """An NKEY: ``public`` may be told, ``seed`` not."""

    public: str
    seed: str

    @classmethod
    def of(cls, prefix: int) -> "Key":
        """``prefix``: one of PREFIX_BYTE_USER, …_ACCOUNT, …_OPERATOR."""
        seed = nkeys.encode_seed(os.urandom(32), prefix)
        return cls(nkeys.from_seed(bytearray(seed)).public_key.decode(), bytes(seed).decode())

    def sign(self, subject: str, claims: dict[str, object], *, name: str) -> str:
        """A JWT as NATS has them."""
        now = int(time.time())
        content = {"jti": name, "iat": now, "iss": self.public, "name": name, "sub": subject}
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, {**content, "nats": {**claims, "version": 2}}]
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        signature = nkeys.from_seed(bytearray(self.seed.encode())).sign(signed.encode())
        return f"{signed}.{_encoded(signature)}"


class Operator:
    """A server's operator with one account: its settings, and the .creds of a user."""

    def __init__(self) -> None:
        operator = Key.of(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = Key.of(nkeys.PREFIX_BYTE_ACCOUNT)
        system = Key.of(nkeys.PREFIX_BYTE_ACCOUNT)
        unlimited = dict.fromkeys(["subs", "data", "payload", "imports", "exports", "conn", "leaf"], -1)
        storage = dict.fromkeys(["mem_storage", "disk_storage", "streams", "consumer"], -1)
        accounts = {
            self._account.public: {"type": "account", "limits": {**unlimited, **storage, "wildcards": True}},
            system.public: {"type": "account", "limits": {**unlimited, "wildcards": True}},
        }
        preload = ", ".join(
            f"{account}: {operator.sign(account, claims, name='account')}" for account, claims in accounts.items()
        )
        own = operator.sign(operator.public, {"type": "operator"}, name="operator")
        self.settings = (
            f"operator: {own}\nsystem_account: {system.public}\nresolver: MEMORY\nresolver_preload: {{ {preload} }}"
        )

    def user(self) -> str:
        """The text of a .creds file."""
        user = Key.of(nkeys.PREFIX_BYTE_USER)
        claims: dict[str, object] = {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        token = self._account.sign(user.public, claims, name="user")
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
