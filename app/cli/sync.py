"""``sync …``: a shop's syncs from the command line."""

import click
from flask.cli import with_appcontext
from pydantic import ValidationError
from pydantic_core import ErrorDetails

import tasks.sync
from app import schemas
from app.cli.errors import Commands
from app.cli.tenants import found, shop_argument
from models import event_log, sync_runs, tenants
from models.database import transaction
from models.event_log import Level
from models.sync_runs import Mode, RunStatus
from shopify.resources import RESOURCES


@click.group("sync", cls=Commands)
def group() -> None:
    """Syncs of a shop's history."""


@group.command()
@shop_argument
@click.option("--resource", "resources", multiple=True, type=click.Choice(list(RESOURCES)), help="May be repeated.")
@click.option(
    "--mode", type=click.Choice([each.value for each in Mode]), default=Mode.AUTO.value, help="How history is read."
)
@click.option("--since", help="First day of last change, such as 2026-03-31.")
@click.option("--until", help="Last day of last change.")
@with_appcontext
def start(shop_domain: str, resources: tuple[str, ...], mode: Mode, since: str | None, until: str | None) -> None:
    """Begin a sync; of everything, unless an option says less."""
    try:
        # The body of POST /api/sync: what is possible there is possible here
        chosen = schemas.NewSync.model_validate({"resources": resources or None, "since": since, "until": until})
    except ValidationError as error:
        raise click.UsageError("; ".join(_told(each) for each in error.errors())) from None
    with transaction() as session:
        tenant = found(session, shop_domain)
    run_id = tasks.sync.begin(
        tenant.id, resources=chosen.resources, mode=Mode(mode), since=chosen.since, until=chosen.until
    )
    click.echo(f"sync {run_id}")


def _told(error: ErrorDetails) -> str:
    where = "".join(f"--{part} " for part in error["loc"][:1])
    return where + error["msg"].removeprefix("Value error, ")


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
        tasks.sync.cancel(write.session, run)
        event_log.record(write, Level.INFO, "sync", "sync cancelled")
    click.echo(f"sync {run.id} is cancelled")
