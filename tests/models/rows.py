"""Rows as they come from Shopify, for the tests of this room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

NEW_YEAR = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """What models.versions.Row asks for."""

    shopify_id: int
    updated_at: datetime | None
    columns: Mapping[str, Any]
    children: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    triggered_at: datetime | None = None
