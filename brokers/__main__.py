"""The operator's command line: ``python -m dramatiq_jetstream queues | dead-letters | pause | resume | cron | import``.

It needs no code of the application's: what queues there are is asked of the server. Ends with 0, with 1 and one line on
stderr when something failed, or with 2 when it was asked for something that it does not understand.
"""

import argparse
import base64
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from dramatiq.errors import DramatiqError

from . import JetStreamBroker, tables
from .dead_letters import DeadLetter
from .importing import Moved, Source, move

#: Dead letters read at once.
PAGE = 100


class CommandFailed(Exception):
    """The message is for the person at the terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments, _defaults())
    try:
        broker = JetStreamBroker(
            options.url,
            namespace=options.namespace,
            credentials=Path(options.creds) if options.creds else None,
            middleware=[],
        )
        try:
            options.run(broker, options)
        finally:
            broker.close()
    except (DramatiqError, CommandFailed, ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


# Commands


def queues(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """What each queue holds."""
    names = broker.known_queues()
    for name in names:
        broker.declare_queue(name)
    stats = broker.queue_stats()
    paused = [name for name in names if broker.is_paused(name)]
    if options.json:
        _print([asdict(each) | {"paused": each.queue in paused} for each in stats])
    else:
        _print(tables.queues(stats, paused) if stats else "no queues")


def list_dead_letters(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """A line each, oldest first."""
    found = _chosen_letters(broker, options)
    if options.json:
        _print([_as_json(letter) for letter in islice(found, options.limit)])
    else:
        for letter in islice(found, options.limit):
            _print(tables.line(letter))
    rest = next(found, None)
    if rest is not None:
        print(f"there are more: go on with --after {rest.sequence - 1}", file=sys.stderr)  # noqa: T201
    elif not options.json and broker.dead_letters.count(options.queue, actor=options.actor, lane=options.lane) == 0:
        _print("no dead letters")


def show_dead_letter(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """One, with what became of its deliveries, its traceback and its message."""
    letter = broker.dead_letters.show(options.sequence)
    _print(_as_json(letter) if options.json else tables.page(letter))


def replay_dead_letters(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """Enqueue again, with all retries before it."""
    if options.sequence is not None:
        broker.dead_letters.replay(options.sequence)
        replayed = 1
    else:
        replayed = broker.dead_letters.replay_all(options.queue, actor=options.actor, lane=options.lane)
    _print({"replayed": replayed} if options.json else f"replayed {replayed}")


def purge_dead_letters(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """Remove for good."""
    if sys.stdin.isatty() and not options.yes and input("They are lost then. Go on? [y/N] ").lower() != "y":
        raise CommandFailed("nothing was purged")
    purged = broker.dead_letters.purge(options.sequence, options.queue, actor=options.actor, lane=options.lane)
    _print({"purged": purged} if options.json else f"purged {purged}")


def pause(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """Have all workers stop taking messages of a queue."""
    _declare(broker, options.queue)
    broker.pause(options.queue)
    _print({"queue": options.queue, "paused": True} if options.json else f"paused {options.queue}")


def resume(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """Let a paused queue go on."""
    _declare(broker, options.queue)
    broker.resume(options.queue)
    _print({"queue": options.queue, "paused": False} if options.json else f"resumed {options.queue}")


def list_crons(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """The recurring messages, those that code declares and those made at run time."""
    found = [each for owner in ("code", "runtime") for each in broker.schedules.list(owner=owner)]
    if options.json:
        _print([asdict(each) | {"message": each.message.asdict()} for each in found])
        return
    titles = ["name", "owner", "every", "time zone", "queue", "actor"]
    rows = [
        [each.name, each.owner, each.every, each.time_zone or "UTC", each.message.queue_name, each.message.actor_name]
        for each in found
    ]
    _print(tables.table(titles, rows) if rows else "no recurring messages")


def remove_cron(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """Remove a recurring message that was made at run time."""
    if not broker.schedules.remove(options.name):
        declared = broker.schedules.get(options.name, owner="code") is not None
        why = "it is declared in code, whose release would bring it back" if declared else "there is none of that name"
        raise CommandFailed(f"cannot remove {options.name}: {why}")
    _print({"removed": options.name} if options.json else f"removed {options.name}")


def import_messages(broker: JetStreamBroker, options: argparse.Namespace) -> None:
    """Move the messages of a RedisBroker or RabbitmqBroker over.  Stop its workers first."""
    source, passing = _source(options)
    try:
        if options.dry_run:
            moved = [source.count(queue) for queue in options.queue or source.queues()]
        else:
            moved = list(move(source, broker, queues=options.queue or (), accept_doubles=options.accept_doubles))
    except passing as error:
        raise CommandFailed(f"{source.name}: {error or type(error).__name__}") from None
    finally:
        source.close()
    _report(moved, options)


# Parts


def _source(options: argparse.Namespace) -> tuple[Source, tuple[type[Exception], ...]]:
    """Where to import from, and what its library raises."""
    scheme = options.source.partition(":")[0]
    try:
        if scheme in {"redis", "rediss", "unix"}:
            from .redis_source import ERRORS, RedisSource  # noqa: PLC0415  its library is optional

            return RedisSource(options.source, namespace=options.source_namespace), ERRORS
        if scheme in {"amqp", "amqps"}:
            from .rabbitmq_source import ERRORS as errors  # noqa: PLC0415, N811  likewise
            from .rabbitmq_source import RabbitmqSource  # noqa: PLC0415

            try:
                return RabbitmqSource(options.source, queues=options.queue or ()), errors
            except errors as error:
                raise CommandFailed(f"rabbitmq cannot be reached: {error or type(error).__name__}") from None
    except ModuleNotFoundError as error:
        extra = "redis" if error.name == "redis" else "rabbitmq"
        raise CommandFailed(f"{error.name} is missing: pip install dramatiq-jetstream[{extra}]") from None
    raise CommandFailed("messages come from redis://…, rediss://…, unix://…, amqp://… or amqps://…")


def _report(moved: Sequence[Moved], options: argparse.Namespace) -> None:
    if options.json:
        _print([asdict(each) for each in moved])
        return
    rows = [[each.queue, each.waiting, each.delayed, each.dead, each.held] for each in moved]
    _print(tables.table(["queue", "waiting", "delayed", "dead", "held by workers"], rows) if rows else "no messages")
    if any(each.held for each in moved):
        _print("what workers hold was left to them: stop them, wait a minute, and repeat")


def _chosen_letters(broker: JetStreamBroker, options: argparse.Namespace) -> Iterator[DeadLetter]:
    def pages() -> Iterator[list[DeadLetter]]:
        after = options.after
        chosen = {"actor": options.actor, "lane": options.lane}
        while page := broker.dead_letters.list(options.queue, after=after, limit=PAGE, **chosen):
            yield page
            after = page[-1].sequence

    return chain.from_iterable(pages())


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    content = asdict(letter)
    content["message"] = None if letter.message is None else letter.message.asdict()
    # A body that is no text would be cut in two ways by any decoding.
    content["body"] = base64.b64encode(letter.body).decode()
    return content


def _declare(broker: JetStreamBroker, queue: str) -> None:
    known = broker.known_queues()
    if queue not in known:
        raise CommandFailed(f"there is no queue {queue}: {', '.join(known) or 'none at all'}")
    broker.declare_queue(queue)


def _print(content: object) -> None:
    print(content if isinstance(content, str) else json.dumps(content, default=str, indent=2))  # noqa: T201


# Arguments


def _defaults() -> argparse.Namespace:
    """Of the options that may stand before and behind a command: argparse would have the one overwrite the other."""
    return argparse.Namespace(
        url=os.environ.get("NATS_URL") or "nats://127.0.0.1:4222",
        creds=os.environ.get("NATS_CREDS"),
        namespace="dramatiq",
        json=False,
    )


def _parser() -> argparse.ArgumentParser:
    here = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    here.add_argument("--url", help="addresses of NATS (NATS_URL, or nats://127.0.0.1:4222)")
    here.add_argument("--creds", help="a .creds file (NATS_CREDS)")
    here.add_argument("--namespace", help="the broker's (dramatiq)")
    here.add_argument("--json", action="store_true", help="for programs to read")
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description="Operate JetStreamBroker.", parents=[here]
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "queues", queues, here)
    _add_dead_letters(commands, here)
    for run in (pause, resume):
        _command(commands, run.__name__, run, here).add_argument("queue")
    crons = commands.add_parser("cron", help="recurring messages", parents=[here]).add_subparsers(
        required=True, metavar="COMMAND"
    )
    _command(crons, "list", list_crons, here)
    _command(crons, "remove", remove_cron, here).add_argument("name")
    _add_import(commands, here)
    return parser


def _add_dead_letters(commands: Any, here: argparse.ArgumentParser) -> None:
    group = commands.add_parser("dead-letters", help="messages that failed for good", parents=[here])
    letters = group.add_subparsers(required=True, metavar="COMMAND")
    chosen = argparse.ArgumentParser(add_help=False)
    for name in ("queue", "actor", "lane"):
        chosen.add_argument(f"--{name}", help=f"only those of this {name}")
    listing = _command(letters, "list", list_dead_letters, here, chosen)
    listing.add_argument("--after", type=int, default=0, metavar="SEQUENCE", help="only those behind this one")
    listing.add_argument("--limit", type=int, help="so many at most; all of them otherwise")
    _command(letters, "show", show_dead_letter, here).add_argument("sequence", type=int)
    for name, run in (("replay", replay_dead_letters), ("purge", purge_dead_letters)):
        command = _command(letters, name, _requiring_a_choice(run), here, chosen)
        command.add_argument("sequence", type=int, nargs="?")
        command.add_argument("--all", action="store_true", dest="everything")
        if run is purge_dead_letters:
            command.add_argument("--yes", action="store_true", help="do not ask")


def _requiring_a_choice(run: Any) -> Any:
    """One by its sequence, or some by what they have in common, or all: nothing is touched without being named."""

    def check(broker: JetStreamBroker, options: argparse.Namespace) -> None:
        several = [options.queue, options.actor, options.lane, options.everything or None]
        if (options.sequence is None) == all(each is None for each in several):
            _parser().error("name one by its sequence, or give --queue, --actor, --lane or --all")
        run(broker, options)

    check.__doc__ = run.__doc__
    return check


def _add_import(commands: Any, here: argparse.ArgumentParser) -> None:
    command = _command(commands, "import", import_messages, here)
    command.add_argument("source", metavar="URL", help="redis://… or amqp://…")
    command.add_argument("--queue", action="append", help="only this one; may be repeated, and is needed for amqp://")
    command.add_argument("--source-namespace", default="dramatiq", help="the RedisBroker's")
    command.add_argument("--dry-run", action="store_true", help="only count")
    command.add_argument("--accept-doubles", action="store_true", help="go on after a crash that is too long ago")


def _command(commands: Any, name: str, run: Any, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=run.__doc__, description=run.__doc__, parents=parents
    )
    command.set_defaults(run=run)
    return command


if __name__ == "__main__":
    logging.getLogger(__package__).setLevel(logging.CRITICAL)  # what goes wrong is said once, by main
    sys.exit(main())
