"""From what Shopify sent to a Row: validation of one resource, and the reason when it is refused."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from pydantic import AliasGenerator, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from shopify.row import Row, RowRejected
from shopify.scalars import rest_id

#: GraphQL spells ``createdAt`` what we keep as ``created_at``. Unknown keys are none of our business.
GRAPHQL = ConfigDict(alias_generator=AliasGenerator(validation_alias=to_camel), extra="ignore")
REST = ConfigDict(extra="ignore")

#: Reasons beyond these add length, not knowledge.
_REASONS = 3


def validated(adapter: TypeAdapter[Any], raw: object, *, resource: str) -> dict[str, Any]:
    """What ``adapter`` makes of one resource. Raises RowRejected."""
    try:
        shape: dict[str, Any] = adapter.validate_python(raw)
    except ValidationError as error:
        raise RowRejected(resource, _id_of(raw), reason_of(error), raw) from None
    except RecursionError:
        raise RowRejected(resource, _id_of(raw), "is nested too deeply", raw) from None
    return shape


def reason_of(error: ValidationError) -> str:
    """The fields at fault and what is wrong with them, without their values."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    reasons = [f"{'.'.join(str(step) for step in problem['loc'])} {_claim(problem)}" for problem in problems[:_REASONS]]
    if len(problems) > _REASONS:
        reasons.append(f"and {len(problems) - _REASONS} more")
    return "; ".join(reasons)


def _claim(problem: Mapping[str, Any]) -> str:
    claims = {
        "missing": "is missing",
        "string_pattern_mismatch": "holds a NUL or a character that does not belong there",
        "string_unicode": "holds a lone surrogate",
    }
    message = str(problem["msg"]).removeprefix("Value error, ")
    return claims.get(problem["type"], message[:1].lower() + message[1:])


def _id_of(raw: object) -> int | None:
    """The id of a refused resource, if that much can be told."""
    try:
        return rest_id(raw.get("id") if isinstance(raw, Mapping) else None)
    except ValueError:
        return None


def children(shapes: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """A complete list of children, each with every column, ordered by id so that equal lists are equal."""
    names = ("shopify_id", *columns)
    return sorted(({name: shape.get(name) for name in names} for shape in shapes), key=itemgetter("shopify_id"))


def row(
    shape: dict[str, Any],
    *,
    lists: Mapping[str, Sequence[Mapping[str, Any]]],
    required: Iterable[str],
    gaps: Iterable[str],
    pending_since: datetime | None = None,
) -> Row:
    """A Row of the validated columns in ``shape``, which still holds ``shopify_id`` and perhaps ``updated_at``.

    ``required`` columns are those without which the resource is not whole; ``gaps`` are what else is known to be missing.
    """
    shopify_id: int = shape.pop("shopify_id")
    updated_at: datetime | None = shape.pop("updated_at", None)
    missing = [f"{name} is missing" for name in required if shape.get(name) is None]
    if updated_at is None:
        missing.insert(0, "updated_at is missing")
    reasons = [*missing, *gaps]
    return Row(
        shopify_id=shopify_id,
        updated_at=updated_at,
        columns=shape,
        children=lists,
        is_whole=not reasons,
        incomplete_because="; ".join(reasons) or None,
        pending_since=pending_since,
    )
