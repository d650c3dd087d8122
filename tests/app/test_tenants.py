"""The life of a tenant over HTTP: onboarded, listed, changed, offboarded."""

import json
import logging
import threading
import uuid

import pytest

from models import sync_runs, tenants
from models.columns import now
from models.database import transaction
from models.tenants import TenantStatus
from tests.app.conftest import bearer

SECRETS = ("shpat_secret", "shpss_secret", "whsec_secret")


def in_database(tenant_id):
    with transaction() as session:
        return tenants.get(session, uuid.UUID(tenant_id))


def set_columns(tenant_id, **columns):
    with transaction() as session:
        tenant = tenants.get(session, uuid.UUID(tenant_id))
        for name, value in columns.items():
            setattr(tenant, name, value)


def test_a_new_tenant_is_told_its_token_once_and_its_sync(admin, client, new_domain):
    domain = new_domain()
    answer = admin("POST", "/api/tenants", json={"shopDomain": domain, "accessToken": "shpat_x"})
    assert answer.status_code == 201
    assert answer.json["shopDomain"] == domain
    assert answer.headers["Location"] == f"/api/tenants/{answer.json['id']}"
    assert client.get("/api/stats", headers=bearer(answer.json["apiToken"])).status_code == 200
    run = client.get(f"/api/sync/{answer.json['syncId']}", headers=bearer(answer.json["apiToken"]))
    assert run.json["status"] == "running"
    assert "apiToken" not in admin("GET", answer.headers["Location"]).json


def test_a_tenant_can_be_onboarded_without_a_sync(new_shop):
    assert new_shop(sync=False).sync_id is None


@pytest.mark.parametrize("spelling", ["{}", "https://{}", "https://{}/", " {} ", "UPPER"])
def test_a_domain_is_kept_as_shopify_writes_it(admin, new_domain, spelling):
    domain = new_domain()
    written = domain.upper() if spelling == "UPPER" else spelling.format(domain)
    body = {"shopDomain": written, "accessToken": "shpat_x", "sync": False}
    assert admin("POST", "/api/tenants", json=body).json["shopDomain"] == domain
    assert admin("POST", "/api/tenants", json=body | {"shopDomain": domain}).status_code == 409


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shopDomain": "example.com"}, "shopDomain"),
        ({"shopDomain": "x.myshopify.com.evil.com"}, "shopDomain"),
        ({"shopDomain": "x.myshopify.com/admin"}, "shopDomain"),
        ({"shopDomain": None}, "shopDomain"),
        ({"shopDomain": 7}, "shopDomain"),
        ({"accessToken": None}, "accessToken"),
        ({"accessToken": ""}, "accessToken"),
        ({"accessToken": "with space"}, "accessToken"),
        ({"accessToken": "line\r\nX-Evil: 1"}, "accessToken"),
        ({"accessToken": "x" * 1001}, "accessToken"),
        ({"clientId": "id", "clientSecret": "secret"}, "not both"),
        ({"accessToken": None, "clientId": "id"}, "clientSecret"),
        ({"accessToken": None, "clientSecret": "secret"}, "clientId"),
        ({"sync": "yes"}, "sync"),
        ({"acessToken": "typo"}, "acessToken"),
        ({"shop_domain": "x.myshopify.com"}, "shop_domain"),
    ],
    ids=str,
)
def test_a_malformed_tenant_is_refused_with_the_fields_name(admin, new_domain, change, field):
    body = {"shopDomain": new_domain(), "accessToken": "shpat_x", "sync": False} | change
    answer = admin("POST", "/api/tenants", json=body)
    assert answer.status_code == 400
    assert field in answer.json["detail"]


def test_client_credentials_are_the_other_way_in(new_shop, admin):
    shop = new_shop(clientId="client-id", clientSecret="client-secret")
    summary = admin("GET", f"/api/tenants/{shop.id}").json
    assert (summary["hasAccessToken"], summary["hasClientCredentials"]) == (False, True)


