"""The proof over HTTP."""

import uuid
from datetime import date, timedelta

import pytest

from models import proofs, tenants
from models.columns import now
from models.proofs import Finding

FIRST = date(2026, 3, 1)


@pytest.fixture
def prove(shop):
    """Writes so many days of a resource, of which ``found`` tells the counts by place."""

    def write(resource="orders", days=3, tenant_id=shop.id, **found):
        with tenants.write(uuid.UUID(tenant_id)) as writing:
            proofs.extend(writing, resource, first=FIRST, last=FIRST + timedelta(days=days - 1))
            findings = [
                Finding(FIRST + timedelta(days=int(place[1:])), *counts, due_at=now() + timedelta(days=1))
                for place, counts in found.items()
            ]
            proofs.note(writing, resource, findings)

    return write


@pytest.fixture
def ask(client, shop):
    return lambda **query: client.get("/api/proof", query_string=query, headers=shop.headers)


def test_a_shop_whose_history_is_not_here_has_no_days(ask):
    assert ask().json == {"timezone": "UTC", "days": [], "next": None}


def test_it_lists_for_every_resource_and_day_both_counts_and_why_they_differ(ask, prove):
    prove(d0=(7, 7, None), d1=(3, 2, "1 of the store's is missing or outdated here"))
    prove("customers", days=1)
    answer = ask()
    assert answer.status_code == 200
    found = answer.json["days"]
    assert [(each["resource"], each["date"]) for each in found] == [
        ("customers", "2026-03-01"),
        ("orders", "2026-03-01"),
        ("orders", "2026-03-02"),
        ("orders", "2026-03-03"),
    ]
    never = {"storeCount": None, "ourCount": None, "mended": 0, "checkedAt": None, "reason": None}
    assert found[0] == {"resource": "customers", "date": "2026-03-01"} | never
    assert found[1].pop("checkedAt").endswith("Z")
    assert found[1] == {
        "resource": "orders",
        "date": "2026-03-01",
        "storeCount": 7,
        "ourCount": 7,
        "mended": 0,
        "reason": None,
    }
    assert found[2]["reason"] == "1 of the store's is missing or outdated here"
    assert (found[2]["storeCount"], found[2]["ourCount"]) == (3, 2)


def test_pages_follow_each_other_to_the_end_over_resources(ask, prove):
    for resource in ("orders", "customers", "products"):
        prove(resource, days=5)
    whole = ask(limit=1000).json
    assert (len(whole["days"]), whole["next"]) == (15, None)
    found, after = [], None
    for _ in range(8):
        page = ask(limit=2, **({"after": after} if after else {})).json
        found += page["days"]
        after = page["next"]
    assert after is None
    assert found == whole["days"]


def test_a_resource_and_a_range_can_be_asked_for(ask, prove):
    prove(days=5)
    prove("products", days=5)
    found = ask(resource="products", **{"from": "2026-03-02", "to": "2026-03-03"}).json["days"]
    assert [(each["resource"], each["date"]) for each in found] == [
        ("products", "2026-03-02"),
        ("products", "2026-03-03"),
    ]


@pytest.mark.parametrize(
    "query",
    [
        {"resource": "invoices"},
        {"after": "orders"},
        {"after": "orders,2026-02-30"},
        {"after": "invoices,2026-03-01"},
        {"after": "orders,2026-03-01T00:00:00"},
        {"from": "yesterday"},
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"limit": "0"},
        {"limit": "1001"},
    ],
)
def test_a_malformed_question_is_refused(ask, query):
    answer = ask(**query)
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"


def test_a_shop_sees_its_own_proof_alone(client, prove, admin, shop, new_shop):
    prove()
    other = new_shop()
    assert client.get("/api/proof", headers=other.headers).json["days"] == []
    assert client.get("/api/proof").status_code == 401
    assert len(admin("GET", f"/api/proof?shop={shop.domain}").json["days"]) == 3
    assert admin("GET", "/api/proof").status_code == 400
