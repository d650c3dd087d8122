"""Liveness, readiness and metrics."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import health, metrics
from app.health import Probe
from brokers.errors import BrokerUnavailable
from tests.app.conftest import ADMIN, bearer

METRICS = bearer("metrics-token")


def test_a_living_process_says_so_without_asking_anybody(client, monkeypatch):
    monkeypatch.setattr(health, "_nats", None)
    monkeypatch.setattr(health, "_postgres", None)
    assert client.get("/healthz").json == {"status": "ok"}


def test_readiness_names_every_dependency(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {"ready": True, "nats": "ok", "postgres": "ok", "directory": "ok"}


def fail():
    raise ConnectionError("nats://user:secret@host")


def test_without_postgres_webhooks_can_still_be_stored(client, monkeypatch):
    monkeypatch.setattr(health, "_postgres", Probe(fail))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["postgres"], answer.json["nats"]) == (200, "error", "ok")


def test_without_nats_they_cannot(client, monkeypatch):
    monkeypatch.setattr(health, "_nats", Probe(fail))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert (answer.json["status"], answer.json["nats"], answer.json["postgres"]) == (503, "error", "ok")
    assert "Retry-After" in answer.headers
    assert "secret" not in answer.text


def test_without_the_shops_they_cannot_either(client, monkeypatch):
    class Unread:
        is_loaded = False

    monkeypatch.setattr(health, "directory", Unread)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["directory"]) == (503, "error")


def test_a_dependency_that_hangs_is_an_error_soon_and_costs_one_thread(monkeypatch):
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    released, asked = threading.Event(), []

    def hang():
        asked.append(1)
        assert released.wait(10)

    probe = Probe(hang)
    assert [probe.answers() for _ in range(3)] == ["error"] * 3
    assert len(asked) == 1
    released.set()


@pytest.mark.parametrize("headers", [{}, ADMIN, bearer("wrong"), bearer("")], ids=str)
def test_metrics_need_their_token(client, headers):
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"


def test_without_a_token_in_the_settings_there_are_no_metrics(client, monkeypatch):
    without = metrics.settings.load().model_copy(update={"metrics_token": None})
    monkeypatch.setattr(metrics.settings, "load", lambda: without)
    for headers in ({}, bearer(""), bearer("None")):
        assert client.get("/metrics", headers=headers).status_code == 404


def families(client):
    answer = client.get("/metrics", headers=METRICS)
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def test_metrics_tell_of_requests_queues_and_shops(client, shop):
    client.get("/api/stats", headers=shop.headers)
    found = families(client)
    requests = {tuple(sorted(sample.labels.items())) for sample in found["shopstream_request_seconds"].samples}
    assert any(("route", "/api/stats") in labels and ("status", "200") in labels for labels in requests)
    queues = {sample.labels["queue"] for sample in found["shopstream_queue_messages"].samples}
    assert "webhooks" in queues
    for name in ("shopstream_dead_letters", "shopstream_queue_oldest_seconds", "shopstream_queue_lag_seconds"):
        assert {sample.labels["queue"] for sample in found[name].samples} == queues
    shops = {sample.labels["status"]: sample.value for sample in found["shopstream_tenants"].samples}
    assert shops["active"] >= 1
    assert "shopstream_quarantined" in found


def test_made_up_addresses_and_methods_make_no_series_of_their_own(client):
    for number in range(3):
        client.open(f"/made-up-{number}", method=f"MADEUP{number}")
    routes = families(client)["shopstream_request_seconds"].samples
    assert not [sample for sample in routes if "made-up" in str(sample.labels) or "MADEUP" in str(sample.labels)]


def test_what_is_down_does_not_break_the_scrape(client, monkeypatch):
    def away():
        raise BrokerUnavailable("away")

    monkeypatch.setattr(metrics.broker, "queue_stats", away)
    found = families(client)
    up = {sample.labels["dependency"]: sample.value for sample in found["shopstream_up"].samples}
    assert up == {"nats": 0, "postgres": 1}
    assert "shopstream_queue_messages" not in found
