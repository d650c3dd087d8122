"""What the law asks for: a person's data to be told or erased, and a shop's to be erased once it has left.

Each request is a row that stays (``models.compliance``). An erasure is repeated until a look at the tables and at every
message that NATS holds finds nothing; only then it is recorded as done.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import dramatiq
from pydantic import BaseModel, ConfigDict, SecretStr

from models import compliance, encryption, forgetting, redactions, tenants
from models.columns import now
from models.compliance import ComplianceRequest, Kind
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.tenants import RESTING, Tenant, TenantInactive, TenantStatus, Write
from shopify import events, shop
from shopify.errors import AccessDenied, QueryRefused, UnknownTimeZone
from shopify.webhooks import PayloadRejected, WebhookHeaders, event_of
from tasks import held, offboarding, shops
from tasks.connection import broker
from tasks.held import Marked
from tasks.outbox import outbox
from tasks.shops import CredentialsRefused, Postponed

logger = logging.getLogger(__name__)

TOPICS = frozenset(Kind)
#: Looks at the tables and at NATS in one go, before others get their turn.
LOOKS = 3
#: Milliseconds between two goes, while messages of the person are at work (a queue may be paused) or a shop is being erased:
#: at first, and at most.
FIRST_WAIT, LONGEST_WAIT = 1_000, 300_000
#: Seconds until a shop that does not say whether it has the app is asked again.
ASKED_AGAIN = 3_600.0
#: A shop that has given no answer for so long is closed, once a request has asked it for so long.
CLOSED_AFTER, ASKED_FOR = timedelta(days=7), timedelta(days=1)
#: For how long what is late is looked for: Shopify delivers up to a day late, and a fetch may rest for hours.
LATE = timedelta(days=30)
#: Before what is due a person is warned.
WARNED_BEFORE = timedelta(days=7)
#: Milliseconds of one go: every message that NATS holds may have to be read.
TIME_LIMIT = 1_800_000


class Ask(BaseModel):
    """A request as its message carries it: ids, and the addresses encrypted."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    kind: Kind
    shop_domain: str
    webhook_id: str
    received_at: datetime
    shop_id: int | None = None
    customer_id: int | None = None
    order_ids: tuple[int, ...] = ()
    data_request_id: int | None = None
    addresses: str | None = None
    #: Why the body cannot be what its topic says.
    refusal: str | None = None

    @classmethod
    def of(cls, headers: WebhookHeaders, body: bytes) -> Self:
        kind = Kind(headers.topic)
        ask: dict[str, Any] = {
            "kind": kind,
            "shop_domain": headers.shop_domain,
            "webhook_id": headers.webhook_id or hashlib.sha256(body).hexdigest(),
            "received_at": now(),
        }
        try:
            event = event_of(headers.topic, body, headers.shop_domain)
        except PayloadRejected as refusal:
            return cls(**ask, refusal=refusal.reason)
        match event:
            case events.RedactShop(shop_id):
                return cls(**ask, shop_id=shop_id)
            case events.RedactCustomer(customer_id, order_ids, email, phone):
                told: dict[str, Any] = {"customer_id": customer_id, "order_ids": order_ids}
            case events.DataRequested(customer_id, order_ids, request_id, email, phone):
                told = {"customer_id": customer_id, "order_ids": order_ids, "data_request_id": request_id}
            case _:
                raise AssertionError(f"{headers.topic} is no topic of compliance")
        addresses = Addresses((email,) if email else (), (phone,) if phone else ())
        return cls(**ask, **told, addresses=encryption.encrypted(addresses.packed()))


@dataclass(frozen=True, slots=True)
class Addresses:
    """By what a person is found besides their id."""

    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    #: Of their orders alone: staff type them, and they may be another customer's.
    besides: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: ComplianceRequest) -> Self:
        if request.addresses is None:
            return cls()
        packed = json.loads(request.addresses.get_secret_value())
        return cls(tuple(packed["emails"]), tuple(packed["phones"]), tuple(packed.get("besides", ())))

    def packed(self) -> SecretStr:
        told = {"emails": self.emails, "phones": self.phones, "besides": self.besides}
        return SecretStr(json.dumps({name: sorted({*each}) for name, each in told.items()}))

    def with_those_of(self, write: Write) -> "Addresses":
        """And what the rows of marked people still say."""
        emails, phones, besides = redactions.addresses(write)
        return Addresses((*self.emails, *emails), (*self.phones, *phones), (*self.besides, *besides))

    @property
    def every(self) -> tuple[str, ...]:
        return (*self.emails, *self.phones, *self.besides)