def test_no_answer_and_no_log_ever_holds_a_secret(admin, client, new_domain, caplog):
    caplog.set_level(logging.DEBUG)
    domain = new_domain()
    body = {"shopDomain": domain, "webhookSecret": "whsec_secret", "sync": False}
    created = admin("POST", "/api/tenants", json=body | {"clientId": "id", "clientSecret": "shpss_secret"})
    path = f"/api/tenants/{created.json['id']}"
    answers = (
        created,
        admin("PATCH", path, json={"accessToken": "shpat_secret"}),
        admin("GET", path),
        admin("GET", "/api/tenants?limit=500"),
        admin("POST", "/api/tenants", json=body | {"accessToken": "shpat_secret"}),
        admin("POST", "/api/tenants", json=body | {"accessToken": "shpat_secret x"}),
        admin("PATCH", path, json={"accessToken": "shpat_secret", "clientId": "id", "clientSecret": "shpss_secret"}),
        admin("PATCH", path, json={"accessToken": ["shpat_secret"], "status": "shpss_secret"}),
        client.get("/api/stats", headers=bearer("sst_shpat_secret")),
        client.post("/api/tenants", data=json.dumps({"accessToken": "shpat_secret"})),
    )
    texts = [answer.text for answer in answers]
    told = "\n".join([*texts, caplog.text])
    assert domain in told
    for secret in (*SECRETS, "admin-password", "app-secret"):
        assert secret not in told
    assert created.json["apiToken"] not in "\n".join([*texts[1:], caplog.text])


def test_secrets_are_encrypted_at_rest(new_shop):
    shop = new_shop(clientId="id", clientSecret="shpss_secret", webhookSecret="whsec_secret")
    from sqlalchemy import text  # noqa: PLC0415

    with transaction() as session:
        row = str(session.execute(text("select * from tenants where id = :id"), {"id": shop.id}).one())
    assert not [secret for secret in (*SECRETS, shop.token) if secret in row]


def test_the_list_is_paged_to_its_end_without_gaps(admin, new_shop):
    mine = {new_shop().domain for _ in range(5)}
    seen, after = [], None
    while True:
        page = admin("GET", "/api/tenants", query_string={"limit": 2} | ({"after": after} if after else {})).json
        assert len(page["tenants"]) <= 2
        seen += [each["shopDomain"] for each in page["tenants"]]
        after = page["next"]
        if after is None:
            break
    assert mine <= set(seen)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "after=x",
        "after=1.99:x.myshopify.com",
        "sort=best",
        "sort=worst&after=x.myshopify.com",
        "sort=worst&after=1.99:x",
        "sort=worst&after=x:x.myshopify.com",
        "sort=worst&after=1.-9:x.myshopify.com",
        "sort=worst&after=99999999999:x.myshopify.com",
        "sort=worst&after=٣:x.myshopify.com",
    ],
)
def test_a_malformed_page_is_refused(admin, query):
    assert admin("GET", f"/api/tenants?{query}").status_code == 400


def test_a_tenants_status_tells_why_it_is_not_served(admin, shop):
    def status():
        return admin("GET", f"/api/tenants/{shop.id}").json["status"]

    assert status() == "active"
    set_columns(shop.id, unreachable_since=now())
    assert status() == "unreachable"
    set_columns(shop.id, unauthorized_since=now())
    assert status() == "needs_reauthorization"
    set_columns(shop.id, status=TenantStatus.UNINSTALLED)
    assert status() == "uninstalled"


def test_replaced_credentials_are_tried_again_and_bring_an_uninstalled_shop_back(admin, shop):
    set_columns(shop.id, unauthorized_since=now(), status=TenantStatus.UNINSTALLED)
    answer = admin("PATCH", f"/api/tenants/{shop.id}", json={"clientId": "id", "clientSecret": "secret"})
    assert answer.status_code == 200
    assert answer.json["status"] == "active"
    stored = in_database(shop.id)
    assert (stored.access_token, stored.client_id, stored.client_secret.get_secret_value()) == (None, "id", "secret")


def test_a_shop_that_comes_back_is_synced_for_what_it_missed(admin, client, shop):
    set_columns(shop.id, status=TenantStatus.UNINSTALLED)
    answer = admin("PATCH", f"/api/tenants/{shop.id}", json={"accessToken": "shpat_new"})
    assert answer.json["lastSyncStatus"] == "running"
    # And a sync that is running is no obstacle
    set_columns(shop.id, status=TenantStatus.UNINSTALLED)
    assert admin("PATCH", f"/api/tenants/{shop.id}", json={"accessToken": "shpat_newest"}).status_code == 200
    assert len(client.get("/api/sync-status", headers=shop.headers).json["runs"]) == 1


def test_a_sync_that_failed_with_dead_credentials_begins_anew_with_new_ones(admin, client, new_shop):
    shop = new_shop(sync=True)
    fail_run(shop)
    set_columns(shop.id, unauthorized_since=now())
    answer = admin("PATCH", f"/api/tenants/{shop.id}", json={"accessToken": "shpat_new"})
    assert (answer.json["status"], answer.json["lastSyncStatus"]) == ("active", "running")
    fail_run(shop, status="completed")
    # Some days of some resources, if it was those
    wanted = {"resources": ["products"], "since": "2026-03-01", "until": "2026-03-02"}
    set_columns(shop.id, unauthorized_since=now())
    client.post("/api/sync", headers=shop.headers, json=wanted)
    fail_run(shop)
    admin("PATCH", f"/api/tenants/{shop.id}", json={"accessToken": "shpat_newest"})
    newest = client.get("/api/sync-status", headers=shop.headers).json["runs"][0]
    assert (newest["status"], newest["since"], newest["until"]) == ("running", "2026-03-01", "2026-03-02")
    assert [each["resource"] for each in newest["resources"]] == ["products"]


