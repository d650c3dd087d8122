"""``sync …``: a shop's syncs from the command line."""

from datetime import datetime

import click
from flask.cli import with_appcontext

import tasks.sync
from app.cli.errors import Commands
from app.cli.tenants import found, shop_argument
from models import event_log, sync_runs, tenants
from models.database import transaction
from models.event_log import Level
from models.sync_runs import RunStatus
from shopify.resources import RESOURCES


@click.group("sync", cls=Commands)
def group() -> None:
    """Syncs of a shop's history."""


_day = click.DateTime(["%Y-%m-%d"])


@group.command()
@shop_argument
@click.option("--resource", "resources", multiple=True, type=click.Choice(list(RESOURCES)), help="May be repeated.")
@click.option("--since", type=_day, help="First day of last change.")
@click.option("--until", type=_day, help="Last day of last change.")
@with_appcontext
def start(shop_domain: str, resources: tuple[str, ...], since: datetime | None, until: datetime | None) -> None:
    """Begin a sync; of everything, unless an option says less."""
    with transaction() as session:
        tenant = found(session, shop_domain)
    run_id = tasks.sync.begin(
        tenant.id,
        resources=sorted(set(resources)) or None,
        since=since.date() if since else None,
        until=until.date() if until else None,
    )
    click.echo(f"sync {run_id}")


@group.command()
@shop_argument
@with_appcontext
def status(shop_domain: str) -> None:
    """The newest runs, newest first."""
    with transaction() as session:
        runs = sync_runs.newest(session, found(session, shop_domain).id, limit=10)
        checkpoints = sync_runs.checkpoints(session, [run.id for run in runs])
    for run in runs:
        click.echo(f"{run.id}  {run.status}  {run.started_at:%Y-%m-%d %H:%M:%S}  {run.error or ''}".rstrip())
        for each in checkpoints:
            if each.run_id == run.id:
                click.echo(
                    f"  {each.resource}: {each.status}, {each.done} of {'?' if each.total is None else each.total}"
                )


@group.command()
@shop_argument
@with_appcontext
def cancel(shop_domain: str) -> None:
    """Cancel the running sync; its checkpoints stay."""
    with transaction() as session:
        tenant_id = found(session, shop_domain).id
    with tenants.write(tenant_id) as write:
        newest = sync_runs.newest(write.session, tenant_id, limit=1)
        run = sync_runs.get(write.session, newest[0].id, for_update=True) if newest else None
        if run is None or run.status != RunStatus.RUNNING:
            raise click.ClickException("no sync is running")
        sync_runs.finish(write.session, run, RunStatus.CANCELLED)
        event_log.record(write, Level.INFO, "sync", "sync cancelled")
    click.echo(f"sync {run.id} is cancelled")
