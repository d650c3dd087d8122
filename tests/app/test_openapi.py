"""The document at /api/openapi.json: valid, and complete."""

import re

import pytest
from openapi_spec_validator import validate


@pytest.fixture
def document(client):
    return client.get("/api/openapi.json").json


def test_it_is_valid(document):
    validate(document)


def test_every_route_of_the_api_is_in_it_with_its_answers(app, document):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith(("dashboard.", "openapi"))
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert described == routes
    for path, method in described:
        operation = document["paths"][path][method]
        assert operation["summary"]
        answers = operation["responses"]
        assert any(status.startswith(("2", "3")) for status in answers), (path, method)
        if path.startswith("/api/") and not path.startswith(("/api/webhooks", "/api/oauth/")):
            assert {"401", "403", "503"} <= set(answers), (path, method)
            assert operation["security"]


def test_problems_are_described_as_they_are_sent(document):
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if not status.startswith(("2", "3")):
                    assert list(answer["content"]) == ["application/problem+json"]


def test_fields_are_camel_case_and_secrets_write_only(document):
    for schema in document["components"]["schemas"].values():
        for name in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z][a-zA-Z]*", name), name
    given = document["components"]["schemas"]["NewTenant"]["properties"]["accessToken"]
    assert any(choice.get("writeOnly") for choice in given["anyOf"])


def test_there_is_no_page_of_somebody_elses_around_it(client):
    for path in ("/openapi", "/openapi/openapi.json", "/openapi/swagger"):
        assert client.get(path).status_code == 404
