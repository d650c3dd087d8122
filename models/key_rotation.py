"""The rotation of encryption keys: every stored secret under the first of ENCRYPTION_KEYS, while processes go on.

A new key is put first and the processes are restarted with both; then this is run; then the old key can be taken away.
"""

import uuid
from collections.abc import Iterator

from sqlalchemy import text

from models.database import transaction
from models.encryption import reencrypted
from models.tenants import SECRET_COLUMNS

#: Tenants read at once. Each is written in a transaction of its own, so that its writers wait for no other's.
BATCH = 200

_READ = f"select id, {', '.join(SECRET_COLUMNS)} from tenants where id > :after order by id limit :limit"  # noqa: S608  our own names
# A secret that was replaced meanwhile is under the first key already.
_WRITE = "update tenants set {column} = :new where id = :id and {column} = :old"


def rotate() -> int:
    """Encrypt every tenant's secrets with the first key. Safe to repeat. Returns how many secrets were rewritten.

    Raises UndecryptableSecret at the first that no key opens; those before it are done.
    """
    return sum(_rewrite(tenant_id, column, stored) for tenant_id, column, stored in _secrets())


def _secrets() -> Iterator[tuple[uuid.UUID, str, str]]:
    after = uuid.UUID(int=0)
    while True:
        with transaction() as session:
            rows = session.execute(text(_READ), {"after": after, "limit": BATCH}).all()
        for row in rows:
            for column in SECRET_COLUMNS:
                if (stored := getattr(row, column)) is not None:
                    yield row.id, column, stored
        if len(rows) < BATCH:
            return
        after = rows[-1].id


def _rewrite(tenant_id: uuid.UUID, column: str, stored: str) -> int:
    new = reencrypted(stored)
    with transaction() as session:
        result = session.execute(text(_WRITE.format(column=column)), {"id": tenant_id, "old": stored, "new": new})
    return int(result.rowcount)  # type: ignore[attr-defined]
