"""The shapes of requests and answers: camelCase, money as decimal strings, times in UTC, Shopify's ids as strings."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    StrictBool,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from models import tenant_summaries
from models.compliance import Kind
from models.event_log import Level
from models.tenant_summaries import Place, ShopProblem
from settings import SHOP_DOMAIN
from shopify import scopes
from shopify.resources import RESOURCES

#: Days in ten years, the longest range that may be asked for.
TEN_YEARS = 3653
#: The largest id of the event log that Postgres can hold.
MAX_EVENT_ID = 2**63 - 1

_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z")
#: The places of problems, as models.tenant_summaries numbers them.
_SEVERITY = re.compile(r"\d{1,2}(?:\.\d{1,2}){0,19}\Z", re.ASCII)


# --- the parts -------------------------------------------------------------------------------------------------------


def shop_domain(value: object) -> str:
    """A shop's domain as people write it (``https://My-Store.myshopify.com/``), as we keep it."""
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004  pydantic's word for a refused value
    domain = value.strip().lower().removeprefix("https://").removesuffix("/")
    if len(domain) > 255 or not SHOP_DOMAIN.match(domain):
        raise ValueError("must be a shop's domain such as my-store.myshopify.com")
    return domain


def _day(value: object) -> object:
    # Pydantic alone would take a time of day and seconds since 1970, too.
    if value is None or type(value) is date:
        return value
    if not isinstance(value, str) or not _DAY.match(value):
        raise ValueError("must be a date such as 2026-03-31")
    return value


