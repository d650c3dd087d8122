"""Whose a message is, so that its dead letter is counted and found: a tenant's id, or that of a run, which has one."""

from typing import Any

from dramatiq import Message


def of_first_argument(message: Message[Any]) -> str:
    """The owner where the first argument is a tenant's or a run's id."""
    return str(message.args[0])


def of_failed_message(message: Message[Any]) -> str:
    """The owner where the first argument is another message, given up, of which the same holds."""
    return str(message.args[0]["args"][0])
