"""The migrations make exactly the tables that the models describe."""

import uuid
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy.exc import IntegrityError

from models import event_log, migrate, tables, tenants
from models.database import engine, transaction
from models.event_log import Level
from models.orders import COUNTS
from models.quarantine import Quarantined


def test_migrations_and_models_agree(migrated):
    import tasks.outbox  # noqa: F401, PLC0415  declares its table

    migrate.upgrade()
    assert migrate.is_current()
    assert tables.METADATA.tables
    with engine().connect() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.check(config)


def test_the_database_counts_orders_as_the_model_says(migrated):
    migrations = (Path(migrate.__file__).parent / "migrations" / "versions").glob("*.py")
    assert any(f'"{COUNTS}"' in migration.read_text() for migration in migrations)


def test_a_row_of_no_tenant_is_refused(migrated):
    with pytest.raises(IntegrityError), transaction() as session:
        session.add(Quarantined(tenant_id=uuid.uuid4(), resource="orders", reason="", payload="", source=""))


def test_the_event_log_is_read_forwards_from_an_id_and_by_level(tenant):
    for number in range(5):
        with tenants.write(tenant.id) as write:
            event_log.record(write, Level.ERROR if number % 2 else Level.INFO, "test", f"line {number} \x00")
    with transaction() as session:

        def read(**options):
            found = event_log.read(session, tenant.id, **({"after": None, "level": None, "limit": 10} | options))
            return [event.message[5] for event in found]

        first = event_log.read(session, tenant.id, after=None, level=None, limit=10)[0]
        assert read() == ["0", "1", "2", "3", "4"]
        assert read(limit=2) == ["3", "4"]
        assert read(after=first.id, limit=2) == ["1", "2"]
        assert read(level=Level.ERROR) == ["1", "3"]
