"""Access tokens by the four grants."""

import traceback
from datetime import UTC, datetime, timedelta

import pytest

from shopify.errors import InvalidClient, RateLimited429, ShopUnavailable, Unauthorized
from shopify.oauth import (
    App,
    authorization_code_token,
    client_credentials_token,
    refreshed_token,
    session_token_exchange,
)
from tests.shopify.conftest import SHOP, TOKEN

APP = App("id", ("very-secret",))
GRANT = {"access_token": TOKEN, "scope": "read_orders, read_products", "expires_in": 86399}


def ask(shop):
    return client_credentials_token(SHOP, APP, origin=shop.origin)


def test_a_token_comes_with_its_scopes_and_its_end(shop):
    before = datetime.now(UTC)
    token = ask(shop.answers_with(GRANT))
    assert (token.token, token.scopes) == (TOKEN, frozenset({"read_orders", "read_products"}))
    life = timedelta(seconds=86399)
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
        GRANT | {"refresh_token": "a b"},
        GRANT | {"refresh_token_expires_in": 0},
    ],
)
def test_an_answer_that_is_no_token_is_unavailable_and_not_repeated(shop, answer):
    with pytest.raises(ShopUnavailable) as failure:
        ask(shop.answers_with(answer))
    assert failure.value.__context__ is None or TOKEN not in str(failure.value.__context__)


@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_without_oauths_word_may_be_a_gateways_and_ends_no_token(shop, status):
    with pytest.raises(ShopUnavailable):
        refreshed_token(SHOP, APP, "shprt_0", origin=shop.answers_with(b"<html>", status=status).origin)


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_another_status_is_unavailable(shop, status):
    with pytest.raises(ShopUnavailable, match=str(status)):
        ask(shop.answers_with(b"", status=status))


def test_no_secret_stands_in_a_representation(shop):
    token = ask(shop.answers_with(PAIR))
    assert TOKEN not in repr(token)
    assert "shprt" not in repr(token)
    assert "very-secret" not in repr(APP)


# --- the other grants ------------------------------------------------------------------------------------------------

PAIR = GRANT | {"expires_in": 3600, "refresh_token": "shprt_1", "refresh_token_expires_in": 7776000}
CLIENT = {"client_id": "id", "client_secret": "very-secret"}


def test_a_code_is_exchanged_for_an_expiring_token_and_what_refreshes_it(shop):
    before = datetime.now(UTC)
    token = authorization_code_token(SHOP, APP, "the-code", origin=shop.answers_with(PAIR).origin)
    assert shop.requests[0].body == CLIENT | {"code": "the-code", "expiring": 1}
    assert (token.token, token.refresh_token) == (TOKEN, "shprt_1")
    assert before + timedelta(days=90) <= token.refresh_token_expires_at <= datetime.now(UTC) + timedelta(days=90)


def test_a_token_is_refreshed_with_its_refresh_token(shop):
    token = refreshed_token(SHOP, APP, "shprt_0", origin=shop.answers_with(PAIR).origin)
    assert shop.requests[0].body == CLIENT | {"grant_type": "refresh_token", "refresh_token": "shprt_0"}
    assert token.refresh_token == "shprt_1"


def test_a_session_token_is_exchanged_for_an_offline_one(shop):
    session_token_exchange(SHOP, APP, "a.b.c", origin=shop.answers_with(PAIR).origin)
    assert shop.requests[0].body == CLIENT | {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "a.b.c",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "requested_token_type": "urn:shopify:params:oauth:token-type:offline-access-token",
        "expiring": 1,
    }


ROTATED = App("id", ("new-secret", "old-secret"))


def test_a_token_of_the_former_secret_is_refreshed_with_that(shop):
    refused = lambda handler: handler.send({"error": "invalid_request"}, 401, {})  # noqa: E731
    granted = lambda handler: handler.send(PAIR, 200, {})  # noqa: E731
    refreshed_token(SHOP, ROTATED, "shprt_0", origin=shop.answers_with(refused, granted).origin)
    assert [request.body["client_secret"] for request in shop.requests] == ["new-secret", "old-secret"]


def test_a_dead_token_is_told_from_a_secret_that_is_not_accepted(shop):
    dead = lambda handler: handler.send({"error": "invalid_request"}, 401, {})  # noqa: E731
    unknown = lambda handler: handler.send({"error": "invalid_client"}, 401, {})  # noqa: E731
    for answers in ((dead, unknown), (unknown, dead)):
        shop.requests.clear()
        with pytest.raises(Unauthorized, match=r"refresh token .*invalid_request") as refusal:
            refreshed_token(SHOP, ROTATED, "shprt_0", origin=shop.answers_with(*answers).origin)
        assert not isinstance(refusal.value, InvalidClient)
    with pytest.raises(InvalidClient):
        refreshed_token(SHOP, ROTATED, "shprt_0", origin=shop.answers_with(unknown).origin)


def test_when_the_answer_may_be_lost_no_other_secret_is_tried(shop):
    with pytest.raises(ShopUnavailable):
        refreshed_token(SHOP, ROTATED, "shprt_0", origin=shop.answers_with(b"", status=502).origin)
    assert len(shop.requests) == 1
