"""Shop, its plan, the app and its access scopes."""

# ruff: noqa: ARG001, ARG005 - every field is called alike, whether it needs the run or not

from typing import Any

from scripts.store import clock
from scripts.store.run import Run
from scripts.store.shop import Shop

PLAN_NAMES = {"Standard": "Basic", "Advanced": "Advanced", "Plus": "Shopify Plus", "Enterprise": "Enterprise"}
VERSIONS = ("2026-10", "2026-07", "2026-04", "2026-01")


def offset(shop: Shop, run: Run) -> str:
    """``+0100``."""
    return (clock.local(clock.now(), shop.settings.timezone) or "")[19:].replace(":", "")


def offset_minutes(shop: Shop, run: Run) -> int:
    text = offset(shop, run)
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    return -minutes if text[0] == "-" else minutes


def presentment_currencies(shop: Shop, run: Run) -> list[str]:
    settings = shop.settings
    return [settings.currency] + ([settings.presentment_currency] if settings.presentment_currency else [])


PLAIN = {
    "Shop": {
        "id": "f'gid://shopify/Shop/{o.id}'",
        "name": "o.settings.name",
        "myshopifyDomain": "o.domain",
        "email": "f'owner@{o.domain}'",
        "contactEmail": "f'hello@{o.domain}'",
        "currencyCode": "o.settings.currency",
        "ianaTimezone": "o.settings.timezone",
        "timezoneAbbreviation": "o.settings.timezone.rpartition('/')[2]",
        "taxesIncluded": "False",
        "createdAt": "utc(o.settings.anchor - 5 * 365 * 86_400_000_000)",
        "updatedAt": "utc(o.settings.anchor)",
        "url": "f'https://{o.domain}'",
        "plan": "o",
        "weightUnit": "'KILOGRAMS'",
        "shopOwnerName": "'Alex Owner'",
        "setupRequired": "False",
        "checkoutApiSupported": "True",
    },
    "ShopPlan": {"shopifyPlus": "o.settings.plan == 'Plus'", "partnerDevelopment": "False"},
    "AccessScope": {"handle": "o", "description": "f'Allows {o}'"},
    "App": {
        "id": "f'gid://shopify/App/{o.id}'",
        "title": "'Shopstream'",
        "apiKey": "o.settings.client_id",
        "handle": "'shopstream'",
    },
    "AppInstallation": {
        "id": "f'gid://shopify/AppInstallation/{o.id}'",
        "accessScopes": "o.settings.scopes",
        "app": "o",
        "launchUrl": "f'https://{o.domain}/admin/apps/shopstream'",
    },
    "ApiVersion": {"handle": "o", "displayName": "o", "supported": "True"},
}

CALLS: dict[str, dict[str, Any]] = {
    "QueryRoot": {
        "shop": lambda _, run: run.shop,
        "app": lambda _, run: run.shop,
        "currentAppInstallation": lambda _, run: run.shop,
        "publicApiVersions": lambda _, run: VERSIONS,
    },
    "Shop": {
        "timezoneOffset": offset,
        "timezoneOffsetMinutes": offset_minutes,
        "enabledPresentmentCurrencies": presentment_currencies,
    },
    "ShopPlan": {
        "displayName": lambda shop, run: PLAN_NAMES[shop.settings.plan],
        "publicDisplayName": lambda shop, run: PLAN_NAMES[shop.settings.plan],
    },
}
TYPES = {Shop: "Shop"}
