"""The operator's commands: ``flask --app wsgi …``. A subject has a file; what goes wrong is one line and exit code 1."""

from flask import Flask

from app.cli import compliance, database, keys, payloads, queues, sync, tenants

__all__ = ["register"]


def register(app: Flask) -> None:
    for command in (
        database.group,
        tenants.group,
        sync.group,
        queues.queues,
        queues.dead_letters,
        keys.group,
        payloads.group,
        compliance.group,
    ):
        app.cli.add_command(command)
