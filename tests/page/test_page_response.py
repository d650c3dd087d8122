"""What the server says of the page and its files: the policy, what may be cached, and nothing but what is meant to be served."""

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import dashboard


@pytest.fixture
def client() -> FlaskClient:
    app = Flask("page", static_folder=None)
    app.register_blueprint(dashboard.blueprint)
    app.test_client_class = _Client
    return app.test_client()


class _Client(FlaskClient):
    """Reads files to their end, and so closes them."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        return super().open(*args, **options | {"buffered": True})


def test_the_policy_lets_nothing_in_but_our_own_files(client):
    policy = client.get("/").headers["Content-Security-Policy"]

    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert "unsafe" not in policy
    assert directives["default-src"] == directives["base-uri"] == directives["frame-ancestors"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert directives["form-action"] == "'none'"  # a password can't get into an address
    assert directives["require-trusted-types-for"] == "'script'"


@pytest.mark.parametrize(
    "path", ["/", "/assets/any/scripts/main.js", "/assets/any/nothing.js", "/vendor/uplot/nothing.js"]
)
def test_every_answer_carries_the_security_headers(client, path):
    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_the_page_has_no_inline_script_style_or_handler(client):
    html = client.get("/").text

    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)


def test_everything_that_the_page_names_is_served(client):
    html = client.get("/").text

    addresses = re.findall(r'(?:src|href)="(/[^"]*)"', html)
    assert addresses
    assert {address: client.get(address).status_code for address in addresses} == dict.fromkeys(addresses, 200)


def test_the_page_is_asked_for_anew_and_its_files_are_kept_for_ever(client):
    page = client.get("/")
    script = client.get(re.search(r'src="([^"]*main\.js)"', page.text)[1])

    assert page.cache_control.no_cache
    assert script.cache_control.immutable
    assert script.cache_control.max_age == dashboard.FOR_EVER
    assert "javascript" in script.mimetype


def test_a_file_under_another_release_s_address_is_not_kept(client):
    assert not client.get("/assets/0123456789abcdef/scripts/main.js").cache_control.max_age


@pytest.mark.parametrize(
    "path",
    [
        "/assets/any/../dashboard.py",
        "/assets/any/..%2fdashboard.py",
        "/assets/any/scripts",
        "/vendor/uplot/uPlot.cjs.js",
        "/vendor/uplot/..%2fpackage.json",
    ],
)
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


def test_without_the_chart_library_the_page_does_not_ask_for_it(client, monkeypatch, tmp_path):
    monkeypatch.setattr(dashboard, "CHART_LIBRARY_PLACES", (tmp_path,))

    assert "/vendor/" not in client.get("/").text
    assert client.get("/vendor/uplot/uPlot.esm.js").status_code == 404


def test_with_the_chart_library_both_of_its_files_are_served(client, monkeypatch, tmp_path):
    monkeypatch.setattr(dashboard, "CHART_LIBRARY_PLACES", (tmp_path / "absent", tmp_path))
    for name in dashboard.CHART_LIBRARY_FILES:
        (tmp_path / name).write_text("/* the library */")

    addresses = re.findall(r'"(/vendor/[^"]*)"', client.get("/").text)
    assert sorted(addresses) == ["/vendor/uplot/uPlot.esm.js", "/vendor/uplot/uPlot.min.css"]
    assert all(client.get(address).text == "/* the library */" for address in addresses)