def _is_header_text(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not 1 <= len(text) <= 1000 or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("must be 1 to 1000 printable ASCII characters without spaces")
    return value


def _place_in_proof(value: str) -> str:
    resource, _, day = value.partition(",")
    if resource not in RESOURCES or not _DAY.match(day):
        raise ValueError("must be `next` of the page before")
    date.fromisoformat(day)
    return value


def _known_resource(name: str) -> str:
    if name not in RESOURCES:
        raise ValueError(f"must be one of {', '.join(RESOURCES)}")
    return name


def _known_resources(names: list[str]) -> list[str]:
    unknown = sorted(set(names) - RESOURCES.keys())
    if unknown or len(set(names)) < len(names):
        raise ValueError(f"must be different names out of {', '.join(RESOURCES)}")
    return names


Time = Annotated[datetime, PlainSerializer(lambda time: time.astimezone(UTC).isoformat().replace("+00:00", "Z"))]
Day = Annotated[date, BeforeValidator(_day)]
#: A day from which moments can be reckoned in any time zone; no shop's history reaches beyond.
DayOfHistory = Annotated[Day, Field(ge=date(1970, 1, 1), le=date(2200, 1, 1))]
Secret = Annotated[SecretStr, AfterValidator(_is_header_text)]
ShopDomain = Annotated[str, BeforeValidator(shop_domain)]
Money = Annotated[str, Field(examples=["2500315.63"], description="A decimal number; never rounded.")]
ResourceNames = Annotated[
    list[str],
    Field(min_length=1, json_schema_extra={"items": {"type": "string", "enum": list(RESOURCES)}, "uniqueItems": True}),
    AfterValidator(_known_resources),
]


ResourceName = Annotated[str, Field(json_schema_extra={"enum": list(RESOURCES)}), AfterValidator(_known_resource)]


class Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Body(BaseModel):
    """A request's body. What it does not know it refuses: a misspelled field must not be lost silently."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)


class Query(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, hide_input_in_errors=True)


class Problem(BaseModel):
    """What went wrong (RFC 9457, application/problem+json)."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    #: Of a refused request: which field, and what is wrong with it.
    errors: list[dict[str, str]] | None = None


# --- tenants ---------------------------------------------------------------------------------------------------------


class _Credentials(Body):
    access_token: Secret | None = None
    client_id: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    client_secret: Secret | None = None
    webhook_secret: Secret | None = None

    def _check_credentials(self) -> None:
        if (self.client_id is None) != (self.client_secret is None):
            raise ValueError("clientId and clientSecret go together")
        if self.access_token is not None and self.client_id is not None:
            raise ValueError("give accessToken, or clientId and clientSecret, not both")


class NewTenant(_Credentials):
    shop_domain: ShopDomain
    #: Whether its history is synced right away.
    sync: StrictBool = True

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        self._check_credentials()
        if self.access_token is None and self.client_id is None:
            raise ValueError("accessToken, or clientId and clientSecret, must be given")
        return self


class TenantChange(_Credentials):
    """What is absent stays as it is; ``webhookSecret: null`` removes it."""

    status: Literal["active", "paused"] | None = None

    @model_validator(mode="after")
    def _only_the_webhook_secret_can_be_removed(self) -> Self:
        for name in sorted(self.model_fields_set - {"webhook_secret"}):
            if getattr(self, name) is None:
                raise ValueError(f"{to_camel(name)} cannot be null")
        self._check_credentials()
        return self


class TenantCreated(Answer):
    id: UUID
    shop_domain: str
    api_token: str = Field(description="Shown this once; only its hash is kept.")
    sync_id: UUID | None = Field(description="Null when no sync was wanted.")


class ApiToken(Answer):
    api_token: str = Field(description="Shown this once; the former token is refused from now on.")


class TenantSummary(Answer):
    id: UUID
    shop_domain: str
    status: Literal["active", "paused", "uninstalled", "needs_reauthorization", "unreachable"]
    name: str | None
    currency: str | None
    timezone: str
    plan: str | None
    scopes: list[str]
    missing_scopes: list[str] = Field(description="Access scopes that are wanted and that the shop has not granted.")
    missing_topics: list[str] = Field(description="Webhook topics that the shop refuses to send us.")
    access_token_expires_at: Time | None = Field(description="It is renewed before. Null: it does not expire.")
    refresh_token_expires_at: Time | None
    has_access_token: bool
    has_client_credentials: bool
    has_webhook_secret: bool
    created_at: Time
    last_webhook_at: Time | None
    last_sync_at: Time | None
    last_sync_status: str | None
    quarantined: int = Field(description="How many things of this shop could not be stored, and still are not.")
    repairs_last_week: int = Field(
        description="How many resources no webhook had told of and a later read mended, in the last seven days (UTC)."
    )
    dead_letters: int | None = Field(
        description="How many messages of this shop failed for good and wait for a person; null while NATS does not tell."
    )
    lag_seconds: float | None = Field(
        description="How long the oldest webhook waits that is stored and not yet written; null while NATS does not tell, "
        "and for some of very many shops that wait at once."
    )
    problems: list[ShopProblem] = Field(
        description="What is wrong with this shop, worst first; empty when all is well."
    )

    @classmethod
    def of(cls, found: tenant_summaries.TenantSummary) -> Self:
        own = {"status": found.state, "missing_scopes": _missing_scopes(found)}
        told = {name: getattr(found, name) for name in cls.model_fields if name not in own}
        return cls.model_validate(told | own)


def _missing_scopes(found: tenant_summaries.TenantSummary) -> list[str]:
    """None are missing of a shop that has not told yet what it granted."""
    if not found.scopes and found.name is None:
        return []
    return scopes.missing(found.scopes, scopes.wanted())


class TenantList(Answer):
    tenants: list[TenantSummary]
    next: str | None = Field(description="What to give as `after`, with the same `sort`; null on the last page.")


class TenantInstalled(Answer):
    id: UUID
    shop_domain: str


class TenantErasing(Answer):
    id: UUID
    status: Literal["erasing"] = "erasing"


class TenantPath(BaseModel):
    id: UUID


class TenantPage(Query):
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    sort: Literal["shopDomain", "worst"] = Field(
        default="shopDomain",
        description="`worst`: the shops with the worst problems first, in the order in which `problems` names them. "
        "A shop whose problems change while one pages may come twice or not at all.",
    )
    after: str | None = Field(
        default=None, max_length=400, description="`next` of the page before, of the same `sort`."
    )

    @model_validator(mode="after")
    def _goes_on_with_its_sort(self) -> Self:
        if self.after is not None and self.sort == "worst":
            _place(self.after)
        elif self.after is not None:
            self.after = shop_domain(self.after)
        return self

    @property
    def place(self) -> Place | None:
        """`after` where the worst come first."""
        return None if self.after is None else _place(self.after)

    def next_after(self, last: Place) -> str:
        """The `after` that goes on behind a page's last shop."""
        if self.sort == "shopDomain":
            return last.shop_domain
        return f"{'.'.join(map(str, last.severity))}:{last.shop_domain}"


def _place(after: str) -> Place:
    severity, _, domain = after.partition(":")
    if not _SEVERITY.match(severity):
        raise ValueError("after must be what the page before gave as next")
    return Place([int(each) for each in severity.split(".")], shop_domain(domain))


# --- compliance ------------------------------------------------------------------------------------------------------


class ComplianceRequest(Answer):
    id: UUID
    kind: Kind
    shop_domain: str
    shop_id: str | None = Field(description="Shopify's own id of the shop.")
    customer_id: str | None
    order_ids: list[str]
    data_request_id: str | None
    received_at: Time
    due_at: Time
    done_at: Time | None
    outcome: str | None = Field(description="What became of it, or what it waits for.")
    erased: dict[str, int] = Field(description="How much of each kind was erased.")


class ComplianceRequests(Answer):
    requests: list[ComplianceRequest]
    next: str | None = Field(description="What to give as `after` for the next page; null on the last.")


class CompliancePath(BaseModel):
    id: UUID


class CompliancePage(Query):
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    after: UUID | None = Field(default=None, description="`next` of the page before.")
    open: bool = Field(default=False, description="Only what is not done.")


class PersonExport(Answer):
    """Everything that is stored of a person. The payloads' bodies are as Shopify sent them."""

    request_id: UUID
    shop_domain: str
    exported_at: Time
    customers: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    payloads: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]


# --- the shop that a question is about -------------------------------------------------------------------------------


class ShopQuery(Query):
    shop: str | None = Field(
        default=None, description="The shop's domain. The administrator must give it; a shop's own token need not."
    )


