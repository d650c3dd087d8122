"""``payloads replay``: webhooks as they were received, through today's mapping again."""

from datetime import UTC, datetime

import click
from flask.cli import with_appcontext

from app.cli.errors import Commands
from app.cli.tenants import check_domain, found
from models.database import transaction
from shopify.resources import RESOURCES
from tasks.replaying import Replayed, replay


@click.group("payloads", cls=Commands)
def group() -> None:
    """Webhooks' payloads as they were received, kept for PAYLOADS_KEPT_DAYS."""


@group.command("replay")
@click.option("--shop", "shop_domain", required=True, callback=check_domain, help="Whose.")
@click.option("--resource", "resources", multiple=True, type=click.Choice(list(RESOURCES)), help="May be repeated.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="Received from then on, in UTC.")
@click.option("--dry-run", is_flag=True, help="Tell what would be written, and write nothing.")
@with_appcontext
def replay_kept(shop_domain: str, resources: tuple[str, ...], since: datetime | None, *, dry_run: bool) -> None:
    """Write what they say under today's mapping, where they are still the version that is stored. May be repeated."""
    with transaction() as session:
        tenant_id = found(session, shop_domain).id
    total = Replayed()
    chosen = list(resources) or None
    from_then = None if since is None else since.replace(tzinfo=UTC)
    for done in replay(tenant_id, resources=chosen, since=from_then, dry_run=dry_run):
        total += done
    would = "would be " if dry_run else ""
    click.echo(
        f"{total.read} payloads: {total.written} {would}written, {total.fetched} {would}fetched,"
        f" {total.refused} cannot be stored, the rest is known in a newer version"
    )
