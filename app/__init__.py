"""The web process: routes, sign-in and the dashboard page. Thin: a route validates, calls a floor below, and answers."""

import importlib.metadata
from typing import Any

from flask import Response, request
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel

import settings
from app import (
    auth,
    bodies,
    cli,
    compliance,
    dashboard,
    figures,
    health,
    metrics,
    oauth,
    origins,
    problems,
    proof,
    proxies,
    schemas,
    sync,
    tenants,
    webhooks,
)

#: What every answer carries, unless its route says otherwise. The page has a stricter set of its own.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store, private",
}
#: Seconds, sent on TLS only: a browser that has seen us there comes back that way.
HSTS = "max-age=31536000"


class Shopstream(OpenAPI):
    """A Flask application whose routes answer with models, alone or as (model, status, headers)."""

    request_class = bodies.JsonRequest

    def make_response(self, rv: Any) -> Response:
        answer, *rest = rv if isinstance(rv, tuple) else (rv,)
        if isinstance(answer, BaseModel):
            answer = Response(answer.model_dump_json(by_alias=True), mimetype="application/json")
        response: Response = super().make_response((answer, *rest) if rest else answer)
        return response


def create_app() -> Shopstream:
    """The application. No I/O: neither Postgres nor NATS has to be there.

    Raises SettingsError.
    """
    configured = settings.load()
    app = Shopstream(
        __name__,
        info=Info(title="Shopstream", version=importlib.metadata.version("shopstream")),
        security_schemes=auth.SECURITY_SCHEMES,
        # Refused requests are documented under "default" by each operation, and answered like every other problem.
        validation_error_status="default",
        validation_error_model=schemas.Problem,
        validation_error_callback=problems.refuse_invalid,
        doc_ui=False,
        static_folder=None,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.wsgi_app = proxies.NearbyProxy(app.wsgi_app)  # type: ignore[method-assign]
    metrics.register(app)
    problems.register(app)
    origins.register(app, configured)
    app.before_request(bodies.require_json)
    app.after_request(_secure)
    for floor in (tenants, oauth, webhooks, sync, figures, proof, compliance, health, metrics):
        app.register_api(floor.blueprint)
    app.register_blueprint(dashboard.blueprint)
    app.add_url_rule("/api/openapi.json", "openapi", lambda: app.api_doc)
    cli.register(app)
    return app


def _secure(response: Response) -> Response:
    own = {name.lower() for name, _ in response.headers}  # once: a header's default is looked for in all of them
    for name, value in SECURITY_HEADERS.items():
        if name.lower() not in own:
            response.headers.add(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", HSTS)
    return response
