"""What a member of a group carries in its options, by Dramatiq (``composition.py``) and by us.

A group with callbacks marks each of its messages, or the last one of a pipeline, with the group's name and the callbacks.
We add who of the group it is, which retries, replays and a pipeline's steps keep.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dramatiq.message import Message

#: Dramatiq's: the group's name and its callbacks.
GROUP, CALLBACKS = "group_completion_uuid", "group_completion_callbacks"
#: Ours: ``<series>:<number>``.
MEMBER = "group_member"

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a group: its name, and the numbers of its members."""

    group: str
    series: str
    numbers: Iterator[int] = field(default_factory=itertools.count)


def group_of(options: Options) -> str | None:
    """The group that a message, or the end of the pipeline that it begins, belongs to."""
    group: str | None = options.get(GROUP)
    target = options.get("pipe_target")
    return group if group or target is None else group_of(target.get("options", {}))


def member_of(message: "Message[Any]") -> str:
    """Who of its group a message is: its id, if it was enqueued where nobody numbered members."""
    member: str = message.options.get(MEMBER) or f"{message.message_id}:0"
    return member


def callback_id(member: "Message[Any]", message: "Message[Any]") -> str | None:
    """What names ``message`` for all members, if it is a callback of this one's group."""
    for position, callback in enumerate(member.options.get(CALLBACKS) or ()):
        if callback["message_id"] == message.message_id:
            return f"group:{member.options[GROUP]}:{position}"
    return None


def enrolled(options: Options, enrol: Callable[[str], tuple[str, str]]) -> dict[str, Any] | None:
    """These options with the group's name and the member that ``enrol`` gives for its name; None when there is nothing to do."""
    if options.get(GROUP) and MEMBER not in options:
        group, member = enrol(options[GROUP])
        return {**options, GROUP: group, MEMBER: member}
    target = options.get("pipe_target")
    if target is None:
        return None
    changed = enrolled(target.get("options", {}), enrol)
    return None if changed is None else {**options, "pipe_target": {**target, "options": changed}}