def accept(headers: WebhookHeaders, body: bytes) -> None:
    """Hand a verified request to the workers, whoever's it is. Raises BrokerUnavailable and StorageFull."""
    take.send(Ask.of(headers, body).model_dump(mode="json", exclude_none=True))


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=20)
def take(ask: dict[str, Any]) -> None:
    """Record a request, and begin what it asks for. Safe to run twice: a delivery is recorded once."""
    asked = Ask.model_validate(ask)
    with transaction() as session:
        values = asked.model_dump(exclude={"refusal"}) | {"order_ids": list(asked.order_ids)}
        request_id = compliance.open_request(session, values)
        if request_id is None:
            return
        if asked.refusal is not None:
            request = compliance.get(session, request_id)
            assert request is not None
            request.outcome = f"{compliance.NOT_UNDERSTOOD}: {asked.refusal}"
            logger.error("%s of %s is not understood: %s", asked.kind, asked.shop_domain, asked.refusal)
        elif asked.kind != Kind.DATA_REQUEST:
            outbox.send(session, act, str(request_id))
        tenant = tenants.of_domain(session, asked.shop_domain)
    if asked.kind != Kind.DATA_REQUEST or asked.refusal is not None:
        return
    if tenant is None:
        _finish(request_id, "nothing of the shop is here")
    else:
        _tell(tenant.id, Level.WARNING, f"a customer asks what is stored of them: compliance export {request_id}")


def _tell(tenant_id: uuid.UUID, level: Level, line: str) -> None:
    try:
        with tenants.write(tenant_id, also=RESTING) as write:
            record(write, level, "compliance", line)
    except TenantInactive:
        return  # nobody is left to be told


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=20, time_limit=TIME_LIMIT)
def act(request_id: str, wait: int = FIRST_WAIT) -> None:
    """Erase what a request asks to be erased, and come again until nothing is left. Safe to run twice, also at once."""
    with transaction() as session:
        request = compliance.get(session, uuid.UUID(request_id))
        if request is None or request.done_at is not None or request.kind == Kind.DATA_REQUEST:
            return
        if compliance.is_for_a_person(request):
            return
        tenant = tenants.last_of_domain(session, request.shop_domain)
    if tenant is None:
        removed = held.remove_orphans()
        _note(request.id, {"messages": removed})
        was_erased = request.kind == Kind.REDACT_SHOP and request.erased
        _finish(request.id, "everything of the shop is erased" if was_erased else "nothing of the shop is here")
        return
    go = _erase_shop if request.kind == Kind.REDACT_SHOP else _forget
    again = go(request, tenant, wait)
    if again is not None:
        _note(request.id)
        act.send_with_options(args=(request_id, min(2 * wait, LONGEST_WAIT)), delay=again)


def _note(request_id: uuid.UUID, erased: Mapping[str, int] | None = None, waits: str | None = None) -> None:
    """That somebody works on it, what was erased, and what it waits for."""
    with transaction() as session:
        request = compliance.get(session, request_id, for_update=True)
        if request is not None and request.done_at is None:
            compliance.attempt(request, erased or {})
            request.outcome = waits or request.outcome


def _finish(request_id: uuid.UUID, outcome: str) -> None:
    with transaction() as session:
        request = compliance.get(session, request_id, for_update=True)
        if request is not None and request.done_at is None:
            compliance.finish(request, outcome)
            logger.info("%s of %s is done: %s", request.kind, request.shop_domain, outcome)


# --- a customer ------------------------------------------------------------------------------------------------------


def _forget(request: ComplianceRequest, tenant: Tenant, wait: int) -> int | None:
    """One go. Returns the milliseconds until the next; None when there is none."""
    try:
        marked = _mark(request, tenant.id)
        for _ in range(LOOKS):
            erased = _erase_rows(request.id, tenant.id)
            changed, at_work = held.forget(marked)
            found = erased | changed
            if found or at_work:
                _note(
                    request.id, found, f"{at_work} messages are at work or wait in a paused queue" if at_work else None
                )
            if not found and not at_work:
                _finish(request.id, "nothing of the person is left")
                _tell(tenant.id, Level.INFO, f"customer {request.customer_shopify_id or 'without an id'} is redacted")
                return None
    except TenantInactive:
        pass  # the shop is being erased, and the person with it
    return wait


