"""Installing as an app: the way to Shopify's page of consent, the way back, and what an embedded app's page may ask for.

Who comes through here proves to Shopify that the shop is theirs, and is given no token of ours: the administrator hands out
the shop's API token, with POST /api/tenants/{id}/token.
"""

import logging
from collections.abc import Callable
from typing import Any

from flask import Response, redirect, request
from flask_openapi3.blueprint import APIBlueprint

import settings
import tasks.credentials
import tasks.sync
from app import oauth_state, schemas
from app.directory import directory
from app.problems import Refusal, documented, unavailable
from models import tenants
from models.columns import now
from models.database import transaction
from models.tenants import ShopAlreadyExists, Tenant, TenantStatus
from shopify import install, oauth, scopes
from shopify.errors import InvalidClient, RunawayStop, ShopUnavailable, Throttled, Unauthorized
from shopify.install import BadSignature, CallbackRefused
from shopify.oauth import AccessToken, App
from shopify.session_tokens import SessionTokenRefused, shop_of
from tasks.tokens import our_app

logger = logging.getLogger(__name__)

INSTALLED = (
    "The app is installed, and the history of your shop is being read.\n"
    "Whoever runs this Shopstream gives you the API token that shows its figures.\n"
)

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def _parameters(*names: str) -> dict[str, Any]:
    return {
        "parameters": [{"name": name, "in": "query", "required": True, "schema": {"type": "string"}} for name in names]
    }


blueprint = APIBlueprint("oauth", __name__, url_prefix=oauth_state.PATH, abp_responses=documented(400, 404, 503))


@blueprint.get(
    "/install",
    responses={302: {"description": "To Shopify's page of consent."}},
    openapi_extensions=_parameters("shop"),
    security=[],
)
def begin() -> Response:
    """Install the app in a shop: leads to Shopify's page of consent, which leads back to the callback."""
    app, public_url = _configured()
    named = request.args.getlist("shop")
    shop = install.shop_domain(named[0]) if len(named) == 1 else None
    if shop is None:
        raise Refusal(400, "shop: name one shop, such as ?shop=my-store.myshopify.com")
    state = oauth_state.new_state()
    address = install.authorize_url(
        shop,
        client_id=app.client_id,
        scopes=scopes.wanted(),
        redirect_uri=f"{public_url}{oauth_state.PATH}/callback",
        state=state,
        origin=settings.load().shopify_api_origin,
    )
    response = _redirect(address)
    oauth_state.begin(response, shop, state)
    return response


@blueprint.get(
    "/callback",
    responses={302: {"description": "To a page of ours that says so."}, **documented(401, 403)},
    openapi_extensions=_parameters("code", "hmac", "shop", "state", "timestamp"),
    security=[],
)
def finish() -> Response:
    """Where Shopify leads the browser back to. The shop is onboarded, or its credentials are replaced."""
    app, public_url = _configured()
    try:
        callback = install.read_callback(request.query_string, app.secrets, at=now())
    except CallbackRefused as refusal:
        raise Refusal(401 if isinstance(refusal, BadSignature) else 400, str(refusal)) from None
    if not oauth_state.is_own(callback.shop_domain, callback.state):
        begin_again = f"{public_url}{oauth_state.PATH}/install?shop={callback.shop_domain}"
        raise Refusal(403, f"this browser did not begin here, or too long ago; please begin again: {begin_again}")
    origin = settings.load().shopify_api_origin
    granted = _granted(lambda: oauth.authorization_code_token(callback.shop_domain, app, callback.code, origin=origin))
    _onboard(callback.shop_domain, granted)
    return _redirect(f"{public_url}{oauth_state.PATH}/installed")  # away from an address that holds a code


@blueprint.get("/installed", responses={200: {"description": "What comes next.", **_TEXT}}, security=[])
def installed() -> Response:
    """What the merchant reads in the end. It is the same for every shop."""
    return Response(INSTALLED, mimetype="text/plain")


