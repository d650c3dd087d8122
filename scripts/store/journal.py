"""What happened to a shop after its base: one line a change, appended, so that a restart finds the same shop.

A line is ``kind id json``, with ``-`` for a deletion, or ``mark name json``. It is handed to the operating system before
the change is answered, so SIGKILL loses nothing; a torn last line is cut off when the file is read again.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Lines beyond those still needed, at which a start rewrites the file.
SLACK = 5_000


class Journal:
    """The journal of one shop. Reading it keeps only the last line about each thing, and decodes only that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._latest: dict[tuple[str, str], bytes] = {}
        lines = self._read()
        if lines > len(self._latest) + SLACK:
            self._compact()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _read(self) -> int:
        if not self._path.exists():
            return 0
        whole = count = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                kind, number, value = line.rstrip(b"\n").split(b" ", 2)
                key = (kind.decode(), number.decode())
                self._latest.pop(key, None)
                self._latest[key] = value
                whole += len(line)
                count += 1
        os.truncate(self._path, whole)
        return count

    def _compact(self) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            for (kind, number), value in self._latest.items():
                file.write(b"%s %s %s\n" % (kind.encode(), number.encode(), value))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def entries(self) -> Iterator[tuple[str, str, Any]]:
        """The last line about each thing as (kind, id, value), in the order in which they were written; once."""
        latest, self._latest = self._latest, {}
        for (kind, number), value in latest.items():
            yield kind, number, json.loads(value)

    def append(self, entries: list[tuple[str, str, Any]]) -> None:
        """Write the entries in one go."""
        text = "".join(
            f"{kind} {number} {json.dumps(value, separators=(',', ':'))}\n" for kind, number, value in entries
        )
        data = text.encode()
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        os.close(self._file)
