"""The shop itself: its currency, its time zone, its plan, what our token may see."""

import functools
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NotRequired

from pydantic import Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from shopify.errors import UnknownTimeZone
from shopify.mapping import GRAPHQL, REST
from shopify.scalars import Currency, Id, Text, Time, gid

#: Costs 4 points: shop, plan, installation, scopes.
QUERY = """query Shop {
  shop { id name myshopifyDomain currencyCode ianaTimezone updatedAt plan { publicDisplayName } }
  currentAppInstallation { accessScopes { handle } }
}"""
QUERY_COST = 4


@dataclass(frozen=True, slots=True)
class ShopInfo:
    shopify_id: int
    name: str
    #: ``….myshopify.com``
    domain: str
    #: ISO 4217; what revenue is told in.
    currency: str
    #: IANA name, known to this machine; a day is a day there.
    timezone: str
    plan: str
    #: Access scopes of our token. None: told by a webhook, which does not say.
    scopes: frozenset[str] | None = None
    updated_at: datetime | None = None


class _Plan(TypedDict):
    publicDisplayName: Text


@with_config(GRAPHQL)
class _Node(TypedDict):
    shopify_id: Annotated[int, PlainValidator(gid("Shop")), Field(validation_alias="id")]
    name: Text
    domain: Annotated[Text, Field(validation_alias="myshopifyDomain")]
    currency: Annotated[Currency, Field(validation_alias="currencyCode")]
    timezone: Annotated[Text, Field(validation_alias="ianaTimezone")]
    updated_at: NotRequired[Time | None]
    plan: NotRequired[_Plan | None]


class _Scope(TypedDict):
    handle: Text


class _Installation(TypedDict):
    accessScopes: list[_Scope]


class _Answer(TypedDict):
    shop: _Node
    currentAppInstallation: _Installation


@with_config(REST)
class _Payload(TypedDict):
    shopify_id: Annotated[Id, Field(validation_alias="id")]
    name: Text
    domain: Annotated[Text, Field(validation_alias="myshopify_domain")]
    currency: Currency
    timezone: Annotated[Text, Field(validation_alias="iana_timezone")]
    updated_at: NotRequired[Time | None]
    plan: Annotated[NotRequired[Text | None], Field(validation_alias="plan_display_name")]


_ANSWER: TypeAdapter[Any] = TypeAdapter(_Answer)
_PAYLOAD: TypeAdapter[Any] = TypeAdapter(_Payload)


def from_answer(data: Mapping[str, Any]) -> ShopInfo:
    """The answer to QUERY. Raises pydantic's ValidationError and UnknownTimeZone."""
    answer = _ANSWER.validate_python(data)
    scopes = frozenset(scope["handle"] for scope in answer["currentAppInstallation"]["accessScopes"])
    plan = answer["shop"].pop("plan", None)
    return _info(answer["shop"], plan=plan["publicDisplayName"] if plan else None, scopes=scopes)


def from_payload(payload: Mapping[str, Any]) -> ShopInfo:
    """REST's Shop object, as in shop/update and app/uninstalled. Raises ValidationError and UnknownTimeZone."""
    shape = _PAYLOAD.validate_python(payload)
    return _info(shape, plan=shape.pop("plan", None), scopes=None)


def _info(shape: dict[str, Any], *, plan: str | None, scopes: frozenset[str] | None) -> ShopInfo:
    if not is_known_timezone(shape["timezone"]):
        raise UnknownTimeZone(shape["timezone"])
    return ShopInfo(**shape, plan=plan or "", scopes=scopes)


@functools.cache
def _zones() -> frozenset[str]:
    """IANA's names of places. The data holds others, such as ``Factory`` and ``posix/…``, which no database shares."""
    places = (name for name in zoneinfo.available_timezones() if "/" in name)
    return frozenset(name for name in places if not name.startswith(("posix/", "right/"))) | {"UTC"}


def is_known_timezone(name: str) -> bool:
    """Whether this machine's time zone data has the zone."""
    return name in _zones()
