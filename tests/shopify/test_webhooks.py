"""Who signed a webhook, and what its headers say."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from werkzeug.datastructures import Headers

from shopify.webhooks import WebhookHeaders, verify_signature

BODY = '{"id":1,"note":"é"}'.encode()
NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
HEADERS = {
    "X-Shopify-Topic": "orders/create",
    "X-Shopify-Hmac-Sha256": "c2lnbmF0dXJl",
    "X-Shopify-Shop-Domain": "X-1.myshopify.com",
    "X-Shopify-API-Version": "2026-10",
    "X-Shopify-Webhook-Id": "b1f2",
    "X-Shopify-Triggered-At": "2026-03-30T14:30:00.123456789Z",
    "X-Shopify-Event-Id": "e1",
}


def signed(body: bytes, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def read(**changes) -> WebhookHeaders:
    changed = HEADERS | {f"X-Shopify-{name.replace('_', '-')}": value for name, value in changes.items()}
    return WebhookHeaders.of({name: value for name, value in changed.items() if value is not None}, now=NOW)


def test_the_right_secret_verifies_the_bytes():
    assert verify_signature(BODY, signed(BODY, "s1"), ["s1"])


@pytest.mark.parametrize("secrets", [["s1", "s2"], ["s2", "s1"], iter(["s0", "s1"])])
def test_any_of_the_secrets_verifies(secrets):
    assert verify_signature(BODY, signed(BODY, "s1"), secrets)


@pytest.mark.parametrize(
    ("body", "signature", "secrets"),
    [
        (BODY + b" ", signed(BODY, "s1"), ["s1"]),
        (BODY, signed(BODY, "s2"), ["s1"]),
        (BODY, signed(BODY, "s1")[:-4], ["s1"]),
        (BODY, hmac.new(b"s1", BODY, hashlib.sha256).hexdigest(), ["s1"]),
        (BODY, "", ["s1"]),
        (BODY, "é\udcff", ["s1"]),
        (BODY, signed(BODY, "s1"), []),
        (BODY, signed(BODY, ""), [""]),
    ],
    ids=["body", "secret", "cut", "hex", "empty", "no ASCII", "no secret", "empty secret"],
)
def test_nothing_else_verifies(body, signature, secrets):
    assert not verify_signature(body, signature, secrets)


def test_the_headers_are_read_whatever_their_case():
    headers = read()
    assert headers == WebhookHeaders.of({name.lower(): value for name, value in HEADERS.items()}, now=NOW)
    assert headers == WebhookHeaders.of(Headers(HEADERS), now=NOW)
    assert (headers.topic, headers.shop_domain) == ("orders/create", "x-1.myshopify.com")
    assert (headers.webhook_id, headers.event_id, headers.api_version) == ("b1f2", "e1", "2026-10")


def test_the_time_is_cut_to_the_microsecond():
    assert read().triggered_at == datetime(2026, 3, 30, 14, 30, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-03-30T14:30:00Z", datetime(2026, 3, 30, 14, 30, tzinfo=UTC)),
        ("2026-03-30T14:30:00.5Z", datetime(2026, 3, 30, 14, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-03-30T14:30:00-05:00", datetime(2026, 3, 30, 19, 30, tzinfo=UTC)),
        ("2026-11-05T12:00:01Z", NOW),
        ("9999-12-31T23:59:59Z", NOW),
        ("9999-12-31T23:59:59-14:00", NOW),
        ("2026-03-30T14:30:00", NOW),
        ("2026-13-30T14:30:00Z", NOW),
        ("1770000000", NOW),
        ("", NOW),
        (None, NOW),
    ],
)
def test_a_time_in_the_future_or_none_at_all_counts_as_now(value, moment):
    assert read(Triggered_At=value).triggered_at == moment


def test_now_is_the_present_unless_it_is_given():
    headers = WebhookHeaders.of({**HEADERS, "X-Shopify-Triggered-At": "?"})
    assert abs(headers.triggered_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"Topic": None},
        {"Topic": ""},
        {"Topic": "orders"},
        {"Topic": "orders/create\n"},
        {"Topic": "a/" + "b" * 200},
        {"Hmac_Sha256": None},
        {"Hmac_Sha256": ""},
        {"Hmac_Sha256": "x" * 1000},
        {"Shop_Domain": None},
        {"Shop_Domain": "example.com"},
        {"Shop_Domain": "x.myshopify.com.example.com"},
        {"Shop_Domain": "-x.myshopify.com"},
        {"Shop_Domain": "x.myshopify.com\n"},
        {"Shop_Domain": "a.b.myshopify.com"},
    ],
    ids=str,
)
def test_headers_that_name_no_shop_topic_or_signature_are_refused_and_not_repeated(changes):
    with pytest.raises(ValidationError) as refusal:
        read(**changes)
    assert "c2lnbmF0dXJl" not in str(refusal.value)


@pytest.mark.parametrize("webhook_id", [None, "", "x" * 300, "a\x00b"])
def test_an_id_that_is_none_is_left_out(webhook_id):
    assert read(Webhook_Id=webhook_id).webhook_id is None


def test_the_signature_stays_out_of_logs():
    assert "c2lnbmF0dXJl" not in repr(read())
