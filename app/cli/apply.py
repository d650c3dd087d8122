"""``tenants apply``: shops as a file lists them, added and brought up to date, as often as one likes."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import click
from pydantic import SecretStr, ValidationError
from pydantic.alias_generators import to_camel

import tasks.credentials
import tasks.sync
from app import schemas
from models import tenants
from models.database import transaction
from models.tenants import Tenant

#: The columns that a file may have, the first of which it must have.
COLUMNS = ("shop_domain", "access_token", "client_id", "client_secret", "webhook_secret", "sync")


class BadFile(click.ClickException):
    """Nothing of the file was applied."""


def rows(file: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    """The file's rows with their line numbers; empty cells are left out. Raises BadFile."""
    reader = csv.DictReader(file)
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    unknown = [name for name in names if name not in COLUMNS]
    if "shop_domain" not in names or unknown or len(set(names)) < len(names):
        raise BadFile(f"the first line must name columns, each once, of: {', '.join(COLUMNS)}")
    reader.fieldnames = names
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadFile(f"line {reader.line_num}: it has not as many cells as there are columns")
            yield reader.line_num, {name: cell.strip() for name, cell in row.items() if cell.strip()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadFile(f"line {reader.line_num}: {error}") from None


def validated(line: int, row: Mapping[str, str]) -> schemas.NewTenant:
    """A row as POST /api/tenants would take it. Raises ValueError with one line that shows no secret."""
    fields: dict[str, object] = {to_camel(name): cell for name, cell in row.items() if name != "sync"}
    if "sync" in row:
        if row["sync"].lower() not in {"true", "false"}:
            raise ValueError(f"line {line}: sync must be true or false")
        fields["sync"] = row["sync"].lower() == "true"
    try:
        return schemas.NewTenant.model_validate(fields)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc']))} {each['msg'].removeprefix('Value error, ')}".strip()
            for each in error.errors(include_input=False)
        )
        raise ValueError(f"line {line}: {told}") from None


def apply_all(wanted: Iterable[schemas.NewTenant], *, dry_run: bool) -> Iterator[str]:
    """What became, or would become, of each shop, a line each."""
    for each in wanted:
        yield f"{each.shop_domain}  {_apply(each, dry_run=dry_run)}"


def _apply(wanted: schemas.NewTenant, *, dry_run: bool) -> str:
    with transaction() as session:
        known = tenants.of_domain(session, wanted.shop_domain)
        tenant = None if known is None else tenants.get(session, known.id, for_update=True)
        if tenant is None:
            if dry_run:
                return "would be added"
            tenant, token = tenants.create(
                session,
                shop_domain=wanted.shop_domain,
                access_token=wanted.access_token,
                client_id=wanted.client_id,
                client_secret=wanted.client_secret,
                webhook_secret=wanted.webhook_secret,
            )
            if wanted.sync:
                tasks.sync.begin_first(session, tenant)
            return f"added  API token, shown this once: {token}"
        changes = _changes(tenant, wanted)
        if not changes:
            return "unchanged"
        if dry_run:
            return f"would change: {', '.join(changes)}"
        if "credentials" in changes:
            tasks.credentials.replace(
                session,
                tenant,
                access_token=wanted.access_token,
                client_id=wanted.client_id,
                client_secret=wanted.client_secret,
            )
        if "webhook secret" in changes:
            tenant.webhook_secret = wanted.webhook_secret
    return f"changed: {', '.join(changes)}"


def _changes(tenant: Tenant, wanted: schemas.NewTenant) -> list[str]:
    """What a row changes about a shop. An empty cell changes nothing."""
    if wanted.client_id is not None:
        is_same = (tenant.client_id, _plain(tenant.client_secret)) == (wanted.client_id, _plain(wanted.client_secret))
    else:
        is_same = tenant.client_id is None and _plain(tenant.access_token) == _plain(wanted.access_token)
    changes = [] if is_same else ["credentials"]
    if wanted.webhook_secret is not None and _plain(tenant.webhook_secret) != _plain(wanted.webhook_secret):
        changes.append("webhook secret")
    return changes


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def read(path: Path) -> list[schemas.NewTenant]:
    """The shops of a file, each once, all of them valid. Raises BadFile, which names every line that is not."""
    problems: list[str] = []
    found: dict[str, schemas.NewTenant] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for line, row in rows(file):
            try:
                shop = validated(line, row)
            except ValueError as error:
                problems.append(str(error))
                continue
            if shop.shop_domain in found:
                problems.append(f"line {line}: {shop.shop_domain} stands in an earlier line, too")
            found[shop.shop_domain] = shop
    if problems:
        raise BadFile("\n".join(["nothing was applied:", *problems]))
    return list(found.values())
