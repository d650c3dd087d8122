"""Why a shop cannot be asked now: it has to wait, or it needs new credentials."""

import random
from datetime import datetime

from models.columns import now

#: Seconds between two tries to reach a shop: half of the time that it has been away, within these bounds.
SHORTEST_ABSENCE, LONGEST_ABSENCE = 3.0, 900.0


class Postponed(Exception):
    """The shop cannot be asked before ``seconds`` have passed."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds

    @property
    def milliseconds(self) -> int:
        """With jitter, so that what was put off together does not come back together."""
        return int(self.seconds * 1000 * random.uniform(1.0, 1.2))  # noqa: S311  not a secret


class CredentialsRefused(Exception):
    """Shopify refuses the shop's credentials: its work rests until it has new ones."""

    def __init__(self) -> None:
        super().__init__(
            "Shopify refuses the shop's credentials: replace them with PATCH /api/tenants/{id}, or install the app again"
        )


def until_next_try(away_since: datetime | None) -> float:
    """Seconds until a shop that has been away since then is asked again."""
    absence = (now() - away_since).total_seconds() if away_since else 0.0
    return min(max(absence / 2, SHORTEST_ABSENCE), LONGEST_ABSENCE)
