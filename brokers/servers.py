"""The servers' addresses, with the credentials taken out so that no log and no error can show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Servers:
    """Where NATS is and, if the addresses said so, who we are. The repr shows no credentials."""

    urls: tuple[str, ...]
    user: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str | Sequence[str]) -> "Servers":
        """Take addresses such as ``nats://user:password@host:4222``, one, several, or separated by commas.

        The credentials of the first address that has some are used for all, as servers of one cluster share them, and
        also for servers that the cluster announces later. Raises ValueError.
        """
        texts = url.split(",") if isinstance(url, str) else list(url)
        urls: list[str] = []
        user = password = None
        for text in filter(None, (text.strip() for text in texts)):
            parts = urlsplit(text if "://" in text else f"nats://{text}")
            if parts.scheme in {"ws", "wss"}:
                raise ValueError("NATS is spoken over TCP here, not over WebSockets: use nats:// or tls://")
            if parts.scheme not in {"nats", "tls"} or not parts.hostname:
                raise ValueError("a NATS address looks like nats://host:4222")
            if user is None and parts.username:
                user = unquote(parts.username)
                password = None if parts.password is None else unquote(parts.password)
            urls.append(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
        if not urls:
            raise ValueError("at least one NATS address is needed, such as nats://host:4222")
        return cls(tuple(urls), user, password)

    def __repr__(self) -> str:
        return f"Servers({self.shown})"

    @property
    def shown(self) -> str:
        """The addresses as a person may see them."""
        return ",".join(self.urls)

    def mask(self, text: str) -> str:
        """Take our credentials out of a text that a library made."""
        secret = self.password or self.user  # a name without a password is a token
        return text.replace(secret, "…") if secret else text
