"""Syncs over HTTP: begun, followed, cancelled."""

import uuid

import pytest

from models import event_log, tenants
from models.event_log import Level
from tests.app.test_tenants import set_columns


@pytest.fixture
def begin(client, shop):
    return lambda **options: client.post("/api/sync", headers=shop.headers, **options)


def test_an_empty_body_syncs_everything(begin, client, shop):
    answer = begin()
    assert answer.status_code == 202
    run = client.get(f"/api/sync/{answer.json['syncId']}", headers=shop.headers).json
    assert run["status"] == "running"
    assert {each["resource"] for each in run["resources"]} == {"orders", "customers", "products"}
    assert run["startedAt"].endswith("Z")
    assert (run["since"], run["until"], run["finishedAt"], run["error"]) == (None, None, None, None)


def test_a_part_can_be_synced(begin, client, shop):
    body = {"resources": ["orders"], "mode": "pages", "since": "2026-01-01", "until": "2026-01-01"}
    run = client.get(f"/api/sync/{begin(json=body).json['syncId']}", headers=shop.headers).json
    assert [each["resource"] for each in run["resources"]] == ["orders"]
    assert (run["since"], run["until"]) == ("2026-01-01", "2026-01-01")


def test_the_administrator_begins_a_sync_for_the_shop_it_names(admin, shop):
    assert admin("POST", f"/api/sync?shop={shop.domain}", json={}).status_code == 202


def test_a_second_sync_is_told_of_the_running_one(begin):
    first = begin().json["syncId"]
    answer = begin()
    assert answer.status_code == 409
    assert answer.mimetype == "application/problem+json"
    assert answer.json["syncId"] == first


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"resources": []}, "resources"),
        ({"resources": ["orders", "orders"]}, "resources"),
        ({"resources": ["carts"]}, "resources"),
        ({"resources": "orders"}, "resources"),
        ({"mode": "fast"}, "mode"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "since"),
        ({"since": 1767225600}, "since"),
        ({"since": "01/02/2026"}, "since"),
        ({"since": "1969-12-31"}, "since"),
        ({"since": "0001-01-01"}, "since"),
        ({"until": "2200-01-02"}, "until"),
        ({"until": "9999-12-31"}, "until"),
        ({"from": "2026-01-01"}, "from"),
    ],
    ids=str,
)
def test_a_malformed_sync_is_refused_with_the_fields_name(begin, body, named):
    answer = begin(json=body)
    assert answer.status_code == 400
    assert named in answer.json["detail"]


def test_a_cancelled_run_keeps_its_checkpoints_and_frees_the_shop(begin, client, shop):
    path = f"/api/sync/{begin().json['syncId']}"
    answer = client.delete(path, headers=shop.headers)
    assert answer.status_code == 200
    assert answer.json["status"] == "cancelled"
    assert len(answer.json["resources"]) == 3
    again = client.delete(path, headers=shop.headers)
    assert (again.status_code, again.json) == (200, answer.json)
    assert begin().status_code == 202


def test_a_paused_shops_run_can_be_cancelled_and_none_be_begun(begin, client, shop):
    path = f"/api/sync/{begin().json['syncId']}"
    set_columns(shop.id, status="paused")
    assert client.delete(path, headers=shop.headers).json["status"] == "cancelled"
    answer = begin()
    assert answer.status_code == 409
    assert "paused" in answer.json["detail"]


@pytest.mark.parametrize("run_id", ["8f14e45f-ceea-467f-a8d4-000000000000", "x"])
def test_a_run_that_is_not_there_is_not_found(client, shop, run_id):
    assert client.get(f"/api/sync/{run_id}", headers=shop.headers).status_code == 404
    assert client.delete(f"/api/sync/{run_id}", headers=shop.headers).status_code == 404


class TestStatus:
    @pytest.fixture
    def follow(self, client, shop):
        return lambda **query: client.get("/api/sync-status", query_string=query, headers=shop.headers)

    @pytest.fixture
    def log(self, shop):
        def write(*lines):
            for level, message in lines:
                with tenants.write(uuid.UUID(shop.id)) as writing:
                    event_log.record(writing, level, "test", message)

        return write

    def test_runs_are_newest_first(self, begin, client, shop, follow):
        runs = []
        for _ in range(3):
            runs.append(begin().json["syncId"])
            client.delete(f"/api/sync/{runs[-1]}", headers=shop.headers)
        assert [run["id"] for run in follow().json["runs"]] == runs[::-1]

    def test_the_log_is_oldest_first_and_goes_on_after_an_id(self, follow, log):
        log(*((Level.INFO, str(number)) for number in range(5)))
        latest = follow(limit=2).json["logs"]
        assert [line["message"] for line in latest] == ["3", "4"]
        everything = follow().json["logs"]
        assert [line["message"] for line in everything] == ["0", "1", "2", "3", "4"]
        following = follow(after=everything[1]["id"], limit=2).json["logs"]
        assert [line["message"] for line in following] == ["2", "3"]
        assert follow(after=everything[-1]["id"]).json["logs"] == []
        assert everything[0]["createdAt"].endswith("Z")
        assert type(everything[0]["id"]) is int

    def test_the_log_can_be_had_of_one_level(self, follow, log):
        log((Level.INFO, "a"), (Level.ERROR, "b"))
        assert [line["message"] for line in follow(level="error").json["logs"]] == ["b"]

    @pytest.mark.parametrize(
        "query",
        [{"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": 2**63}, {"after": "x"}, {"level": "loud"}],
        ids=str,
    )
    def test_a_malformed_question_is_refused(self, follow, query):
        assert follow(**query).status_code == 400

    def test_another_shops_runs_and_log_are_not_shown(self, client, begin, log, new_shop):
        begin()
        log((Level.INFO, "mine"))
        assert client.get("/api/sync-status", headers=new_shop().headers).json == {"runs": [], "logs": []}
