"""The simulated OAuth endpoint: rotation as the platform's, codes good once, secrets that pin."""

from urllib.parse import parse_qs, urlsplit

import requests

from scripts.store.oauth import ID_TOKEN, OFFLINE, TOKEN_EXCHANGE, session_token, signature
from scripts.store.shop import Shop
from tests.store.conftest import Store


def ask(store: Store, shop: Shop, **given: object) -> requests.Response:
    client = {"client_id": shop.settings.client_id, "client_secret": shop.settings.client_secret}
    url = f"{store.url}/{shop.domain}/admin/oauth/access_token"
    return store.session.post(url, json=client | given, timeout=10)


def consent(store: Store, shop: Shop) -> dict[str, str]:
    query = {
        "client_id": shop.settings.client_id,
        "scope": "read_orders,x",
        "redirect_uri": "https://a/b",
        "state": "s",
    }
    url = f"{store.url}/{shop.domain}/admin/oauth/authorize"
    answer = store.session.get(url, params=query, allow_redirects=False, timeout=10)
    assert answer.status_code == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def refresh(store: Store, shop: Shop, token: str, **given: object) -> requests.Response:
    return ask(store, shop, grant_type="refresh_token", refresh_token=token, **given)


def works(store: Store, shop: Shop, token: str) -> bool:
    return store.post(shop, "{shop{id}}", token=token).status_code == 200


def test_consent_leads_back_signed_and_its_code_is_good_once(store: Store, shop: Shop):
    back = consent(store, shop)
    unsigned = {name: value for name, value in back.items() if name != "hmac"}
    assert back["hmac"] == signature(unsigned, shop.settings.client_secret)
    assert (back["state"], back["shop"]) == ("s", shop.domain)
    granted = ask(store, shop, code=back["code"]).json()
    assert granted.keys() == {"access_token", "scope"}
    assert granted["scope"] == "read_orders"
    assert works(store, shop, granted["access_token"])
    assert ask(store, shop, code=back["code"]).status_code == 400


def test_a_refresh_token_works_until_its_replacement_is_used(store: Store, shop: Shop):
    first = ask(store, shop, code=consent(store, shop)["code"], expiring=1).json()
    assert (first["expires_in"], first["refresh_token_expires_in"]) == (3600, 7776000)
    lost = refresh(store, shop, first["refresh_token"]).json()
    assert not works(store, shop, first["access_token"])
    second = refresh(store, shop, first["refresh_token"]).json()
    assert refresh(store, shop, lost["refresh_token"]).status_code == 401
    assert not works(store, shop, lost["access_token"])
    third = refresh(store, shop, second["refresh_token"]).json()
    assert works(store, shop, third["access_token"])
    refused = refresh(store, shop, first["refresh_token"])
    assert (refused.status_code, refused.json()) == (401, {"error": "invalid_request"})


def test_a_refresh_token_is_pinned_to_the_secret_that_minted_it(store: Store, shop: Shop):
    first = ask(store, shop, code=consent(store, shop)["code"], expiring=1).json()
    former = shop.settings.client_secret
    store.control("PATCH", f"/shops/{shop.domain}", {"clientSecrets": ["new", former]})
    assert refresh(store, shop, first["refresh_token"]).status_code == 401
    assert refresh(store, shop, first["refresh_token"], client_secret=former).status_code == 200
    assert refresh(store, shop, first["refresh_token"], client_secret="another").status_code == 400


def test_a_session_token_is_exchanged(store: Store, shop: Shop):
    kinds = {"grant_type": TOKEN_EXCHANGE, "subject_token_type": ID_TOKEN, "requested_token_type": OFFLINE}
    granted = ask(store, shop, **kinds, subject_token=session_token(shop))
    assert works(store, shop, granted.json()["access_token"])
    for token in ("nonsense", session_token(shop, exp=1), session_token(shop, dest="https://other.myshopify.com")):
        refused = ask(store, shop, **kinds, subject_token=token)
        assert (refused.status_code, refused.json()) == (400, {"error": "invalid_subject_token"})
