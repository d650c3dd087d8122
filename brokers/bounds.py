"""Settings of streams and consumers that would break a promise: found at the start, and named in one line.

``ensure_streams`` puts right what can be; a worker does so too, where its permissions let it, and else refuses to consume.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: JetStream counts durations in nanoseconds.
_SECOND = 1_000_000_000
#: Limits beyond which a stream that discards old messages drops them; -1 is none, and so is 0.
_LIMITS = ("max_msgs", "max_bytes", "max_msgs_per_subject")
#: What a stream cannot be changed in once it exists.
_FIXED = ("retention", "storage")

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One setting that would break a promise. ``setting`` is its name and value, ``harm`` what it would do."""

    setting: str
    harm: str
    is_curable: bool = True

    def __str__(self) -> str:
        return f"{self.setting} {self.harm}"


def of_stream(found: Config, wanted: Config) -> list[Flaw]:
    """What is wrong with a stream as the server has it."""
    flaws = [
        Flaw(f"{name}={found.get(name)}", f"must be {wanted[name]} and cannot be changed", is_curable=False)
        for name in _FIXED
        if found.get(name) != wanted[name]
    ]
    if found.get("sealed"):
        flaws.append(Flaw("sealed=true", "lets nothing be stored and cannot be changed", is_curable=False))
    if found.get("no_ack"):
        flaws.append(Flaw("no_ack=true", "leaves senders without confirmation"))
    flaws += _losing(found, wanted)
    if (copies := found.get("num_replicas", 1)) < wanted["num_replicas"]:
        flaws.append(Flaw(f"num_replicas={copies}", f"keeps fewer copies than the {wanted['num_replicas']} asked for"))
    flaws += [
        Flaw(f"{name}=false", "is needed")
        for name, value in wanted.items()
        if name.startswith("allow_") and value and not found.get(name)
    ]
    missing = set(wanted["subjects"]) - set(found.get("subjects") or ())
    if missing:
        flaws.append(Flaw(f"subjects without {', '.join(sorted(missing))}", "leave messages without a place"))
    return flaws


def of_consumer(found: Config) -> list[Flaw]:
    """What is wrong with a queue's consumer."""
    flaws = []
    if found.get("ack_policy") != "explicit":
        policy = found.get("ack_policy")
        flaws.append(Flaw(f"ack_policy={policy}", "must be explicit and cannot be changed", is_curable=False))
    if found.get("max_deliver", -1) > 0:
        flaws.append(Flaw(f"max_deliver={found['max_deliver']}", "leaves messages undelivered for ever"))
    if found.get("max_ack_pending", -1) > 0:
        flaws.append(Flaw(f"max_ack_pending={found['max_ack_pending']}", "lets held messages block idle workers"))
    return flaws


def mended(found: Config, wanted: Config) -> dict[str, Any]:
    """The stream's own settings with the flaws put right, and no fewer copies than it has."""
    copies = max(found.get("num_replicas", 1), wanted["num_replicas"])
    subjects = [*wanted["subjects"], *(each for each in found.get("subjects") or () if each not in wanted["subjects"])]
    return {**found, **wanted, "num_replicas": copies, "subjects": subjects, "no_ack": False}


def described(name: str, flaws: list[Flaw]) -> str:
    """One line."""
    return f"{name}: {'; '.join(map(str, flaws))}"


def _losing(found: Config, wanted: Config) -> list[Flaw]:
    """What would remove stored messages. A limit of a stream that discards new ones only refuses, which senders are told."""
    flaws = []
    age, wanted_age = found.get("max_age", 0), wanted["max_age"]
    if age and (not wanted_age or age < wanted_age):
        flaws.append(Flaw(f"max_age={age / _SECOND:g}s", "drops messages that are stored"))
    if found.get("discard") == "old":
        flaws += [
            Flaw(f"{name}={found[name]} with discard=old", "drops messages that are stored")
            for name in _LIMITS
            if found.get(name, -1) > 0 and wanted.get(name, -1) <= 0
        ]
    return flaws
