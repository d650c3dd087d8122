"""Publishing on a condition: that a subject's last message is still the one that the caller knows.

The server checks and stores in one step, so of several who publish on the same condition exactly one wins. It checks the
condition before it looks for a repeated publish id (on a stream of one replica; with more it is the other way round), so
a try that follows a lost answer can meet the message that the first try stored.
"""

import time
from collections.abc import Mapping

from .api import WRONG_LAST_SEQUENCE
from .errors import RequestRefused
from .publisher import Publisher

#: Another publish on the same condition is under way in the cluster: which of them wins is not decided yet.
UNDECIDED = 10164
#: Seconds, and how often, to wait for that decision.
DECISION_PAUSE, DECISION_TRIES = 0.05, 40


def last_is(sequence: int, subject: str) -> dict[str, str]:
    """The headers that ask for the last message of ``subject`` (which may hold wildcards) to be this one; 0 for none."""
    return {
        "Nats-Expected-Last-Subject-Sequence": str(sequence),
        "Nats-Expected-Last-Subject-Sequence-Subject": subject,
    }


def publish_if(
    publisher: Publisher,
    subject: str,
    body: bytes,
    *,
    publish_id: str,
    headers: Mapping[str, str],
    reserve: int = 0,
) -> int | None:
    """Publish with the headers of ``last_is`` among ``headers``. Returns the sequence, None when the condition does not hold.

    Raises whatever ``Publisher.publish`` does for other reasons.
    """
    for _ in range(DECISION_TRIES):
        try:
            return publisher.publish(subject, body, publish_id=publish_id, headers=headers, reserve=reserve)
        except RequestRefused as error:
            if error.code not in WRONG_LAST_SEQUENCE:
                raise
            if error.code != UNDECIDED:
                return None
            time.sleep(DECISION_PAUSE)
    return None
