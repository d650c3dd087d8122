"""The rotation of encryption keys: every stored secret under the first of ENCRYPTION_KEYS, while processes go on.

A new key is put first and the processes are restarted with both; then this is run; then the old key can be taken away.
"""

import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy import text

from models.database import transaction
from models.encryption import reencrypted
from models.tenants import SECRET_COLUMNS

#: Rows read at once. Each is written in a transaction of its own, so that its writers wait for no other's.
BATCH = 200

#: By table, the columns that hold secrets.
_SECRETS = {"tenants": SECRET_COLUMNS, "compliance_requests": ("addresses",)}
_READ = "select id, {columns} from {table} where id > :after order by id limit :limit"
# A secret that was replaced meanwhile is under the first key already.
_WRITE = "update {table} set {column} = :new where id = :id and {column} = :old"


def rotate() -> int:
    """Encrypt every stored secret with the first key. Safe to repeat. Returns how many secrets were rewritten.

    Raises UndecryptableSecret at the first that no key opens; those before it are done.
    """
    return sum(
        _rewrite(table, row_id, column, stored)
        for table, columns in _SECRETS.items()
        for row_id, column, stored in _secrets(table, columns)
    )


def _secrets(table: str, columns: Sequence[str]) -> Iterator[tuple[uuid.UUID, str, str]]:
    after = uuid.UUID(int=0)
    while True:
        with transaction() as session:
            query = text(_READ.format(table=table, columns=", ".join(columns)))
            rows = session.execute(query, {"after": after, "limit": BATCH}).all()
        for row in rows:
            for column in columns:
                if (stored := getattr(row, column)) is not None:
                    yield row.id, column, stored
        if len(rows) < BATCH:
            return
        after = rows[-1].id


def _rewrite(table: str, row_id: uuid.UUID, column: str, stored: str) -> int:
    new = reencrypted(stored)
    with transaction() as session:
        query = text(_WRITE.format(table=table, column=column))
        result = session.execute(query, {"id": row_id, "old": stored, "new": new})
    return int(result.rowcount)  # type: ignore[attr-defined]
