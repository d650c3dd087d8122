"""The administrator's shops: onboard, list, change, offboard."""

from uuid import UUID

from flask_openapi3.blueprint import APIBlueprint

import tasks.credentials
import tasks.offboarding
import tasks.sync
from app import auth, schemas
from app.directory import directory
from app.problems import Refusal, documented
from models import tenant_changes, tenant_summaries, tenants
from models.database import transaction
from models.tenants import TenantStatus
from tasks.backlogs import backlogs

blueprint = APIBlueprint(
    "tenants",
    __name__,
    url_prefix="/api/tenants",
    abp_security=auth.FOR_ADMINISTRATOR,
    abp_responses=documented(401, 403, 429, 503),
)
blueprint.before_request(auth.require_administrator)


@blueprint.post("", responses={201: schemas.TenantCreated, **documented(400, 409, 415)})
def create(body: schemas.NewTenant) -> tuple[schemas.TenantCreated, int, dict[str, str]]:
    """Onboard a shop.

    The tenant and its first sync exist from the answer on. Shopify is not asked during the request, nor is NATS: while
    that is away the sync waits for it.
    """
    with transaction() as session:
        tenant, token = tenants.create(
            session,
            shop_domain=body.shop_domain,
            access_token=body.access_token,
            client_id=body.client_id,
            client_secret=body.client_secret,
            webhook_secret=body.webhook_secret,
        )
        sync_id = tasks.sync.begin_first(session, tenant) if body.sync else None
    directory.remember(tenant)
    answer = schemas.TenantCreated(id=tenant.id, shop_domain=tenant.shop_domain, api_token=token, sync_id=sync_id)
    return answer, 201, {"Location": f"/api/tenants/{tenant.id}"}


@blueprint.get("", responses={200: schemas.TenantList, **documented(400)})
def list_page(query: schemas.TenantPage) -> schemas.TenantList:
    """The shops by domain or the worst first, a page at a time."""
    known = backlogs.now()
    with transaction() as session:
        if query.sort == "worst":
            found = tenant_summaries.worst(session, known, after=query.place, limit=query.limit + 1)
        else:
            found = tenant_summaries.page(session, known, after=query.after, limit=query.limit + 1)
    page = found[: query.limit]
    return schemas.TenantList(
        tenants=[schemas.TenantSummary.of(each) for each in page],
        next=query.next_after(page[-1].place) if len(found) > len(page) else None,
    )


@blueprint.get("/<uuid:id>", responses={200: schemas.TenantSummary, **documented(404)})
def get(path: schemas.TenantPath) -> schemas.TenantSummary:
    """One shop."""
    return _found(path.id)


@blueprint.patch("/<uuid:id>", responses={200: schemas.TenantSummary, **documented(400, 404, 409, 415)})
def change(path: schemas.TenantPath, body: schemas.TenantChange) -> schemas.TenantSummary:
    """Replace credentials, pause or resume.

    New credentials replace all former ones of the shop but its webhook secret, and make an uninstalled shop active. Its work
    goes on by itself: a shop that comes back is synced, and a sync that failed with the former credentials begins anew.
    """
    with transaction() as session:
        tenant = tenants.get(session, path.id, for_update=True)
        if tenant is None or tenant.status == TenantStatus.ERASING:
            raise _no_such_tenant()
        if "webhook_secret" in body.model_fields_set:
            tenant.webhook_secret = body.webhook_secret
        if body.access_token is not None or body.client_id is not None:
            tasks.credentials.replace(
                session,
                tenant,
                access_token=body.access_token,
                client_id=body.client_id,
                client_secret=body.client_secret,
            )
        if body.status is not None:
            tenant_changes.set_status(tenant, TenantStatus(body.status))
    directory.remember(tenant)
    return _found(path.id)


@blueprint.delete("/<uuid:id>", responses={202: schemas.TenantErasing, **documented(404)})
def offboard(path: schemas.TenantPath) -> tuple[schemas.TenantErasing, int]:
    """Offboard a shop: its tokens and secrets are gone with the answer, everything else soon after.

    May be repeated until the shop is gone for good (404).
    """
    with transaction() as session:
        tenant = tenants.get(session, path.id, for_update=True)  # waits for whoever is writing for it
        if tenant is None:
            raise _no_such_tenant()
        tasks.offboarding.begin(session, tenant)
    directory.forget(tenant.shop_domain)
    return schemas.TenantErasing(id=path.id), 202


@blueprint.post("/<uuid:id>/token", responses={200: schemas.ApiToken, **documented(404, 415)})
def rotate_token(path: schemas.TenantPath) -> schemas.ApiToken:
    """A new API token for a shop, in place of the former one."""
    with transaction() as session:
        tenant = tenants.get(session, path.id, for_update=True)
        if tenant is None or tenant.status == TenantStatus.ERASING:
            raise _no_such_tenant()
        return schemas.ApiToken(api_token=tenants.rotate_api_token(session, tenant))


def _found(tenant_id: UUID) -> schemas.TenantSummary:
    known = backlogs.now()
    with transaction() as session:
        found = tenant_summaries.of(session, known, tenant_id)
    if found is None:
        raise _no_such_tenant()
    return schemas.TenantSummary.of(found)


def _no_such_tenant() -> Refusal:
    return Refusal(404, "there is no such tenant")
