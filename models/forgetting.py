"""Forgetting a person in the tables: everything that is of someone who is marked, wherever it lies."""

import json
from collections.abc import Sequence

from models import payloads, redactions
from models.database import sql
from models.resources import TABLES
from models.tenants import Write

#: What is left of a quarantined payload: the row itself accounts for what a run saw.
WITHHELD = '"(of a person who was redacted)"'

_QUARANTINE = """
update quarantine set payload = :withheld
where tenant_id = :tenant_id and payload <> :withheld
  and (exists (
          select from redactions
          where redactions.tenant_id = quarantine.tenant_id and redactions.resource = quarantine.resource
            and redactions.shopify_id = quarantine.shopify_id
       )
       or payload ~ any(:names))
"""

_EVENTS = "delete from event_log where tenant_id = :tenant_id and lower(message) like any(:patterns)"


def forget(
    write: Write, *, emails: Sequence[str] = (), phones: Sequence[str] = (), besides: Sequence[str] = ()
) -> dict[str, int]:
    """Mark everything of those who are marked or have one of these addresses, and erase it. Returns how much, by table.

    ``besides``: addresses that texts may name them by, and that make nobody the same person.

    Safe to repeat: what is gone is counted no more. Figures stay, since amounts, currencies and days do.
    """
    redactions.mark_everything_of(write, emails=emails, phones=phones)
    erased = redactions.strip(write, TABLES)
    every = [*emails, *phones, *besides]
    erased["quarantine"] = _quarantine(write, every)
    erased["payloads"] = payloads.forget(write, every)
    erased["events"] = _events(write, every)
    return {name: count for name, count in erased.items() if count}


def _quarantine(write: Write, addresses: Sequence[str]) -> int:
    ids = redactions.marked(write, redactions.PEOPLE)
    patterns = [rf"(^|[^0-9]){shopify_id}($|[^0-9])" for shopify_id in ids]
    patterns += [f"(?i){_literal(json.dumps(address)[1:-1])}" for address in addresses]
    parameters = {"tenant_id": write.tenant.id, "withheld": WITHHELD, "names": patterns}
    return int(write.session.execute(sql(_QUARANTINE), parameters).rowcount)  # type: ignore[attr-defined]


def _literal(said: str) -> str:
    """A text that a regular expression of Postgres takes as it stands."""
    return "".join(character if character.isalnum() else f"\\{character}" for character in said)


def _events(write: Write, addresses: Sequence[str]) -> int:
    if not addresses:
        return 0
    escaped = [each.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for each in addresses]
    parameters = {"tenant_id": write.tenant.id, "patterns": [f"%{each}%" for each in escaped]}
    return int(write.session.execute(sql(_EVENTS), parameters).rowcount)  # type: ignore[attr-defined]
