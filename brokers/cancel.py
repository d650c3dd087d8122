"""Taking back a delayed message, by publishing alone: no permission is needed beyond that to enqueue.

A message that names a schedule as its origin and asks for its purge removes it, as the server's own firing does. It goes
to a subject that nobody consumes, and on the condition that the schedule is still there: so the answer says whether it was.
"""

import time
from typing import Any

from dramatiq.message import Message

from .api import Api
from .errors import NoResponders
from .expectations import last_is, publish_if
from .names import Names
from .publisher import Publisher

#: The option of an enqueued message that says where it waits: the schedule's subject and sequence.
OPTION = "broker_schedule"
#: Seconds for finding a message by its id.
TIMEOUT = 5.0


def note(message: "Message[Any]", subject: str, sequence: int) -> None:
    """Note in a message that was just stored where it waits."""
    message.options[OPTION] = f"{subject}@{sequence}"


def purge_headers(subject: str, sequence: int) -> dict[str, str]:
    """What makes a publish remove a schedule, and happen only if it is there."""
    return {"Nats-Scheduler": subject, "Nats-Schedule-Next": "purge", **last_is(sequence, subject)}


def remove_schedule(publisher: Publisher, names: Names, subject: str, sequence: int) -> bool:
    """Remove the schedule with this sequence. Returns whether it was there. Raises BrokerUnavailable."""
    headers = {**purge_headers(subject, sequence), "Nats-TTL": "1s"}
    publish_id = f"cancel:{subject}:{sequence}"
    return publish_if(publisher, names.void, b"", publish_id=publish_id, headers=headers) is not None


class Cancellation:
    """Cancels delayed messages of a namespace."""

    def __init__(self, names: Names, api: Api, publisher: Publisher) -> None:
        self._names = names
        self._api = api
        self._publisher = publisher

    def cancel(self, message: "Message[Any] | str") -> bool:
        """Remove what ``enqueue`` returned, or everything delayed that has this message id. Returns whether there was any."""
        noted = None if isinstance(message, str) else message.options.get(OPTION)
        if isinstance(noted, str):
            subject, _, sequence = noted.rpartition("@")
            return remove_schedule(self._publisher, self._names, subject, int(sequence))
        message_id = message if isinstance(message, str) else message.message_id
        removed = [
            remove_schedule(self._publisher, self._names, subject, sequence)
            for subject, sequence in self._find(message_id)
        ]
        return any(removed)

    def _find(self, message_id: str) -> list[tuple[str, int]]:
        question = self._names.schedules_with(message_id)
        try:
            found = list(self._api.each(self._names.work_stream, question, deadline=time.monotonic() + TIMEOUT))
        except NoResponders:  # no stream yet
            return []
        return [(stored.subject, stored.sequence) for stored in found]
