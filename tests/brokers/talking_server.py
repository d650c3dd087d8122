"""A server that speaks as much of NATS as a test wants it to."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable


class TalkingServer:
    """Greets like NATS, answers pings, and each request with whatever the test wants: bytes for a subject and reply."""

    def __init__(self, answer: Callable[[str, str], bytes], **info: object) -> None:
        self._info = {"version": "2.15.0", "max_payload": 1048576, "headers": True, **info}
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.requests: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a test may have closed it already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"INFO " + json.dumps(self._info).encode() + b"\r\n")
            try:
                for line in lines:
                    words = line.decode().split()
                    if words[0] == "PING":
                        connection.sendall(b"PONG\r\n")
                    elif words[0] in {"PUB", "HPUB"}:
                        lines.read(int(words[-1]) + 2)
                        self.requests.append(words[1])
                        connection.sendall(self._answer(words[1], words[2]))
            except OSError:
                return


def echo(subject: str, reply: str) -> bytes:
    return f"MSG {reply} 1 {len(subject)}\r\n{subject}\r\n".encode()
