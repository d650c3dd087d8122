"""``compliance …``: what the law asked of us, and a person's data for whoever answers them."""

import os
from pathlib import Path
from uuid import UUID

import click
from flask.cli import with_appcontext

from app.cli.errors import Commands
from app.compliance import NothingToExport, exported
from models import compliance
from models.compliance import Kind
from models.database import transaction

#: Requests read at once for the list.
BATCH = 200


@click.group("compliance", cls=Commands)
def group() -> None:
    """Shopify's requests to tell or to erase data."""


@group.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are done, too.")
@with_appcontext
def list_requests(*, everything: bool) -> None:
    """What is open, newest first: its id, kind, shop, until when, and what became of it."""
    after: UUID | None = None
    while True:
        with transaction() as session:
            page = compliance.page(session, after=after, only_open=not everything, limit=BATCH)
        for each in page:
            until = f"done {each.done_at:%Y-%m-%d}" if each.done_at else f"due {each.due_at:%Y-%m-%d}"
            counts = ", ".join(f"{count} {name}" for name, count in each.erased.items())
            click.echo(f"{each.id}  {each.kind}  {each.shop_domain}  {until}  {each.outcome or ''}  {counts}".rstrip())
        if len(page) < BATCH:
            break
        after = page[-1].id
    if after is None and not page:
        click.echo("no requests" if everything else "nothing is open")


@group.command()
@click.argument("request_id", metavar="ID", type=click.UUID)
@click.option("--to", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@with_appcontext
def export(request_id: UUID, file: Path) -> None:
    """Write everything that is stored of the person who asked, as JSON that only you may read."""
    try:
        with transaction() as session:
            found = exported(session, request_id)
    except NothingToExport as error:
        raise click.ClickException(str(error)) from None
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as written:
            written.write(found.model_dump_json(by_alias=True, indent=2) + "\n")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    click.echo(
        f"{len(found.customers)} customers, {len(found.orders)} orders and {len(found.payloads)} payloads in {file};"
        f" when the person has them: compliance done {request_id}"
    )


@group.command()
@click.argument("request_id", metavar="ID", type=click.UUID)
@with_appcontext
def done(request_id: UUID) -> None:
    """Note that a person has been told, or that you have seen to a request that was not understood."""
    with transaction() as session:
        request = compliance.get(session, request_id, for_update=True)
        if request is None:
            raise click.ClickException(f"there is no request {request_id}")
        if request.done_at is not None:
            raise click.ClickException(f"{request_id} is done already: {request.outcome}")
        if request.kind != Kind.DATA_REQUEST and not compliance.is_for_a_person(request):
            raise click.ClickException("an erasure is done when nothing is left, not before")
        compliance.finish(request, "answered" if request.kind == Kind.DATA_REQUEST else "seen to by a person")
    click.echo(f"{request_id} is done")