@blueprint.post(
    "/token-exchange",
    responses={200: schemas.TenantInstalled, **documented(401, 403, 415)},
    security=[{"sessionToken": []}],
)
def exchange() -> schemas.TenantInstalled:
    """Onboard the shop in whose admin the page of an embedded app runs, by its session token.

    May be repeated with every page: a shop whose credentials work is left alone.
    """
    app, _ = _configured()
    given = request.authorization
    token = given.token if given is not None and given.type == "bearer" else None
    try:
        shop = shop_of(token or "", app, at=now())
    except SessionTokenRefused as refusal:
        raise Refusal(401, str(refusal), headers={"WWW-Authenticate": 'Bearer realm="Shopstream"'}) from None
    tenant = _working(shop)
    if tenant is None:
        origin = settings.load().shopify_api_origin
        tenant = _onboard(shop, _granted(lambda: oauth.session_token_exchange(shop, app, token or "", origin=origin)))
    return schemas.TenantInstalled(id=tenant.id, shop_domain=tenant.shop_domain)


def _configured() -> tuple[App, str]:
    """The app and our own address. Raises Refusal when there is none to install."""
    app, public_url = our_app(), settings.load().public_url
    if app is None or public_url is None:
        raise Refusal(
            404, "there is no app to install: PUBLIC_URL, SHOPIFY_API_KEY and SHOPIFY_API_SECRET are to be set"
        )
    return app, public_url


def _redirect(address: str) -> Response:
    response = redirect(address)
    assert isinstance(response, Response)
    response.set_data(b"")  # Werkzeug's page repeats the address, which may hold a state
    return response


def _granted(grant: Callable[[], AccessToken]) -> AccessToken:
    """Raises Refusal."""
    try:
        return grant()
    except InvalidClient:
        logger.error("Shopify does not accept SHOPIFY_API_KEY and SHOPIFY_API_SECRET")  # noqa: TRY400  no news in a trace
        raise Refusal(
            503, "Shopify does not accept this app's own id and secret; its operator has to mend that"
        ) from None
    except Unauthorized:
        raise Refusal(
            400, "Shopify refuses what was given: it was used before, or too late; please begin again"
        ) from None
    except (Throttled, RunawayStop, ShopUnavailable) as error:
        logger.warning("no token was granted: %s", error)
        raise unavailable("Shopify does not answer now") from None


def _working(shop_domain: str) -> Tenant | None:
    """The tenant, if it has credentials that work and show all that is wanted."""
    with transaction() as session:
        tenant = tenants.of_domain(session, shop_domain)
    if tenant is None or tenant.status == TenantStatus.UNINSTALLED or tenant.unauthorized_since is not None:
        return None
    return None if scopes.missing(tenant.scopes, scopes.wanted()) else tenant


def _onboard(shop_domain: str, granted: AccessToken) -> Tenant:
    """A tenant of the shop with what Shopify granted: a new one with its first sync, or the known one.

    Raises Refusal when that is not all that is wanted. No new tenant is made then; a known one keeps what was granted,
    since Shopify may have ended what it had before.
    """
    missing = scopes.missing(granted.scopes, scopes.wanted())
    tenant = _of_known_shop(shop_domain, granted)
    if tenant is None and not missing:  # and known after all when two come at once
        tenant = _of_new_shop(shop_domain, granted) or _of_known_shop(shop_domain, granted)
    if tenant is not None:
        directory.remember(tenant)
    if missing:
        told = f"the shop did not grant all that is needed; missing: {', '.join(missing)}"
        raise Refusal(403, told, missingScopes=missing)
    if tenant is None:
        raise unavailable("the shop is leaving")
    logger.info("%s installed the app", shop_domain)
    return tenant


def _of_new_shop(shop_domain: str, granted: AccessToken) -> Tenant | None:
    """None when the shop is known."""
    try:
        with transaction() as session:
            tenant, _ = tenants.create(session, shop_domain=shop_domain)
            tasks.credentials.set_granted(tenant, granted)
            tasks.sync.begin_first(session, tenant)
            return tenant
    except ShopAlreadyExists:
        return None


def _of_known_shop(shop_domain: str, granted: AccessToken) -> Tenant | None:
    """None when the shop is not known."""
    with transaction() as session:
        known = tenants.of_domain(session, shop_domain)
        tenant = None if known is None else tenants.get(session, known.id, for_update=True)
        if tenant is None or tenant.status == TenantStatus.ERASING:
            return None
        tasks.credentials.install(session, tenant, granted)
        return tenant
