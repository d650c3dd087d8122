"""A server that greets as any version of NATS and does nothing else, but remembers what it was told."""

import json
import socket
import threading
from types import TracebackType
from typing import Self


class FakeServer:
    def __init__(self, *, version: str) -> None:
        self._info = {"server_id": "fake", "version": version, "max_payload": 1048576, "headers": True, "proto": 1}
        #: What clients sent, a connection each.
        self.received: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            received = bytearray()
            self.received.append(received)
            connection.sendall(b"INFO " + json.dumps(self._info).encode() + b"\r\n")
            try:
                while data := connection.recv(4096):
                    received += data
                    if b"PING" in data:
                        connection.sendall(b"PONG\r\n")
            except OSError:
                return
