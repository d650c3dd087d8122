"""The control endpoints: what the store holds, and what shall happen to it. README.md lists them."""

import base64
import re
from collections.abc import Callable
from typing import Any

from . import truth
from .actions import Actions, NotThere
from .bulk.downloads import Downloads
from .bulk.operations import BulkOperation, Pace
from .changes import ChangeRefused
from .deeds import perform_all
from .deliveries import Delivery, Policy
from .identity import parse_gid
from .market import Market
from .oauth import OAuth, session_token
from .outbox import Outbox
from .payloads import customer_payload, order_payload, product_payload
from .shop import Shop
from .traffic import Traffic

Query = dict[str, str]
Body = dict[str, Any]
Route = Callable[[re.Match[str], Query, Body], Any]
DOMAIN = re.compile(r"[a-z0-9][a-z0-9-]*\.myshopify\.com\Z")
#: What POST /control/shops takes, by the name of the setting.
CHOICES = {
    "name": "name",
    "seed": "seed",
    "orders": "orders",
    "customers": "customers",
    "products": "products",
    "days": "days",
    "plan": "plan",
    "currency": "currency",
    "presentmentCurrency": "presentment_currency",
    "timezone": "timezone",
    "scopes": "scopes",
    "isLive": "is_live",
}


#: What PATCH /control/shops/{shop} takes.
CHANGES = {
    *("faults", "oauthFaults", "plan", "restoreRate", "bucketSize", "scopes", "isLive", "webhookSecret"),
    *("clientId", "clientSecrets"),
}


