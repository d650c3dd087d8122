"""What can go wrong under a command, as one line for a person."""

from typing import Any

import click
from dramatiq.errors import BrokerError

from models.database import UNANSWERED
from models.encryption import UndecryptableSecret
from models.sync_runs import RunInProgress
from models.tenant_changes import CredentialsNeeded
from models.tenants import ShopAlreadyExists, TenantInactive
from settings import SettingsError

_TOLD_AS_THEY_ARE = (BrokerError, CredentialsNeeded, RunInProgress, SettingsError, TenantInactive, UndecryptableSecret)


class Commands(click.Group):
    """A group whose commands end in one line on standard error and exit code 1, without a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ShopAlreadyExists as error:
            raise click.ClickException(f"{error} is a tenant already") from None
        except _TOLD_AS_THEY_ARE as error:
            raise click.ClickException(_one_line(error)) from None
        except UNANSWERED as error:
            raise click.ClickException(f"Postgres: {_one_line(getattr(error, 'orig', None) or error)}") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
