"""``keys rotate``: every stored secret under the first of ENCRYPTION_KEYS."""

import click
from flask.cli import with_appcontext

from app.cli.errors import Commands
from models import key_rotation


@click.group("keys", cls=Commands)
def group() -> None:
    """The keys that encrypt stored secrets."""


@group.command()
@with_appcontext
def rotate() -> None:
    """Encrypt every secret with the first key, while everything goes on. Safe to repeat.

    Put the new key first in ENCRYPTION_KEYS and restart all processes; run this; then take the old key away.
    """
    click.echo(f"re-encrypted {key_rotation.rotate()} secrets")