def fail_run(shop, status="failed"):
    """As a worker would that finds the credentials dead."""
    with transaction() as session:
        run = sync_runs.running(session, uuid.UUID(shop.id))
        sync_runs.finish(session, run, sync_runs.RunStatus(status), error="dead")


def test_new_credentials_of_an_active_shop_begin_no_sync(admin, shop):
    answer = admin("PATCH", f"/api/tenants/{shop.id}", json={"accessToken": "shpat_new"})
    assert answer.json["lastSyncStatus"] is None


def test_a_shop_is_paused_and_resumed(admin, shop):
    for status in ("paused", "active"):
        assert admin("PATCH", f"/api/tenants/{shop.id}", json={"status": status}).json["status"] == status


def test_an_uninstalled_shop_is_not_resumed_without_credentials(admin, shop):
    set_columns(shop.id, status=TenantStatus.UNINSTALLED)
    assert admin("PATCH", f"/api/tenants/{shop.id}", json={"status": "active"}).status_code == 409


def test_only_the_webhook_secret_can_be_removed(admin, new_shop):
    shop = new_shop(webhookSecret="whsec_secret")
    for name in ("accessToken", "clientId", "status"):
        assert admin("PATCH", f"/api/tenants/{shop.id}", json={name: None}).status_code == 400
    assert admin("PATCH", f"/api/tenants/{shop.id}", json={}).json["hasWebhookSecret"] is True
    assert admin("PATCH", f"/api/tenants/{shop.id}", json={"webhookSecret": None}).json["hasWebhookSecret"] is False
    assert in_database(shop.id).access_token is not None


@pytest.mark.parametrize(
    "body", [{"status": "erasing"}, {"status": "uninstalled"}, {"clientId": "x"}, {"shopDomain": "y.myshopify.com"}]
)
def test_a_malformed_change_is_refused(admin, shop, body):
    assert admin("PATCH", f"/api/tenants/{shop.id}", json=body).status_code == 400


def test_a_rotated_token_replaces_the_former_one(admin, client, shop):
    rotated = admin("POST", f"/api/tenants/{shop.id}/token")
    assert rotated.status_code == 200
    assert client.get("/api/stats", headers=shop.headers).status_code == 401
    assert client.get("/api/stats", headers=bearer(rotated.json["apiToken"])).status_code == 200


def test_an_offboarded_tenant_is_gone_at_once_and_its_domain_is_free(admin, client, new_shop):
    shop = new_shop(webhookSecret="whsec_secret")
    answer = admin("DELETE", f"/api/tenants/{shop.id}")
    assert answer.status_code == 202
    assert client.get("/api/stats", headers=shop.headers).status_code == 401
    for method in ("GET", "PATCH"):
        assert admin(method, f"/api/tenants/{shop.id}").status_code == 404
    assert admin("POST", f"/api/tenants/{shop.id}/token").status_code == 404
    assert admin("GET", f"/api/stats?shop={shop.domain}").status_code == 404
    stored = in_database(shop.id)
    assert (stored.status, stored.api_token_hash, stored.access_token, stored.webhook_secret) == (
        TenantStatus.ERASING,
        None,
        None,
        None,
    )
    # The same domain is a new tenant, and the former one's end can be asked for again
    assert new_shop(shopDomain=shop.domain).id != shop.id
    assert admin("DELETE", f"/api/tenants/{shop.id}").status_code == 202


def test_offboarding_waits_for_whoever_is_writing(admin, shop):
    answers = []
    offboarding = threading.Thread(target=lambda: answers.append(admin("DELETE", f"/api/tenants/{shop.id}")))
    with tenants.write(uuid.UUID(shop.id)):
        offboarding.start()
        offboarding.join(0.5)
        assert answers == []
    offboarding.join(10)
    assert [answer.status_code for answer in answers] == [202]


@pytest.mark.parametrize("tenant_id", ["8f14e45f-ceea-467f-a8d4-000000000000", "not-an-id", "1"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_tenant_that_is_not_there_is_not_found(admin, method, tenant_id):
    assert admin(method, f"/api/tenants/{tenant_id}").status_code == 404
