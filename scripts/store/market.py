"""All shops of the simulation: which there are, what they are made from, and where they are kept."""

import json
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from . import clock
from .cdnow import Cdnow
from .deliveries import Delivery
from .generator import Generated
from .shop import READ_SCOPES, Shop, ShopSettings, Source

CDNOW_DOMAIN = "cdnow.myshopify.com"
NORDWIND_DOMAIN = "nordwind.myshopify.com"


class Market:
    """The shops in ``directory``; ``shops.json`` there holds their settings, one journal each what changed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.RLock()
        self._shops: dict[str, Shop] = {}
        directory.mkdir(parents=True, exist_ok=True)
        for settings in self._stored():
            self._open(settings)

    def _stored(self) -> list[ShopSettings]:
        path = self.directory / "shops.json"
        return [ShopSettings(**stored) for stored in json.loads(path.read_text())] if path.exists() else []

    def save(self) -> None:
        """Write the settings of all shops in one step."""
        with self._lock:
            fresh = self.directory / "shops.json.new"
            text = json.dumps([asdict(shop.settings) for shop in self._shops.values()], indent=1)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.directory / "shops.json")

    def _open(self, settings: ShopSettings) -> Shop:
        shop = Shop(settings, source_of(settings), self.directory)
        self._shops[settings.domain] = shop
        return shop

    def __iter__(self) -> Iterator[Shop]:
        return iter(list(self._shops.values()))

    def get(self, domain: str) -> Shop | None:
        return self._shops.get(domain.lower())

    def add(self, domain: str, **chosen: Any) -> Shop:
        """A new shop. Raises ValueError when the domain is taken or a setting makes no sense."""
        with self._lock:
            if domain in self._shops:
                raise ValueError(f"{domain} is there already")
            shop = self._open(new_settings(domain, **chosen))
            self.save()
            return shop

    def add_demo(self, *, seed: int) -> None:
        """The two shops of the demonstration, unless they are there."""
        if NORDWIND_DOMAIN not in self._shops:
            self.add(
                NORDWIND_DOMAIN,
                seed=seed,
                orders=6_000,
                customers=2_200,
                products=240,
                currency="EUR",
                presentment_currency="USD",
                timezone="Europe/Berlin",
            )
        if CDNOW_DOMAIN not in self._shops:
            self.add(CDNOW_DOMAIN, name="CDNOW", kind="cdnow", timezone="America/New_York", is_live=False)

    def token_for(self, shop: Shop, *, seconds: int) -> str:
        """A new access token that is good for so long."""
        token = f"shpat_{secrets.token_hex(16)}"
        with self._lock:
            now = clock.now()
            held = {known: expiry for known, expiry in shop.settings.tokens.items() if expiry is None or expiry > now}
            shop.settings.tokens = {**held, token: now + seconds * clock.SECOND}
            self.save()
        return token

    def drop_subscription(self, delivery: Delivery) -> None:
        """A delivery was given up: a subscription made through the API is deleted, as Shopify does."""
        shop = self.get(delivery.shop_domain)
        if shop and delivery.subscription_id:
            shop.keep_subscription(delivery.subscription_id, None)

    def replace_token(self, shop: Shop) -> str:
        """A token that never expires; those before it stay good until they are revoked."""
        token = f"shpat_{secrets.token_hex(16)}"
        with self._lock:
            shop.settings.access_token = token
            shop.settings.tokens = {**shop.settings.tokens, token: None}
            self.save()
        return token

    def revoke_tokens(self, shop: Shop, *, keep_refresh: bool = False) -> int:
        """Every access token of the shop is dead from now on, and what refreshes it, unless that is kept. Returns how many."""
        with self._lock:
            count = len(shop.settings.tokens)
            shop.settings.tokens = {}
            if not keep_refresh:
                shop.settings.refresh_tokens = {}
            self.save()
        return count

    def close(self) -> None:
        for shop in self:
            shop.bulk.close()
            shop.journal.close()


def source_of(settings: ShopSettings) -> Source:
    """The base of a shop, the same for the same settings."""
    if settings.kind == "generated":
        return Generated(settings)
    anchor = date.fromisoformat(clock.local_day(settings.anchor, settings.timezone))
    return Cdnow(settings.domain, timezone=settings.timezone, anchor=anchor - timedelta(days=1))


def new_settings(
    domain: str,
    *,
    name: str | None = None,
    kind: str = "generated",
    currency: str = "USD",
    timezone: str = "America/New_York",
    plan: str = "Plus",
    **chosen: Any,
) -> ShopSettings:
    token = f"shpat_{secrets.token_hex(16)}"
    ZoneInfo(timezone)
    return ShopSettings(
        domain=domain,
        name=name or domain.partition(".")[0].replace("-", " ").title(),
        kind=kind,
        currency=currency,
        timezone=timezone,
        plan=plan,
        anchor=chosen.pop("anchor", None) or clock.now(),
        client_id=secrets.token_hex(16),
        client_secret=f"shpss_{secrets.token_hex(16)}",
        webhook_secret=f"shpss_{secrets.token_hex(16)}",
        access_token=token,
        tokens={token: None},
        scopes=list(chosen.pop("scopes", None) or READ_SCOPES),
        **chosen,
    )
