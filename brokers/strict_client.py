"""nats-py's client, held back from going on in plain text where TLS was asked for.

nats-py encrypts when the server's greeting says that it must, whatever the address or the context says; a server that is set
up wrongly, or somebody in between, would be told the password. This rests on two private names of nats-py's; should it
rename them, ``tests/brokers/test_tls.py`` fails.
"""

import nats.errors
from nats.aio.client import Client


class StrictClient(Client):
    """``needs_tls``: say nothing to a server with which the connection is not encrypted."""

    def __init__(self, *, needs_tls: bool) -> None:
        super().__init__()
        self._needs_tls = needs_tls

    def _connect_command(self) -> bytes:
        if self._needs_tls and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server offers no TLS")
        return super()._connect_command()
