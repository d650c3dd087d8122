"""The shops of the simulated Shopify become tenants, through the API, as a person would do it."""

from http import HTTPStatus
from typing import Any

from scripts.api import Api, ApiError, loopback_session
from scripts.installation import Installation, Shop


def store_shops(control_url: str) -> list[dict[str, Any]]:
    """What the simulated Shopify says of its shops: ``shopDomain``, ``accessToken``, ``webhookSecret``, ``name``."""
    with loopback_session() as session:
        answer = session.get(f"{control_url}/shops", timeout=10)
    answer.raise_for_status()
    shops = answer.json()
    return list(shops["shops"] if isinstance(shops, dict) else shops)


def onboard(api: Api, installation: Installation, shops: list[dict[str, Any]]) -> list[Shop]:
    """Make every shop a tenant with these credentials, keeping those that are. Returns them in the store's order."""
    tenants = api.tenants()
    known = {shop.shop_domain: shop for shop in installation.shops}
    onboarded = []
    for shop in shops:
        onboarded.append(_onboard(api, shop, tenants, known.get(shop["shopDomain"])))
        # After each: a token is shown only once.
        installation.shops = [*onboarded, *(kept for kept in known.values() if kept not in onboarded)]
    return onboarded


def _onboard(api: Api, shop: dict[str, Any], tenants: dict[str, str], known: Shop | None) -> Shop:
    domain, access_token, webhook_secret = shop["shopDomain"], shop["accessToken"], shop["webhookSecret"]
    credentials = {"accessToken": access_token, "webhookSecret": webhook_secret}
    tenant_id = tenants.get(domain)
    if tenant_id is None:
        created = api.post("/api/tenants", {"shopDomain": domain, **credentials})
        api_token, sync_id = created["apiToken"], created["syncId"]
    elif known is not None and (known.access_token, known.webhook_secret) == (access_token, webhook_secret):
        return known
    else:
        # A killed start did not write the token down, or the store was made anew: a new token and the store's credentials.
        api.patch(f"/api/tenants/{tenant_id}", credentials)
        api_token = api.post(f"/api/tenants/{tenant_id}/token", {})["apiToken"]
        sync_id = known.sync_id if known is not None else _latest_sync(api, domain)
    return Shop(
        shop_domain=domain,
        api_token=api_token,
        webhook_secret=webhook_secret,
        access_token=access_token,
        sync_id=sync_id,
    )


def _latest_sync(api: Api, domain: str) -> str | None:
    try:
        runs = api.get("/api/sync-status", shop=domain, limit=1)["runs"]
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    return runs[0]["id"] if runs else None
