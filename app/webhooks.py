"""Webhooks: verified, put into JetStream, answered. Nothing else happens here, and it needs no Postgres."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import request
from flask_openapi3.blueprint import APIBlueprint
from pydantic import ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

import settings
import tasks.compliance
import tasks.webhooks
from app import schemas
from app.bodies import read_body
from app.directory import Unknowable, directory
from app.metrics import WEBHOOKS
from app.problems import Refusal, documented, unavailable
from brokers.errors import BrokerUnavailable
from models.signing_secrets import SigningSecrets
from shopify.webhooks import WebhookHeaders, names_another_shop, verify_signature

logger = logging.getLogger(__name__)

#: Bytes of a webhook's body that are read at most.
MAX_BODY = 16 * 1024 * 1024

_HEADERS: list[dict[str, Any]] = [
    {"name": f"X-Shopify-{name}", "in": "header", "required": required, "schema": {"type": "string"}}
    for name, required in (
        ("Topic", True),
        ("Hmac-Sha256", True),
        ("Shop-Domain", True),
        ("Webhook-Id", False),
        ("Triggered-At", False),
        ("Event-Id", False),
        ("API-Version", False),
    )
]
#: Each header's name, and WSGI's of it.
_KEYS = [(each["name"], f"HTTP_{each['name'].upper().replace('-', '_')}") for each in _HEADERS]
_OPENAPI = {
    "parameters": _HEADERS,
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}

blueprint = APIBlueprint("webhooks", __name__)


@blueprint.post(
    "/api/webhooks",
    responses={200: schemas.WebhookStored, **documented(400, 401, 408, 413, 503)},
    openapi_extensions=_OPENAPI,
    security=[],
)
def receive() -> schemas.WebhookStored:
    """Take one of Shopify's webhooks, signed with HMAC-SHA256. Answered once JetStream has stored it."""
    with _counted() as outcome:
        outcome.value = _receive()
    return schemas.WebhookStored()


class _Outcome:
    value = "failed"


@contextmanager
def _counted() -> Iterator[_Outcome]:
    outcome = _Outcome()
    try:
        yield outcome
    except Rejected as rejected:
        outcome.value = rejected.outcome
        raise
    except Refusal:
        outcome.value = "bad_body"
        raise
    except RequestEntityTooLarge:
        outcome.value = "too_large"
        raise
    except BrokerUnavailable:
        outcome.value = "not_stored"
        raise
    finally:
        WEBHOOKS.labels(outcome.value).inc()


class Rejected(Refusal):
    """``outcome`` is how the metrics count it."""

    def __init__(self, status: int, detail: str, *, outcome: str, **members: Any) -> None:
        super().__init__(status, detail, **members)
        self.outcome = outcome


def _receive() -> str:
    """How the webhook is to be counted. Raises Rejected, RequestEntityTooLarge, BrokerUnavailable."""
    headers = _headers()
    body = read_body(MAX_BODY)
    tenant = _signer(headers, body)
    if names_another_shop(headers.topic, body, headers.shop_domain):
        raise Rejected(401, "the body names another shop", outcome="another_shop")
    if tenant is None:
        return _of_unknown_shop(headers, body)
    tasks.webhooks.accept(tenant.tenant_id, headers, body)
    return "stored"


def _headers() -> WebhookHeaders:
    given = {name: value for name, key in _KEYS if (value := request.environ.get(key)) is not None}
    if not given.get("X-Shopify-Hmac-Sha256"):
        raise Rejected(401, "the X-Shopify-Hmac-Sha256 header is missing", outcome="bad_signature")
    try:
        return WebhookHeaders.of(given)
    except ValidationError as error:
        wrong = ", ".join(
            f"X-Shopify-{str(item['loc'][0]).replace('_', '-').title()}" for item in error.errors(include_input=False)
        )
        raise Rejected(400, f"missing or malformed: {wrong}", outcome="bad_headers") from None


def _signer(headers: WebhookHeaders, body: bytes) -> SigningSecrets | None:
    """The tenant whose secret signed the body; None for a shop that we do not know, when the app's secret did.

    Raises Rejected.
    """
    try:
        known = directory.find(headers.shop_domain)
        if known is not None:
            if _is_signed(headers, body, known):
                return known
            known = directory.look_again(known)
    except Unknowable:
        raise _not_now("whose webhook this is cannot be found out now") from None
    if known is None:
        _require_apps_signature(headers, body)
    elif not _is_signed(headers, body, known):
        raise Rejected(401, "the signature is not this shop's", outcome="bad_signature")
    return known


def _is_signed(headers: WebhookHeaders, body: bytes, tenant: SigningSecrets) -> bool:
    """Only the tenant's own secrets count; the app's do, for a tenant that has none."""
    if tenant.own_secrets is None:
        logger.error("the secrets of %s cannot be decrypted: is a key missing in ENCRYPTION_KEYS?", tenant.shop_domain)
        raise _not_now("the shop's secrets cannot be read now")
    return verify_signature(body, headers.signature, tenant.own_secrets or settings.load().app_secrets)


def _require_apps_signature(headers: WebhookHeaders, body: bytes) -> None:
    if not verify_signature(body, headers.signature, settings.load().app_secrets):
        raise Rejected(401, "the signature is nobody's that we know", outcome="bad_signature")


def _of_unknown_shop(headers: WebhookHeaders, body: bytes) -> str:
    """A webhook of a shop that is no tenant is nobody's, unless the law wants it acted upon and recorded all the same."""
    if headers.topic not in tasks.compliance.TOPICS:
        return "unknown_shop"
    logger.warning("%s of %s, which is no tenant", headers.topic, headers.shop_domain)
    tasks.compliance.accept(headers, body)
    return "stored"


def _not_now(what: str) -> Rejected:
    refusal = unavailable(what)
    return Rejected(refusal.status, refusal.detail, outcome="unknowable", headers=refusal.headers)
