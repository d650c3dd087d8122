"""Which web pages may speak to us: our own for everything, those of CORS_ORIGINS for reading, others not at all."""

import re
from urllib.parse import urlsplit

from flask import Flask, request
from flask_cors import CORS

from app.bodies import READ_ONLY
from app.problems import Refusal
from settings import Settings

#: Seconds that a browser may remember the answer to its preflight.
PREFLIGHT_MAX_AGE = 600


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # no browser sends such a one
        return None


def register(app: Flask, settings: Settings) -> None:
    own = {settings.public_url} if settings.public_url else set()

    def refuse_other_pages() -> None:
        """Before each request that may change something: a browser must have sent it from a page of ours.

        Programs send neither header. Shopify's servers are no browser, and their requests are signed.
        """
        if request.method in READ_ONLY or request.path == "/api/webhooks":
            return
        site = request.headers.get("Sec-Fetch-Site")
        if site in {"same-origin", "none"}:  # no page can forge it
            return
        origin = request.headers.get("Origin")
        if site is not None or (origin is not None and origin not in own and _host(origin) != request.host):
            raise Refusal(403, "requests that change something are taken from our own page only")

    app.before_request(refuse_other_pages)
    if settings.cors_origins:
        CORS(
            app,
            resources={r"/api/*": {"origins": [re.compile(re.escape(each) + r"\Z") for each in settings.cors_origins]}},
            methods=sorted(READ_ONLY),
            allow_headers=["Authorization"],
            expose_headers=["Retry-After"],
            supports_credentials=False,
            max_age=PREFLIGHT_MAX_AGE,
        )
