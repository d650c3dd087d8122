"""``db upgrade``, the release command: tables, streams, and the first tenant of the environment."""

import click
from flask.cli import with_appcontext

import settings
import tasks.sync
from app.cli.errors import Commands
from models import tenants
from models.database import transaction
from tasks import broker


@click.group("db", cls=Commands)
def group() -> None:
    """The database and the streams."""


@group.command()
@with_appcontext
def upgrade() -> None:
    """Migrate Postgres, prepare JetStream, onboard SHOP_DOMAIN if it is set. Safe to repeat."""
    from models import migrate  # noqa: PLC0415  Alembic is a third of the time that a web process takes to start

    migrate.upgrade()
    click.echo("Postgres has every table")
    broker.ensure_streams()
    click.echo("JetStream has every stream")
    _onboard_first_tenant()


def _onboard_first_tenant() -> None:
    configured = settings.load()
    if configured.shop_domain is None:
        return
    with transaction() as session:
        if tenants.of_domain(session, configured.shop_domain) is not None:
            return
        # Its API token is not shown: a release's output is kept as a log. "tenants rotate-token" gives one.
        tenant, _ = tenants.create(
            session, shop_domain=configured.shop_domain, access_token=configured.shopify_access_token
        )
        tasks.sync.begin_first(session, tenant)
    click.echo(f"{configured.shop_domain} is a tenant now, and its history is being synced")
