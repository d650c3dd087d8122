"""What every request has to be, and what every refusal looks like."""

import io
from types import SimpleNamespace

import pytest

from app import bodies, connections
from app.bodies import MAX_BODY, Paced
from tests.app.conftest import ADMIN


def is_problem(answer, status):
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["title"]
    assert answer.json["detail"]
    return True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/nothing", 404), ("POST", "/nothing", 404), ("DELETE", "/api/stats", 405), ("PUT", "/api/sync", 405)],
)
def test_what_is_not_there_is_a_problem_document(client, method, path, status):
    answer = client.open(path, method=method, headers=ADMIN)
    assert is_problem(answer, status)
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_what_a_form_can_send_is_refused(admin, new_domain, content_type):
    body = f'{{"shopDomain": "{new_domain()}", "accessToken": "x"}}'
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert is_problem(admin("POST", "/api/tenants", data=body, headers=headers), 415)


@pytest.mark.parametrize("body", ["{", "[]", '"{}"', "null", "1", "\xff", "[" * 60_000, '{"a":' * 10_000])
def test_a_body_that_is_no_json_object_is_refused(admin, body):
    answer = admin("POST", "/api/tenants", data=body.encode("latin-1"), headers={"Content-Type": "application/json"})
    assert is_problem(answer, 400)
    assert "JSON" in answer.json["detail"]


def test_a_body_beyond_all_need_is_refused(admin):
    body = b'{"a":"' + b"x" * MAX_BODY + b'"}'
    assert is_problem(admin("POST", "/api/tenants", data=body, headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[x"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
    ids=str,
)
def test_another_sites_page_changes_nothing(admin, shop, headers):
    assert is_problem(admin("POST", f"/api/sync?shop={shop.domain}", json={}, headers=headers), 403)
    assert is_problem(admin("DELETE", f"/api/tenants/{shop.id}", headers=headers), 403)
    assert admin("GET", f"/api/tenants/{shop.id}", headers=headers).json["status"] == "active"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}],
    ids=str,
)
def test_our_own_page_and_programs_may(admin, shop, headers):
    assert admin("PATCH", f"/api/tenants/{shop.id}", json={"status": "paused"}, headers=headers).status_code == 200


def test_a_webhook_is_no_browsers_business(shop, deliver, client):
    assert client.post("/api/webhooks", headers={"Origin": "https://evil.example"}).status_code == 401


class TestOtherOrigins:
    @pytest.fixture
    def elsewhere(self, migrated, nats, monkeypatch):
        import settings  # noqa: PLC0415
        from app import create_app  # noqa: PLC0415

        configured = settings.load().model_copy(update={"cors_origins": ("https://board.example.com",)})
        monkeypatch.setattr(settings, "load", lambda: configured)
        return create_app().test_client()

    def test_may_read_when_they_are_listed(self, elsewhere, shop):
        answer = elsewhere.get("/api/stats", headers=shop.headers | {"Origin": "https://board.example.com"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://board.example.com"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        preflight = elsewhere.options("/api/stats", headers={"Origin": "https://board.example.com"} | asked)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Headers"].lower() == "authorization"
        assert "POST" not in preflight.headers["Access-Control-Allow-Methods"]

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "https://boardXexample.com", "https://board.example.com.evil.example", "null"],
    )
    def test_may_not_when_they_are_not(self, elsewhere, shop, origin):
        answer = elsewhere.get("/api/stats", headers=shop.headers | {"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers

    def test_may_change_nothing(self, elsewhere, shop):
        headers = shop.headers | {"Origin": "https://board.example.com"}
        assert elsewhere.post("/api/sync", json={}, headers=headers).status_code == 403


def test_an_unforeseen_failure_tells_nothing_of_the_inside(client, shop, monkeypatch, caplog):
    from app import figures  # noqa: PLC0415

    def fail(*_, **__):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(figures.analytics, "stats", fail)
    answer = client.get("/api/stats", headers=shop.headers)
    assert is_problem(answer, 500)
    assert "inside" not in answer.text
    assert "Traceback" not in answer.text
    assert "a secret of the inside" in caplog.text  # but the operator is told
    assert shop.token not in caplog.text


def test_a_database_that_is_away_is_worth_another_try(client, shop, monkeypatch):
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from app import figures  # noqa: PLC0415

    def fail(*_, **__):
        raise OperationalError("select secret", {}, Exception("connection refused"))

    monkeypatch.setattr(figures.analytics, "stats", fail)
    answer = client.get("/api/stats", headers=shop.headers)
    assert is_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in answer.text


def test_every_answer_carries_the_headers_that_keep_it_to_itself(client, shop):
    for answer in (client.get("/api/stats", headers=shop.headers), client.get("/api/stats"), client.get("/nothing")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store, private"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in answer.headers
    secure = client.get("/healthz", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" in secure.headers


def test_however_much_arrives_the_wait_for_a_body_has_an_end(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("app.bodies.time", SimpleNamespace(monotonic=lambda: clock[0]))
    arrival = SimpleNamespace(due=0.0)
    body = Paced(io.BytesIO(b"x" * 16_000_000), arrival)
    assert arrival.due == clock[0] + connections.PATIENCE
    body.read(500_000)
    assert arrival.due == clock[0] + connections.PATIENCE + 5.0
    clock[0] += 1.0
    body.read(15_000_000)  # and then silence
    assert arrival.due == 100.0 + bodies.LONGEST