def _mark(request: ComplianceRequest, tenant_id: uuid.UUID) -> Marked:
    """From now on nobody writes anything of the person, and we know by what the rest is found."""
    with tenants.write(tenant_id, also=RESTING) as write:
        stored = compliance.get(write.session, request.id, for_update=True)
        assert stored is not None
        addresses = Addresses.of(stored)
        if request.customer_shopify_id is not None:
            redactions.mark(write, redactions.PEOPLE, [request.customer_shopify_id])
        redactions.mark(write, "orders", request.order_ids)
        redactions.mark_everything_of(write, emails=addresses.emails, phones=addresses.phones)
        addresses = addresses.with_those_of(write)
        stored.addresses = addresses.packed()  # before the rows that tell them are cleared: this may be killed
        return Marked.of(write, addresses.every)


def _erase_rows(request_id: uuid.UUID, tenant_id: uuid.UUID) -> dict[str, int]:
    with tenants.write(tenant_id, also=RESTING) as write:
        stored = compliance.get(write.session, request_id)
        assert stored is not None
        addresses = Addresses.of(stored)
        erased = forgetting.forget(write, emails=addresses.emails, phones=addresses.phones, besides=addresses.besides)
        people = redactions.marked(write, redactions.PEOPLE)
        compliance.forget_addresses(write.session, stored.shop_domain, of_customers=people)
        return erased


# --- a shop ----------------------------------------------------------------------------------------------------------


def _erase_shop(request: ComplianceRequest, tenant: Tenant, wait: int) -> int | None:
    """Offboard a shop that left. Nothing signs the topic, so of one that did not tell us that it left Shopify is asked first.

    Returns the milliseconds until the next look; None when there is none.
    """
    if tenant.status == TenantStatus.ERASING:
        return wait
    try:
        has_left = tenant.status == TenantStatus.UNINSTALLED or not _knows_us(tenant)
    except Postponed as postponed:
        if not _is_closed(tenant) or request.received_at > now() - ASKED_FOR:
            _note(request.id, waits=f"whether the app is still installed cannot be asked: {postponed}")
            return postponed.milliseconds
        has_left = True
    if not has_left:
        _finish(request.id, "refused: the app is still installed")
        _tell(tenant.id, Level.WARNING, "shop/redact came, but the app is still installed: nothing was erased")
        return None
    with transaction() as session:
        leaving = tenants.get(session, tenant.id, for_update=True)
        if leaving is not None:
            if not (leaving.status == TenantStatus.UNINSTALLED or leaving.unauthorized_since or _is_closed(leaving)):
                return wait  # it was installed again meanwhile
            offboarding.begin(session, leaving)
    _note(request.id, {"shops": 1})
    return wait


def _is_closed(tenant: Tenant) -> bool:
    """Whether the shop has given no answer for so long that nobody will: Shopify has no better word for a closed one."""
    return tenant.unreachable_since is not None and tenant.unreachable_since < now() - CLOSED_AFTER


def _knows_us(tenant: Tenant) -> bool:
    """Whether the shop still has the app. Raises Postponed, also where it does not say."""
    try:
        shops.ask(tenant, lambda client: client.shop(), cost=shop.QUERY_COST)
    except CredentialsRefused:
        return False
    except (AccessDenied, QueryRefused) as refusal:
        raise Postponed(ASKED_AGAIN, str(refusal)) from refusal
    except UnknownTimeZone:
        pass  # an answer, whatever it says
    return True


# --- afterwards ------------------------------------------------------------------------------------------------------


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=3, time_limit=TIME_LIMIT)
def look_again() -> None:
    """Look once more for whoever was forgotten lately: a webhook that came late may have died, and dead letters have no age.

    And warn of what is due. Safe to run twice.
    """
    with transaction() as session:
        found = redactions.tenants_with_marks(session, since=now() - LATE)
        due = compliance.due(session, before=now() + WARNED_BEFORE)
    for tenant_id in found:
        try:
            with tenants.write(tenant_id, also=RESTING) as write:
                forgetting.forget(write)
                marked = Marked.of(write, ())
        except TenantInactive:
            continue
        held.forget(marked)
    for request in due:
        logger.warning(
            "%s of %s is due on %s: %s", request.kind, request.shop_domain, f"{request.due_at:%F}", request.id
        )


broker.cron("forget-again", "0 41 4 * * *", look_again.message())
