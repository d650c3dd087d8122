"""NATS headers of a message: its option ``headers``, so that retries, delays, dead letters and replays keep them.

The option is what holds; the headers of the stored message repeat it for whoever reads the stream with other tools. A
message that something else published has the headers alone, and they become its option.
"""

import re
from collections.abc import Mapping
from typing import Any

from dramatiq.message import Message

OPTION = "headers"
#: Headers that mean something to the server or to this broker, which a message must not set.
RESERVED = ("nats-", "dramatiq-", "status", "description")
#: What most messages have, and nothing else.
_USUAL = frozenset({"Nats-Msg-Id"})
_NAME = re.compile(r"[!-9;-~]+")  # printable ASCII without blank and colon
_VALUE = re.compile(r"[ -~\t\x80-\U0010FFFF]*")


def check(message: "Message[Any]") -> None:
    """Raises ValueError when the option ``headers`` holds what cannot be a header, or is not a message's to set."""
    headers = message.options.get(OPTION) or {}
    if not isinstance(headers, Mapping):
        raise ValueError(f"a message's option {OPTION!r} maps names to texts")  # noqa: TRY004  it is about the value
    for name, value in headers.items():
        if not _is_header(name, value):
            raise ValueError(f"{name!r} in a message's option {OPTION!r} is reserved, or no header of one line")


def of(message: "Message[Any]") -> dict[str, str]:
    """The NATS headers that a message asks for, without those that it must not set."""
    headers = message.options.get(OPTION)
    if not isinstance(headers, Mapping):
        return {}
    return {name: value for name, value in headers.items() if _is_header(name, value)}


def restored(message: "Message[Any]", delivered: Mapping[str, str]) -> "Message[Any]":
    """A delivered message with the headers that it was published with, by whomever."""
    if OPTION in message.options or delivered.keys() <= _USUAL:
        return message
    foreign = {name: value for name, value in delivered.items() if _is_header(name, value)}
    if not foreign:
        return message
    return message.copy(options={OPTION: foreign})


def _is_header(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and _NAME.fullmatch(name) is not None
        and _VALUE.fullmatch(value) is not None
        and not name.lower().startswith(RESERVED)
    )
