"""``db upgrade``, the release command: tables, streams, and the first tenant of the environment."""

import click
from flask.cli import with_appcontext

import settings
import tasks.sync
from app.cli.errors import Commands
from models import sync_runs, tenants
from models.database import transaction
from models.tenants import TenantStatus
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
        tenant = tenants.of_domain(session, configured.shop_domain)
        if tenant is None:
            # Its API token is not shown: a release's output is kept as a log. "tenants rotate-token" gives one.
            tenant, _ = tenants.create(
                session, shop_domain=configured.shop_domain, access_token=configured.shopify_access_token
            )
        elif tenant.status != TenantStatus.ACTIVE or sync_runs.newest(session, tenant.id, limit=1):
            return
        # A tenant without any sync is one whose first could not begin: the broker was away during a former release.
    tasks.sync.begin(tenant.id)
    click.echo(f"{configured.shop_domain} is a tenant now, and its history is being synced")
