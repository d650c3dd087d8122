"""How queues, actors and keys are spelled in subjects, streams and consumers.

NATS forbids dots, blanks and wildcards in a subject's token, JetStream also slashes in a consumer's name; Dramatiq's
queues may hold dots, keys anything. One reversible spelling serves all: every other byte becomes ``=`` and two hex digits.
"""

import re
from dataclasses import dataclass

_LEGAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ESCAPE = re.compile(rb"=([0-9A-F]{2})")


def to_token(text: str) -> str:
    """Spell any text as one legal token. Reversible; different texts have different tokens."""
    raw = text.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in _LEGAL else f"={byte:02X}" for byte in raw) or "="


def from_token(token: str) -> str:
    """The text that ``to_token`` spelled."""
    spelled = token.encode().removesuffix(b"=")  # a lone "=" spells the empty text
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), spelled)
    return raw.decode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of everything that belongs to one namespace, so that several installations can share one NATS.

    Work and schedules of a queue both match ``<namespace>.*.<queue>.>``: one question counts them at one instant.
    """

    namespace: str

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"namespace {self.namespace!r} must be 1 to 64 letters, digits, '_' or '-'")

    @property
    def work_stream(self) -> str:
        return self.namespace

    @property
    def dead_stream(self) -> str:
        return f"{self.namespace}-dead"

    @property
    def work_subjects(self) -> list[str]:
        return [f"{self.namespace}.{kind}.>" for kind in ("q", "sched", "cron")]

    @property
    def dead_subjects(self) -> list[str]:
        return [f"{self.namespace}.dead.>"]

    def work(self, queue: str, actor: str) -> str:
        """Where messages that can run now are published."""
        return f"{self.namespace}.q.{to_token(queue)}.{to_token(actor)}"

    def work_of(self, queue: str) -> str:
        return f"{self.namespace}.q.{to_token(queue)}.>"

    def schedule(self, queue: str, publish_id: str) -> str:
        """Where one delayed message waits for its time."""
        return f"{self.namespace}.sched.{to_token(queue)}.{to_token(publish_id)}"

    def schedules_of(self, queue: str) -> str:
        return f"{self.namespace}.sched.{to_token(queue)}.>"

    def all_of(self, queue: str) -> str:
        """Work and schedules of a queue together."""
        return f"{self.namespace}.*.{to_token(queue)}.>"

    def cron(self, name: str) -> str:
        return f"{self.namespace}.cron.{to_token(name)}"

    @property
    def all_crons(self) -> str:
        return f"{self.namespace}.cron.*"

    def dead(self, queue: str, actor: str) -> str:
        return f"{self.namespace}.dead.{to_token(queue)}.{to_token(actor)}"

    def dead_of(self, queue: str | None) -> str:
        return f"{self.namespace}.dead.>" if queue is None else f"{self.namespace}.dead.{to_token(queue)}.>"

    def consumer(self, queue: str) -> str:
        return to_token(queue)

    def bucket(self, name: str) -> str:
        """A key-value bucket, the namespace included."""
        return f"{self.namespace}-{to_token(name)}"
