"""How to reach and enter NATS: addresses, who we are, TLS. Both kinds of connection are opened with these."""

import base64
import ssl
from dataclasses import dataclass
from pathlib import Path

from .errors import BrokerUnavailable, ServerTooOld
from .servers import Servers

#: Schedules, on which delays and retries stand, came with this server.
OLDEST_SERVER = (2, 12)
#: Seconds for a TCP and TLS handshake.
CONNECT_TIMEOUT = 2
#: Seconds between attempts to connect: quick for a restart, gentle in a long outage, never beyond what lets a
#: publish succeed within three seconds of the server's return.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to reach and enter NATS."""

    servers: Servers
    credentials: Path | str | None = None
    tls: ssl.SSLContext | None = None
    inbox_prefix: str = "_INBOX"

    def login(self, nonce: str | None) -> dict[str, str]:
        """The fields of CONNECT that say who we are. Raises BrokerUnavailable when the credentials cannot be read."""
        if self.credentials is not None:
            return _signed(*self._jwt_and_seed(), nonce=nonce or "")
        if self.servers.user is None:
            return {}
        if self.servers.password is None:
            return {"auth_token": self.servers.user}
        return {"user": self.servers.user, "pass": self.servers.password}

    def _jwt_and_seed(self) -> tuple[str, str]:
        """Read anew for each connection, since files of credentials are renewed."""
        try:
            text = self.credentials if isinstance(self.credentials, str) else _read(self.credentials)
        except OSError as error:
            raise BrokerUnavailable(f"the credentials for NATS cannot be read: {error.strerror}") from None
        lines = [line.strip() for line in text.splitlines()]
        jwt = _line_behind("BEGIN NATS USER JWT", lines)
        seed = _line_behind("BEGIN USER NKEY SEED", lines) or next((x for x in lines if x.startswith("SU")), "")
        if not seed:
            raise BrokerUnavailable("the credentials for NATS hold no seed (SU…)")
        return jwt, seed


def _read(path: Path | None) -> str:
    return path.read_text() if path is not None else ""


def _line_behind(mark: str, lines: list[str]) -> str:
    position = next((number for number, line in enumerate(lines) if mark in line), None)
    return "" if position is None else next(iter(lines[position + 1 :]), "")


def _signed(jwt: str, seed: str, *, nonce: str) -> dict[str, str]:
    try:
        import nkeys  # type: ignore[import-untyped]  # noqa: PLC0415  only servers with keys need it
    except ImportError:
        raise BrokerUnavailable("credentials need the package nkeys") from None
    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))
    except (nkeys.NkeysError, ValueError):
        raise BrokerUnavailable("the credentials for NATS hold no valid seed (SU…)") from None
    who = {"jwt": jwt} if jwt else {"nkey": pair.public_key.decode()}
    signature = base64.b64encode(pair.sign(nonce.encode())).decode() if nonce else ""
    pair.wipe()
    return who | {"sig": signature}


def version_of(text: str) -> tuple[int, int]:
    """The numbers of a server's version."""
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    try:
        return int(major), int(minor)
    except ValueError:  # a build of one's own, named as one likes
        return OLDEST_SERVER


def too_old(version: tuple[int, int], address: str, *, what: str, oldest: tuple[int, int]) -> ServerTooOld:
    found, needed = (".".join(map(str, each)) for each in (version, oldest))
    return ServerTooOld(f"NATS {found} at {address} is too old: {what} {needed} or newer")
