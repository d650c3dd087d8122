"""How queues, actors and keys are spelled in subjects, streams and consumers.

NATS forbids dots, blanks and wildcards in a subject's token, JetStream also slashes in a consumer's name; Dramatiq's
queues may hold dots, keys anything. One reversible spelling serves all: every other byte becomes ``=`` and two hex digits,
and a lone ``=`` is the empty text.

Every message of a queue lies on a subject of seven tokens, so that one question finds all that belong together::

    <namespace>.q.<queue>.=.0.<actor>.<key>                     can run now, the main line
    <namespace>.lane.<queue>.<lane>.<priority>.<actor>.<key>    can run now, of a lane or with a priority
    <namespace>.sched.<queue>.<due>.<message id>.<actor>.<key>  waits for its time, ``due`` counts steps of ten seconds

Beside them lie ``cron.<owner>.<name>`` (recurring messages), ``dead.<queue>.<actor>.<lane>`` (in the stream of dead letters),
``slot.<queue>.<lane>.<number>`` (in the stream of slots), and ``bell.<queue>``, which no stream keeps.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

_LEGAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ESCAPE = re.compile(rb"=([0-9A-F]{2})")
#: The longest token of a lane in a consumer's name, which becomes the name of a directory; longer ones are hashed.
_LONGEST = 120
#: Seconds of one step of a schedule's ``due``: what is overdue is found by asking for past steps only.
DUE_STEP = 10


def due_step(moment: float) -> int:
    """The step in which a moment (seconds since 1970) lies."""
    return int(moment // DUE_STEP)


@lru_cache(maxsize=4096)  # a process has few queues, actors and lanes, and spells them for every message
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
    """The names of everything that belongs to one namespace, so that several installations can share one NATS."""

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
        return [f"{self.namespace}.{kind}.>" for kind in ("q", "lane", "sched", "cron")]

    @property
    def dead_subjects(self) -> list[str]:
        return [f"{self.namespace}.dead.>"]

    def work(self, queue: str, actor: str, *, lane: str = "", priority: int = 0, key: str = "") -> str:
        """Where a message that can run now is published. ``key``: of a unique one."""
        kind = "lane" if lane or priority else "q"
        return (
            f"{self.namespace}.{kind}.{to_token(queue)}.{to_token(lane)}.{priority}.{to_token(actor)}.{to_token(key)}"
        )

    def work_of(self, queue: str) -> str:
        """A queue's main line: no lane, no priority."""
        return f"{self.namespace}.q.{to_token(queue)}.>"

    def lanes_of(self, queue: str) -> str:
        """Everything of a queue that has a lane or a priority."""
        return f"{self.namespace}.lane.{to_token(queue)}.*.*.*.*"

    def looks_at(self, queue: str) -> str:
        """What workers look at: the lanes, and whether the queue is paused."""
        return f"{self.namespace}.lane.{to_token(queue)}.>"

    def pause(self, queue: str) -> str:
        """A message lies here while a queue is paused."""
        return f"{self.namespace}.lane.{to_token(queue)}.=paused"

    def lane(self, queue: str, lane: str, priority: int) -> str:
        """Everything of one lane and priority."""
        return f"{self.namespace}.lane.{to_token(queue)}.{to_token(lane)}.{priority}.>"

    def whole_lane(self, queue: str, lane: str) -> str:
        """Everything of one lane, whatever its priority."""
        return f"{self.namespace}.lane.{to_token(queue)}.{to_token(lane)}.>"

    def schedule(self, queue: str, actor: str, key: str, *, due: float, message_id: str) -> str:
        """Where one delayed message waits until ``due`` (seconds since 1970). ``key``: its publish id, or a unique one's key."""
        when = f"{due_step(due)}.{to_token(message_id)}"
        return f"{self.namespace}.sched.{to_token(queue)}.{when}.{to_token(actor)}.{to_token(key)}"

    def schedules_due(self, step: int) -> str:
        """The delayed messages of all queues that fall due within one step."""
        return f"{self.namespace}.sched.*.{step}.>"

    def is_schedule(self, subject: str) -> bool:
        return subject.startswith(f"{self.namespace}.sched.")

    @staticmethod
    def step_of(schedule: str) -> int:
        """The step in a schedule's subject."""
        return int(schedule.split(".")[3])

    def schedules_with(self, message_id: str) -> str:
        """Where the delayed messages with this id wait."""
        return f"{self.namespace}.sched.*.*.{to_token(message_id)}.>"

    @property
    def all_schedules(self) -> str:
        return f"{self.namespace}.sched.>"

    @property
    def void(self) -> str:
        """Where a message goes that is only published for its headers. No queue has an empty name."""
        return f"{self.namespace}.sched.=.=.=.=.="

    def schedules_of(self, queue: str) -> str:
        return f"{self.namespace}.sched.{to_token(queue)}.>"

    def same(self, queue: str, actor: str, key: str) -> str:
        """All messages of an actor with one key, whether they can run, wait for their time, or run."""
        return f"{self.namespace}.*.{to_token(queue)}.*.*.{to_token(actor)}.{to_token(key)}"

    def of_actor(self, kind: str, queue: str, actor: str) -> str:
        """An actor's messages of one kind: ``q``, ``lane`` or ``sched``."""
        return f"{self.namespace}.{kind}.{to_token(queue)}.*.*.{to_token(actor)}.*"

    def all_of(self, queue: str) -> str:
        """Work, lanes and schedules of a queue together. Seven tokens: a recurring message's subject has four."""
        return f"{self.namespace}.*.{to_token(queue)}.*.*.*.*"

    @property
    def all_messages(self) -> str:
        """The same of all queues."""
        return f"{self.namespace}.*.*.*.*.*.*"

    def cron(self, name: str, *, owner: str = "code") -> str:
        """A recurring message; ``owner`` is ``code`` or ``runtime``."""
        return f"{self.namespace}.cron.{owner}.{to_token(name)}"

    @property
    def released(self) -> str:
        """Marks in the stream that a release decides which recurring messages of the code there are."""
        return f"{self.namespace}.cron.released"

    @property
    def crons_without_owner(self) -> str:
        return f"{self.namespace}.cron.*"

    @staticmethod
    def tick_key(cron: str) -> str:
        """Keeps the ticks of a recurring message on a subject of their own. No task is unique by such a key."""
        return "\0" + cron.partition(".cron.")[2]

    def crons_of(self, owner: str) -> str:
        return f"{self.namespace}.cron.{owner}.*"

    def dead(self, queue: str, actor: str, *, lane: str = "") -> str:
        return f"{self.namespace}.dead.{to_token(queue)}.{to_token(actor)}.{to_token(lane)}"

    def dead_of(self, queue: str | None = None, *, actor: str | None = None, lane: str | None = None) -> str:
        """The dead letters of a queue, an actor, a lane; None for any."""
        wanted = ("*" if part is None else to_token(part) for part in (queue, actor, lane))
        return f"{self.namespace}.dead.{'.'.join(wanted)}"

    def bell(self, queue: str) -> str:
        """Tells workers that something came which is not on the main line. No stream keeps it."""
        return f"{self.namespace}.bell.{to_token(queue)}"

    @property
    def slot_stream(self) -> str:
        return f"{self.namespace}-slots"

    @property
    def slot_subjects(self) -> list[str]:
        return [f"{self.namespace}.slot.>"]

    def slot(self, queue: str, lane: str, number: int) -> str:
        """What is lent to who runs a message of a limited lane."""
        return f"{self.namespace}.slot.{to_token(queue)}.{to_token(lane)}.{number}"

    def slots_of(self, queue: str, lane: str) -> str:
        return f"{self.namespace}.slot.{to_token(queue)}.{to_token(lane)}.*"

    def lane_of_slot(self, subject: str) -> tuple[str, int]:
        """The lane and the number in a slot's subject."""
        *_, lane, number = subject.split(".")
        return from_token(lane), int(number)

    def slot_consumer(self, queue: str, lane: str) -> str:
        return self.lane_consumer(queue, lane, 0)

    def consumer(self, queue: str) -> str:
        return to_token(queue)

    def lane_consumer(self, queue: str, lane: str, priority: int) -> str:
        """No queue's own consumer is called like this: a token has no two ``=`` in a row."""
        name = to_token(lane)
        if len(name) > _LONGEST:
            name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        return f"{self.lane_consumers(queue)}{priority}=={name}"

    def lane_consumers(self, queue: str) -> str:
        """How the names of all its lanes' consumers begin."""
        return f"{to_token(queue)}=="

    def bucket(self, name: str) -> str:
        """A key-value bucket, the namespace included."""
        return f"{self.namespace}-{to_token(name)}"

    def told(self, bucket: str) -> str:
        """Begins the subjects on which a bucket tells what it stored."""
        return f"{self.namespace}.kv.{to_token(bucket)}"