class ControlError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    def __init__(self, market: Market, outbox: Outbox, traffic: Traffic) -> None:
        self.market = market
        self.outbox = outbox
        self.sender = outbox.sender
        self.traffic = traffic
        self.downloads = Downloads()
        self.oauth = OAuth(market)
        self._routes: list[tuple[str, re.Pattern[str], Route]] = [
            (method, re.compile(pattern.replace("{shop}", r"(?P<shop>[^/]+)") + r"\Z"), route)
            for method, pattern, route in self._table()
        ]

    def _table(self) -> list[tuple[str, str, Route]]:
        return [
            ("GET", "/control/health", lambda *_: {"status": "ok"}),
            ("GET", "/control/shops", lambda *_: [describe(shop) for shop in self.market]),
            ("POST", "/control/shops", self._create),
            ("GET", "/control/shops/{shop}", self._show),
            ("PATCH", "/control/shops/{shop}", self._change),
            ("POST", "/control/shops/{shop}/actions", self._act),
            ("GET", "/control/shops/{shop}/payload", self._payload),
            ("POST", "/control/shops/{shop}/tokens", lambda match, *_: self._token(match)),
            ("DELETE", "/control/shops/{shop}/tokens", lambda match, query, _: self._revoke(match, query)),
            ("GET", "/control/shops/{shop}/requests", lambda match, *_: self._requests(match)),
            ("POST", "/control/shops/{shop}/session-tokens", self._session_token),
            ("GET", "/control/shops/{shop}/bulk", lambda match, *_: self._bulk(self._shop(match))),
            ("PATCH", "/control/shops/{shop}/bulk", self._change_bulk),
            ("DELETE", "/control/shops/{shop}/bulk", lambda match, *_: {"forgotten": self._shop(match).bulk.forget()}),
            ("POST", "/control/shops/{shop}/bulk/release", self._release),
            ("POST", "/control/shops/{shop}/bulk/expire", self._expire),
            ("GET", "/control/webhooks", lambda *_: self._webhooks()),
            ("PATCH", "/control/webhooks", self._change_webhooks),
            ("DELETE", "/control/webhooks", lambda *_: {"lost": self.sender.clear()}),
            ("POST", "/control/webhooks/flush", self._flush),
        ]

    def answer(self, method: str, path: str, query: Query, body: Body) -> Any:
        """The JSON of the answer. Raises ControlError, or ValueError, KeyError and TypeError for a bad request."""
        is_known = False
        for verb, pattern, route in self._routes:
            match = pattern.match(path)
            if match and verb == method:
                return route(match, query, body)
            is_known = is_known or bool(match)
        raise ControlError(405 if is_known else 404, f"no {method} {path}")

    def _shop(self, match: re.Match[str]) -> Shop:
        shop = self.market.get(match["shop"])
        if shop is None:
            raise ControlError(404, f"no shop {match['shop']}")
        return shop

    # Shops

    def _create(self, _: re.Match[str], __: Query, body: Body) -> Any:
        unknown = set(body) - set(CHOICES) - {"domain"}
        if unknown:
            raise ControlError(400, f"unknown: {', '.join(sorted(unknown))}")
        chosen = {CHOICES[name]: value for name, value in body.items() if name in CHOICES}
        chosen = {"orders": 1000, "customers": 400, "products": 100, **chosen}
        domain = str(body.get("domain") or f"shop-{chosen.get('seed', 1)}.myshopify.com").lower()
        if not DOMAIN.match(domain):
            raise ControlError(400, f"{domain} is no shop's domain")
        if self.market.get(domain):
            raise ControlError(409, f"{domain} is there already")
        return describe(self.market.add(domain, **chosen))

    def _show(self, match: re.Match[str], query: Query, _: Body) -> Any:
        shop = self._shop(match)
        answer = {**describe(shop), **truth.truth(shop), "budget": shop.bucket().spending()}
        answer["topCustomers"] = truth.top_customers(shop, int(query.get("topcustomers", "5")))
        if "ids" in query:
            answer["ids"] = truth.digest(shop, query["ids"])
        return answer

    def _change(self, match: re.Match[str], _: Query, body: Body) -> Any:
        shop = self._shop(match)
        settings = shop.settings
        unknown = set(body) - CHANGES
        if unknown:
            raise ControlError(400, f"unknown: {', '.join(sorted(unknown))}")
        for name, faults in (("faults", shop.faults), ("oauthFaults", shop.oauth_faults)):
            if name in body:
                faults.clear() if body[name] is None else faults.configure(body[name])
        if "clientId" in body:
            settings.client_id = str(body["clientId"])
        if "clientSecrets" in body:
            settings.client_secret, *settings.former_secrets = map(str, body["clientSecrets"])
        if {"plan", "restoreRate", "bucketSize"} & set(body):
            rate, size = body.get("restoreRate"), body.get("bucketSize")
            shop.set_plan(body.get("plan", settings.plan), restore_rate=rate, bucket_size=size)
        settings.scopes = list(body.get("scopes", settings.scopes))
        settings.is_live = bool(body.get("isLive", settings.is_live))
        settings.webhook_secret = str(body.get("webhookSecret", settings.webhook_secret))
        self.market.save()
        return describe(shop)

    def _token(self, match: re.Match[str]) -> Any:
        """A token that never expires, in place of the one that /control/shops shows."""
        shop = self._shop(match)
        return {"accessToken": self.market.replace_token(shop)}

    def _revoke(self, match: re.Match[str], query: Query) -> Any:
        """Every token is dead from now on; with ``?keep=refresh`` a new one can be had."""
        return {"revoked": self.market.revoke_tokens(self._shop(match), keep_refresh=query.get("keep") == "refresh")}

    def _requests(self, match: re.Match[str]) -> Any:
        """How often the shop was asked: for tokens by grant, ``admin`` with a good token, ``refused`` with a bad one."""
        return dict(self.oauth.asked.get(self._shop(match).domain, {}))

    def _session_token(self, match: re.Match[str], _: Query, body: Body) -> Any:
        """What the page of an embedded app would have; ``body`` are claims in place of the true ones."""
        return {"sessionToken": session_token(self._shop(match), **body)}

    # What happens in a shop

    def _act(self, match: re.Match[str], _: Query, body: Body) -> Any:
        """``{"actions": [...], "sameSecond": false, "webhooks": "send" | "none" | "return"}``, or a single action."""
        shop = self._shop(match)
        deeds = body.get("actions") or [body]
        wanted = body.get("webhooks", "send")
        if wanted not in {"send", "none", "return"}:
            raise ControlError(400, "webhooks is send, none or return")
        kept = Keeper()
        outbox = self.outbox if wanted == "send" else Outbox(kept, "http://127.0.0.1/")
        outbox.disorder = self.outbox.disorder
        actions = Actions(shop, outbox, send=wanted != "none")
        own = [{name: value for name, value in deed.items() if name != "webhooks"} for deed in deeds]
        try:
            done = perform_all(actions, own, is_same_second=bool(body.get("sameSecond")))
        except NotThere as problem:
            raise ControlError(404, str(problem)) from problem
        except ChangeRefused as problem:
            raise ControlError(409, str(problem)) from problem
        answer = {"done": done, "webhooksQueued": actions.sent}
        if wanted == "return":
            answer["webhooks"] = [told(delivery) for delivery in kept.deliveries]
        return answer

    def _payload(self, match: re.Match[str], query: Query, _: Body) -> Any:
        """The webhook payload of a record as it is now: ``?kind=orders&id=123``."""
        shop = self._shop(match)
        parsed = parse_gid(query["id"])
        record = truth.tables(shop)[query["kind"]].get(parsed[1] if parsed else int(query["id"]))
        if record is None:
            raise ControlError(404, f"no {query['id']} among {query['kind']}")
        make: Any = {"orders": order_payload, "customers": customer_payload, "products": product_payload}[query["kind"]]
        return make(shop, record)

    # Bulk operations

    def _bulk(self, shop: Shop) -> Any:
        pace, gate = shop.bulk.pace, shop.bulk.gate
        return {
            "createdSeconds": pace.created_seconds,
            "linesPerSecond": pace.lines_per_second,
            "ungroupedRoots": pace.ungrouped_roots,
            "operations": [
                {
                    "id": operation.gid,
                    "status": operation.status,
                    "lines": operation.object_count,
                    "rootLines": operation.root_object_count,
                    "fileSize": operation.file_size,
                    "isHeld": gate.holds(operation),
                }
                for operation in shop.bulk.all()
            ],
            "downloads": [
                {
                    "id": sent.operation.gid,
                    "status": sent.status,
                    "start": sent.start,
                    "bytes": sent.bytes,
                    "lines": sent.lines,
                    "hasToken": sent.has_token,
                    "faults": sent.faults,
                    "isHeld": gate.holds(sent),
                }
                for sent in self.downloads.of(shop)
            ],
        }

    def _change_bulk(self, match: re.Match[str], _: Query, body: Body) -> Any:
        shop = self._shop(match)
        unknown = set(body) - {"createdSeconds", "linesPerSecond", "ungroupedRoots"}
        if unknown:
            raise ControlError(400, f"unknown: {', '.join(sorted(unknown))}")
        pace = shop.bulk.pace
        shop.bulk.pace = Pace(
            created_seconds=float(body.get("createdSeconds", pace.created_seconds)),
            lines_per_second=float(body.get("linesPerSecond", pace.lines_per_second)),
            ungrouped_roots=max(1, int(body.get("ungroupedRoots", pace.ungrouped_roots))),
        )
        return self._bulk(shop)

    def _release(self, match: re.Match[str], _: Query, body: Body) -> Any:
        """Let held operations and downloads go on: to their end, or with ``lines`` by so many lines."""
        lines = body.get("lines")
        return {"released": self._shop(match).bulk.gate.release(None if lines is None else max(1, int(lines)))}

    def _expire(self, match: re.Match[str], _: Query, body: Body) -> Any:
        """The links of ended operations, or of the one with ``id``, expire now."""
        shop = self._shop(match)
        operation: BulkOperation | None = None
        if "id" in body:
            operation = shop.bulk.get((parse_gid(str(body["id"])) or ("", 0))[1])
            if operation is None:
                raise ControlError(404, f"no {body['id']}")
        return {"expired": shop.bulk.expire_links(operation)}

    # Webhooks

    def _webhooks(self) -> Any:
        return {
            **self.sender.describe(),
            "webhooksPerSecond": self.traffic.rate,
            "url": self.outbox.default_url,
            "retries": self.sender.policy.retries,
            "firstPauseSeconds": self.sender.policy.first_pause,
            "longestPauseSeconds": self.sender.policy.longest_pause,
            "giveUp": self.sender.policy.give_up,
            "twicePermille": self.outbox.disorder.twice_permille,
            "latePermille": self.outbox.disorder.late_permille,
            "lateSeconds": self.outbox.disorder.late_seconds,
        }

    def _change_webhooks(self, _: re.Match[str], __: Query, body: Body) -> Any:
        policy, disorder = self.sender.policy, self.outbox.disorder
        if "webhooksPerSecond" in body:
            self.traffic.set_rate(float(body["webhooksPerSecond"]))
        self.outbox.default_url = body.get("url", self.outbox.default_url)
        self.sender.policy = Policy(
            retries=int(body.get("retries", policy.retries)),
            first_pause=float(body.get("firstPauseSeconds", policy.first_pause)),
            longest_pause=float(body.get("longestPauseSeconds", policy.longest_pause)),
            give_up=bool(body.get("giveUp", policy.give_up)),
        )
        disorder.twice_permille = int(body.get("twicePermille", disorder.twice_permille))
        disorder.late_permille = int(body.get("latePermille", disorder.late_permille))
        disorder.late_seconds = float(body.get("lateSeconds", disorder.late_seconds))
        if "paused" in body:
            self.sender.pause(is_paused=bool(body["paused"]))
        return self._webhooks()

    def _flush(self, _: re.Match[str], query: Query, __: Body) -> Any:
        """Wait until nothing is pending, at most ``?timeout=`` seconds (30)."""
        is_flushed = self.sender.flush(float(query.get("timeout", "30")))
        return {"flushed": is_flushed, **self.sender.describe()}