class DateRange(ShopQuery):
    """Days of the shop's own time zone, both inclusive; at most ten years."""

    first: Day | None = Field(default=None, alias="from")
    last: Day | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first is not None and self.last is not None:
            if self.first > self.last:
                raise ValueError("from must not be after to")
            if (self.last - self.first).days > TEN_YEARS:
                raise ValueError("from and to may be ten years apart at most")
        return self


class TopCustomersQuery(ShopQuery):
    limit: Annotated[int, Field(ge=1, le=100)] = 5


class SyncStatusQuery(ShopQuery):
    after: Annotated[int, Field(ge=0, le=MAX_EVENT_ID)] | None = None
    level: Level | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


# --- figures ---------------------------------------------------------------------------------------------------------


class CurrencySales(Answer):
    currency: str
    revenue: Money
    orders: int
    average_order_value: Money


class Coverage(Answer):
    first: date | None = Field(alias="from")
    last: date | None = Field(alias="to")
    complete: bool = Field(description="Whether the figures hold everything that the store counted itself.")
    reason: str | None


class Stats(Answer):
    currency: str | None
    total_revenue: Money
    total_orders: int
    total_customers: int
    total_products: int
    average_order_value: Money
    by_currency: list[CurrencySales]
    coverage: Coverage
    last_updated_at: Time | None


class TrendDay(Answer):
    date: date
    orders: int
    revenue: Money


class OrdersTrend(Answer):
    timezone: str
    currency: str | None
    days: list[TrendDay]
    coverage: Coverage


class Sales(Answer):
    gross_sales: Money = Field(description="Prices times quantities, before discounts, taxes, shipping and returns.")
    discounts: Money = Field(description="Zero or negative.")
    returns: Money = Field(description="Zero or negative, on the day on which the refund was processed.")
    net_sales: Money = Field(description="Gross sales, discounts and returns.")
    shipping: Money
    taxes: Money
    duties: Money
    total_sales: Money = Field(description="Net sales, shipping, taxes and duties.")


class SalesDay(Sales):
    date: date


class SalesReport(Answer):
    timezone: str
    currency: str | None
    days: list[SalesDay]
    totals: Sales
    coverage: Coverage


class TopCustomer(Answer):
    id: UUID
    shopify_id: str
    name: str | None
    email: str | None
    orders_count: int
    total_spent: Money
    currency: str


class TopCustomers(Answer):
    customers: list[TopCustomer]


# --- the proof -------------------------------------------------------------------------------------------------------


class ProofQuery(DateRange):
    resource: ResourceName | None = None
    after: Annotated[str, AfterValidator(_place_in_proof)] | None = Field(
        default=None, description="`next` of the page before."
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class ProvedDay(Answer):
    resource: str
    date: date
    store_count: int | None = Field(description="Null when the store did not count it, for the reason, or not yet.")
    our_count: int | None
    mended: int = Field(description="How many no webhook had told of, of all times.")
    checked_at: Time | None
    reason: str | None = Field(description="Why the counts differ, or are lacking.")


class ProofPage(Answer):
    timezone: str
    days: list[ProvedDay]
    next: str | None = Field(description="What to give as `after` for the next page; null on the last.")


# --- syncs -----------------------------------------------------------------------------------------------------------


class NewSync(Body):
    model_config = ConfigDict(**Body.model_config, openapi_extra={"required": False})  # type: ignore[typeddict-unknown-key]

    resources: ResourceNames | None = None
    mode: Literal["auto", "pages", "bulk"] = "auto"
    since: DayOfHistory | None = None
    until: DayOfHistory | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since must not be after until")
        return self


class SyncStarted(Answer):
    sync_id: UUID


class SyncPath(BaseModel):
    id: UUID


class ResourceProgress(Answer):
    resource: str
    status: str
    done: int
    total: int | None
    reason: str | None


class SyncRun(Answer):
    id: UUID
    status: Literal["running", "completed", "incomplete", "failed", "cancelled"]
    mode: str
    since: date | None
    until: date | None
    started_at: Time
    finished_at: Time | None
    error: str | None
    resources: list[ResourceProgress]


class LogLine(Answer):
    id: int
    level: Level
    source: str
    message: str
    created_at: Time


class SyncStatus(Answer):
    runs: list[SyncRun] = Field(description="The newest ones, newest first.")
    logs: list[LogLine] = Field(description="Oldest first: those after the id `after`, without it the latest.")


# --- webhooks, health ------------------------------------------------------------------------------------------------


class WebhookStored(Answer):
    """Empty: the delivery is stored, or there is nobody to store it for."""


class Alive(Answer):
    status: Literal["ok"] = "ok"


class Readiness(Answer):
    ready: bool
    nats: Literal["ok", "error"]
    postgres: Literal["ok", "error"]
    #: Whether the shops and their webhook secrets are known to this process.
    directory: Literal["ok", "error"]


#: How a problem is documented: any status that an operation does not name has this shape, too.
PROBLEM_CONTENT: dict[str, Any] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
