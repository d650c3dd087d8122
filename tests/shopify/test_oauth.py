"""Access tokens by the client credentials grant."""

import traceback
from datetime import UTC, datetime, timedelta

import pytest

from shopify.errors import RateLimited429, ShopUnavailable, Unauthorized
from shopify.oauth import MARGIN, client_credentials_token
from tests.shopify.conftest import SHOP, TOKEN

GRANT = {"access_token": TOKEN, "scope": "read_orders, read_products", "expires_in": 86399}


def ask(shop):
    return client_credentials_token(SHOP, "id", "very-secret", origin=shop.origin)


def test_a_token_comes_with_its_scopes_and_its_end(shop):
    before = datetime.now(UTC)
    token = ask(shop.answers_with(GRANT))
    assert (token.token, token.scopes) == (TOKEN, frozenset({"read_orders", "read_products"}))
    life = timedelta(seconds=86399 - MARGIN)
    assert before + life <= token.expires_at <= datetime.now(UTC) + life
    assert shop.requests[0].path == f"/{SHOP}/admin/oauth/access_token"
    assert shop.requests[0].body == {
        "client_id": "id",
        "client_secret": "very-secret",
        "grant_type": "client_credentials",
    }


def test_a_token_without_an_end_has_none(shop):
    token = ask(shop.answers_with({"access_token": TOKEN, "scope": ""}))
    assert (token.expires_at, token.scopes) == (None, frozenset())


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_credentials_are_told_with_oauths_word_and_without_the_secret(shop, status):
    answer = {"error": "invalid_client", "error_description": "very-secret is wrong"}
    with pytest.raises(Unauthorized, match="invalid_client") as refusal:
        ask(shop.answers_with(answer, status=status))
    assert "very-secret" not in "".join(traceback.format_exception_only(refusal.value))


def test_a_429_says_how_long_to_wait(shop):
    with pytest.raises(RateLimited429) as limited:
        ask(shop.answers_with(b"", status=429, Retry_After="3.5"))
    assert limited.value.retry_after == 3.5


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        {},
        {"access_token": ""},
        {"access_token": "a b"},
        GRANT | {"expires_in": -1},
        GRANT | {"expires_in": "1"},
    ],
)
def test_an_answer_that_is_no_token_is_unavailable_and_not_repeated(shop, answer):
    with pytest.raises(ShopUnavailable) as failure:
        ask(shop.answers_with(answer))
    assert failure.value.__context__ is None or TOKEN not in str(failure.value.__context__)


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_another_status_is_unavailable(shop, status):
    with pytest.raises(ShopUnavailable, match=str(status)):
        ask(shop.answers_with(b"", status=status))


def test_the_token_stays_out_of_logs(shop):
    assert TOKEN not in repr(ask(shop.answers_with(GRANT)))
