"""The dashboard: one page at ``/``, its static files and the chart library, under a strict Content-Security-Policy.

The page knows nothing that the JSON API does not tell it; no figure, name or token is ever rendered into it here.
"""

import functools
import hashlib
from pathlib import Path

from flask import Blueprint, Response, abort, render_template, send_from_directory

STATIC = Path(__file__).parent / "static"

#: Where npm puts the chart library: beside the code, or beside the process when the code is installed as a package.
CHART_LIBRARY_PLACES = (
    Path(__file__).parent.parent / "node_modules" / "uplot" / "dist",
    Path.cwd() / "node_modules" / "uplot" / "dist",
)
#: The only files of npm's that are served.
CHART_LIBRARY_FILES = {"uPlot.esm.js": "text/javascript", "uPlot.min.css": "text/css"}

#: A year, in seconds: a versioned address never changes its content.
FOR_EVER = 31_536_000

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        # The sign-in form is sent by fetch alone. Were its script missing, no browser would put a password in an address.
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Strings can't become markup or code at all: innerHTML and its kind throw.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

blueprint = Blueprint("dashboard", __name__, template_folder="templates")


@blueprint.after_request
def secure(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    return response


@blueprint.get("/")
def page() -> Response:
    """The page itself. It says whether the chart library is here, so that the browser need not try in vain."""
    html = render_template("dashboard.html", version=static_version(), has_charts=chart_library() is not None)
    response = Response(html, mimetype="text/html")
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get("/assets/<version>/<path:name>")
def asset(version: str, name: str) -> Response:
    """A script, style or picture of ours. Scripts import each other by relative path, so all share one version."""
    # While a new release starts, a page of the old one may ask here for its own version: that must not stay cached.
    max_age = FOR_EVER if version == static_version() else 0
    response = send_from_directory(STATIC, name, max_age=max_age)
    response.cache_control.immutable = max_age > 0
    return response


@blueprint.get("/vendor/uplot/<name>")
def chart_library_file(name: str) -> Response:
    directory = chart_library()
    if directory is None or name not in CHART_LIBRARY_FILES:
        abort(404)
    return send_from_directory(directory, name, mimetype=CHART_LIBRARY_FILES[name])


def chart_library() -> Path | None:
    """The folder of uPlot's files, or None where ``npm ci`` has not run. Asked each time: npm may run later."""
    for place in CHART_LIBRARY_PLACES:
        if all((place / name).is_file() for name in CHART_LIBRARY_FILES):
            return place
    return None


@functools.cache
def static_version() -> str:
    """A digest of all static files, part of their address: they may be cached for ever and still change together."""
    digest = hashlib.sha256()
    for file in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(file.relative_to(STATIC).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
