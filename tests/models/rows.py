"""Rows as they come from Shopify, for the tests of this room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from models.resources import TABLES

NEW_YEAR = datetime(2026, 1, 1, 12, tzinfo=UTC)


_CHILDREN = {name: model for table in TABLES.values() for name, (model, _) in table.children.items()}


@dataclass(frozen=True)
class Version:
    """What models.versions.Row asks for. Columns of children that are not named are null."""

    shopify_id: int
    updated_at: datetime | None
    columns: Mapping[str, Any]
    children: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    triggered_at: datetime | None = None

    def __post_init__(self) -> None:
        filled = {
            name: [dict.fromkeys(_CHILDREN[name].model_fields) | dict(child) for child in children]
            for name, children in self.children.items()
        }
        object.__setattr__(self, "children", filled)