class Keeper:
    """Takes the place of the sender where webhooks are returned instead of sent."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def send(self, delivery: Delivery, *, delay: float = 0.0) -> None:  # noqa: ARG002 - as the sender's
        self.deliveries.append(delivery)

    def send_twice(self, delivery: Delivery, *, delay: float) -> None:
        self.send(delivery, delay=delay)


def told(delivery: Delivery) -> dict[str, Any]:
    """A delivery for whoever wants to send it: the body in base64, for its bytes are signed."""
    return {
        "topic": delivery.topic,
        "headers": delivery.headers(),
        "body": base64.b64encode(delivery.body).decode(),
    }


def describe(shop: Shop) -> dict[str, Any]:
    settings = shop.settings
    return {
        "shopDomain": shop.domain,
        "name": settings.name,
        "accessToken": settings.access_token,
        "webhookSecret": settings.webhook_secret,
        "clientId": settings.client_id,
        "clientSecret": settings.client_secret,
        "scopes": settings.scopes,
        "plan": settings.plan,
        "currency": settings.currency,
        "presentmentCurrency": settings.presentment_currency,
        "timezone": settings.timezone,
        "isLive": settings.is_live,
        "faults": shop.faults.describe(),
        "oauthFaults": shop.oauth_faults.describe(),
    }
