"""``tenants …``: the administrator's shops from the command line."""

from pathlib import Path

import click
from flask.cli import with_appcontext
from pydantic import SecretStr
from sqlmodel import Session

import settings
import tasks.offboarding
import tasks.sync
from app import schemas
from app.cli import listing
from app.cli.apply import apply_all, read
from app.cli.errors import Commands
from models import tenant_changes, tenant_summaries, tenants
from models.database import transaction
from models.tenants import Tenant, TenantStatus
from tasks.backlogs import backlogs
from tasks.tokens import our_app


@click.group("tenants", cls=Commands)
def group() -> None:
    """The shops that Shopstream serves."""


def check_domain(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return schemas.shop_domain(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


shop_argument = click.argument("shop_domain", metavar="DOMAIN", callback=check_domain)


def found(session: Session, shop_domain: str, *, for_update: bool = False) -> Tenant:
    """The tenant of a domain. Raises ClickException when there is none."""
    known = tenants.of_domain(session, shop_domain)
    tenant = None if known is None else tenants.get(session, known.id, for_update=for_update)
    if tenant is None:
        raise click.ClickException(f"there is no tenant {shop_domain}")
    return tenant


@group.command("list")
@click.option(
    "--sort",
    type=click.Choice(["worst", "shopDomain"]),
    default="worst",
    show_default=True,
    help="The worst problems first, or by domain.",
)
@with_appcontext
def list_all(sort: str) -> None:
    """Every shop, a line each, with the worst of its problems and how many more it has; `tenants show` tells all of one.

    How long ago the last webhook came and the last sync ended, how long the oldest webhook waits to be written, dead
    letters, what is held in quarantine, and what was mended in the last seven days.
    """
    known = backlogs.now()
    read = tenant_summaries.worst if sort == "worst" else tenant_summaries.page
    with transaction() as session:
        found = read(session, known, after=None, limit=None)
    click.echo(listing.table(found))


@group.command()
@shop_argument
@with_appcontext
def show(shop_domain: str) -> None:
    """All that is known of one shop, by its names in the JSON API."""
    known = backlogs.now()
    with transaction() as session:
        summary = tenant_summaries.of(session, known, found(session, shop_domain).id)
    if summary is not None:
        click.echo(listing.page(summary))


@group.command()
@shop_argument
@click.option("--client-id", help="Client credentials instead of an access token; asks for the client secret.")
@click.option("--sync/--no-sync", default=True, show_default=True, help="Sync its history right away.")
@with_appcontext
def add(shop_domain: str, client_id: str | None, *, sync: bool) -> None:
    """Onboard a shop. Asks for its secret (or reads it from standard input), so that no history keeps it."""
    what = "Client secret" if client_id else "Access token"
    secret = SecretStr(click.prompt(what, hide_input=True, err=True))
    with transaction() as session:
        tenant, token = tenants.create(
            session,
            shop_domain=shop_domain,
            access_token=None if client_id else secret,
            client_id=client_id,
            client_secret=secret if client_id else None,
        )
        sync_id = tasks.sync.begin_first(session, tenant) if sync else None
    click.echo(f"{shop_domain} is tenant {tenant.id}")
    click.echo(f"API token, shown this once: {token}")
    if sync_id is not None:
        click.echo(f"sync {sync_id}")


@group.command("install-link")
@shop_argument
@with_appcontext
def install_link(shop_domain: str) -> None:
    """The address at which a shop's owner installs the app."""
    public_url = settings.load().public_url
    if public_url is None or our_app() is None:
        raise click.ClickException("PUBLIC_URL, SHOPIFY_API_KEY and SHOPIFY_API_SECRET are to be set")
    click.echo(f"{public_url}/api/oauth/install?shop={shop_domain}")


@group.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@with_appcontext
def apply(file: Path, *, dry_run: bool) -> None:
    """Add the shops of a CSV file, and replace credentials that differ. May be repeated; shops that it leaves out stay.

    Columns: shop_domain, access_token (or client_id and client_secret), webhook_secret, sync (true or false).
    """
    for line in apply_all(read(file), dry_run=dry_run):
        click.echo(line)


@group.command()
@shop_argument
@click.confirmation_option(prompt="Everything of this shop will be erased. Go on?")
@with_appcontext
def remove(shop_domain: str) -> None:
    """Offboard a shop: tokens and secrets at once, the rest soon after."""
    with transaction() as session:
        tenant = found(session, shop_domain, for_update=True)
        tasks.offboarding.begin(session, tenant)
    click.echo(f"{shop_domain} is being erased")


@group.command("rotate-token")
@shop_argument
@with_appcontext
def rotate_token(shop_domain: str) -> None:
    """A new API token in place of the former one."""
    with transaction() as session:
        token = tenants.rotate_api_token(session, found(session, shop_domain, for_update=True))
    click.echo(f"API token, shown this once: {token}")


@group.command()
@shop_argument
@with_appcontext
def pause(shop_domain: str) -> None:
    """Write nothing for a shop for a while; what it sends waits."""
    _set_status(shop_domain, TenantStatus.PAUSED)


@group.command()
@shop_argument
@with_appcontext
def resume(shop_domain: str) -> None:
    """Go on with a paused shop."""
    _set_status(shop_domain, TenantStatus.ACTIVE)


def _set_status(shop_domain: str, status: TenantStatus) -> None:
    with transaction() as session:
        tenant = found(session, shop_domain, for_update=True)
        tenant_changes.set_status(tenant, status)
    click.echo(f"{shop_domain} is {status}")
