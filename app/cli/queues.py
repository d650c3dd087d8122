"""``queues`` and ``dead-letters …``: what waits, and what failed for good."""

import click
from flask.cli import with_appcontext

from app.cli.errors import Commands
from brokers.dead_letters import DeadLetter
from tasks import broker

#: Dead letters read at once for the list.
BATCH = 100


@click.group("queues", cls=Commands, invoke_without_command=True)
@with_appcontext
def queues() -> None:
    """Depths of the queues, how old the oldest message is and how far workers lag behind, and what is dead."""
    stats = broker.queue_stats()
    click.echo(f"{'queue':<16}{'ready':>10}{'delayed':>10}{'lent':>10}{'dead':>10}{'oldest':>12}{'lag':>12}")
    for each in stats:
        click.echo(
            f"{each.queue:<16}{each.ready:>10}{each.delayed:>10}{each.outstanding:>10}{each.dead:>10}"
            f"{each.oldest_seconds:>10.1f} s{each.lag_seconds:>10.1f} s"
        )


@click.group("dead-letters", cls=Commands)
def dead_letters() -> None:
    """Messages that failed for good."""


_queue = click.option("--queue", help="Only those of this queue.")


@dead_letters.command("list")
@_queue
@with_appcontext
def list_all(queue: str | None) -> None:
    """A line each, oldest first."""
    after = 0
    while page := broker.dead_letters.list(queue, after=after, limit=BATCH):
        for letter in page:
            click.echo(_line(letter))
        after = page[-1].sequence
    if after == 0:
        click.echo("no dead letters")


def _line(letter: DeadLetter) -> str:
    error = " ".join(letter.error.split())
    return f"{letter.sequence}  {letter.dead_at:%Y-%m-%d %H:%M:%S}  {letter.queue}  {letter.actor}  {error}"


@dead_letters.command()
@click.argument("sequence", type=int)
@with_appcontext
def show(sequence: int) -> None:
    """One, with its traceback and its message."""
    letter = broker.dead_letters.show(sequence)
    click.echo(_line(letter))
    click.echo(f"delivered {letter.deliveries} times; message {letter.message_id}")
    click.echo(letter.traceback)
    click.echo(letter.body.decode("utf-8", "backslashreplace"))


_sequence = click.argument("sequence", type=int, required=False)
_all = click.option("--all", "everything", is_flag=True, help="All of them, or all of --queue.")


def _chosen(sequence: int | None, queue: str | None, *, everything: bool) -> None:
    if (sequence is None) == (queue is None and not everything):
        raise click.UsageError("name one by its sequence, or give --queue or --all")


@dead_letters.command()
@_sequence
@_queue
@_all
@with_appcontext
def replay(sequence: int | None, queue: str | None, *, everything: bool) -> None:
    """Enqueue again, with all retries before it."""
    _chosen(sequence, queue, everything=everything)
    if sequence is None:
        replayed = broker.dead_letters.replay_all(queue)
    else:
        broker.dead_letters.replay(sequence)
        replayed = 1
    click.echo(f"replayed {replayed}")


@dead_letters.command()
@_sequence
@_queue
@_all
@click.confirmation_option(prompt="They are lost then. Go on?")
@with_appcontext
def purge(sequence: int | None, queue: str | None, *, everything: bool) -> None:
    """Remove for good."""
    _chosen(sequence, queue, everything=everything)
    click.echo(f"purged {broker.dead_letters.purge(sequence, queue)}")
