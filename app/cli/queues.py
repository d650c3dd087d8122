"""``queues`` and ``dead-letters …``: what waits, and what failed for good."""

from collections.abc import Callable
from typing import TypeVar

import click
from flask.cli import with_appcontext

from app.cli.errors import Commands
from brokers import tables
from tasks import broker

Command = TypeVar("Command", bound=Callable[..., object])

#: Dead letters read at once for the list.
BATCH = 100


@click.group("queues", cls=Commands, invoke_without_command=True)
@with_appcontext
def queues() -> None:
    """Depths of the queues, how old the oldest message is and how far workers lag behind, and what is dead."""
    stats = broker.queue_stats()
    click.echo(tables.queues(stats, [each.queue for each in stats if broker.is_paused(each.queue)]))


@click.group("dead-letters", cls=Commands)
def dead_letters() -> None:
    """Messages that failed for good."""


def _chooses(command: Command) -> Command:
    """Options that narrow the choice."""
    for name in ("lane", "actor", "queue"):
        command = click.option(f"--{name}", help=f"Only those of this {name}.")(command)
    return command


@dead_letters.command("list")
@_chooses
@with_appcontext
def list_all(queue: str | None, actor: str | None, lane: str | None) -> None:
    """A line each, oldest first."""
    after = 0
    while page := broker.dead_letters.list(queue, after=after, limit=BATCH, actor=actor, lane=lane):
        for letter in page:
            click.echo(tables.line(letter))
        after = page[-1].sequence
    if after == 0:
        click.echo("no dead letters")


@dead_letters.command()
@click.argument("sequence", type=int)
@with_appcontext
def show(sequence: int) -> None:
    """One, with what became of its deliveries, its traceback and its message."""
    click.echo(tables.page(broker.dead_letters.show(sequence)))


_sequence = click.argument("sequence", type=int, required=False)
_all = click.option("--all", "everything", is_flag=True, help="All of them.")


def _check(sequence: int | None, *choice: str | None, everything: bool) -> None:
    if (sequence is None) == (not any(choice) and not everything):
        raise click.UsageError("name one by its sequence, or give --queue, --actor, --lane or --all")


@dead_letters.command()
@_sequence
@_chooses
@_all
@with_appcontext
def replay(sequence: int | None, queue: str | None, actor: str | None, lane: str | None, *, everything: bool) -> None:
    """Enqueue again, with all retries before it."""
    _check(sequence, queue, actor, lane, everything=everything)
    if sequence is None:
        replayed = broker.dead_letters.replay_all(queue, actor=actor, lane=lane)
    else:
        broker.dead_letters.replay(sequence)
        replayed = 1
    click.echo(f"replayed {replayed}")


@dead_letters.command()
@_sequence
@_chooses
@_all
@click.confirmation_option(prompt="They are lost then. Go on?")
@with_appcontext
def purge(sequence: int | None, queue: str | None, actor: str | None, lane: str | None, *, everything: bool) -> None:
    """Remove for good."""
    _check(sequence, queue, actor, lane, everything=everything)
    click.echo(f"purged {broker.dead_letters.purge(sequence, queue, actor=actor, lane=lane)}")
