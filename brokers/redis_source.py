"""What Dramatiq's RedisBroker keeps in Redis, for moving it over.

``<namespace>:<queue>`` is a list of ids and ``<namespace>:<queue>.msgs`` a hash from id to message; the same with ``.DQ``
for delayed ones. ``<namespace>:<queue>.XQ`` is a sorted set of dead ones' ids by the milliseconds of their death, with a hash
of its own. What a worker has taken is in the hash and not in the list; its id stands in
``<namespace>:__acks__.<worker>.<queue>``, and the worker's last sign of life in ``<namespace>:__heartbeats__``.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import redis
from dramatiq.common import dq_name, q_name, xq_name

from .importing import Found, Kind, Moved

#: What goes wrong between here and Redis.
ERRORS = (redis.RedisError,)
#: Seconds without a sign of life after which Dramatiq takes a worker's messages back, by default.
HEARTBEAT_TIMEOUT = 60.0


class RedisSource:
    """A RedisBroker's messages.

    Parameters:
      url(str): Such as ``redis://user:password@host:6379/0``; also ``rediss://`` and ``unix://``.
      namespace(str): The broker's.
    """

    name = "redis"

    def __init__(self, url: str, *, namespace: str = "dramatiq") -> None:
        self._client: Any = redis.Redis.from_url(url)
        self._namespace = namespace

    def queues(self) -> Sequence[str]:
        found = set()
        for key in self._client.scan_iter(match=f"{_escaped(self._namespace)}:*.msgs", count=1000, _type="hash"):
            found.add(q_name(_text(key).removeprefix(f"{self._namespace}:").removesuffix(".msgs")))
        return sorted(found)

    def count(self, queue: str) -> Moved:
        held = {kind: len(self._held(_place(queue, kind))) for kind in ("waiting", "delayed")}
        sizes = {kind: self._client.hlen(self._hash(queue, kind)) for kind in ("waiting", "delayed", "dead")}
        return Moved(
            queue,
            waiting=sizes["waiting"] - held["waiting"],
            delayed=sizes["delayed"] - held["delayed"],
            dead=sizes["dead"],
            held=held["waiting"] + held["delayed"],
        )

    def require_idle(self, queue: str) -> None:
        """Redis cannot tell; what workers hold that gave a sign of life is left to them, and counted."""

    def blocks(self, queue: str, kind: Kind, size: int) -> Iterator[Sequence[Found]]:
        order = self._in_order(queue, kind, size)
        yield from order
        held = self._held(_place(queue, kind))
        rest = [each for each in self._client.hkeys(self._hash(queue, kind)) if each not in held]
        for start in range(0, len(rest), size):
            if block := self._read(queue, kind, rest[start : start + size]):
                yield block

    def remove(self, queue: str, kind: Kind, block: Sequence[Found]) -> None:
        identities = [found.identity for found in block]
        with self._client.pipeline(transaction=True) as transaction:
            for identity in identities:
                if kind == "dead":
                    transaction.zrem(self._key(queue, kind), identity)
                else:
                    transaction.lrem(self._key(queue, kind), 1, identity)
            transaction.hdel(self._hash(queue, kind), *identities)
            transaction.execute()

    def close(self) -> None:
        self._client.close()

    def _in_order(self, queue: str, kind: Kind, size: int) -> Iterator[Sequence[Found]]:
        key, start = self._key(queue, kind), 0
        read = self._client.zrange if kind == "dead" else self._client.lrange
        while ids := read(key, start, start + size - 1):
            block = self._read(queue, kind, ids)
            start += len(ids) - len(block)  # what has no message any more stays behind
            if block:
                yield block

    def _read(self, queue: str, kind: Kind, ids: Sequence[bytes]) -> Sequence[Found]:
        bodies = self._client.hmget(self._hash(queue, kind), ids)
        deaths = (
            [self._client.zscore(self._key(queue, kind), each) for each in ids] if kind == "dead" else [None] * len(ids)
        )
        return [
            Found(body, identity=_text(each), died=None if died is None else int(died))
            for each, body, died in zip(ids, bodies, deaths, strict=True)
            if body is not None
        ]

    def _held(self, place: str) -> set[bytes]:
        """The ids that workers have taken which are alive."""
        alive_since = (time.time() - HEARTBEAT_TIMEOUT) * 1000
        workers = self._client.zrangebyscore(f"{self._namespace}:__heartbeats__", alive_since, "+inf")
        held: set[bytes] = set()
        for worker in workers:
            held |= self._client.smembers(f"{self._namespace}:__acks__.{_text(worker)}.{place}")
        return held

    def _key(self, queue: str, kind: Kind) -> str:
        return f"{self._namespace}:{_place(queue, kind)}"

    def _hash(self, queue: str, kind: Kind) -> str:
        return f"{self._key(queue, kind)}.msgs"


def _place(queue: str, kind: Kind) -> str:
    return {"waiting": queue, "delayed": dq_name(queue), "dead": xq_name(queue)}[kind]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _escaped(text: str) -> str:
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in text)
