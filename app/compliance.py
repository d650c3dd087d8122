"""What the law asked of us: the requests with what became of them, and a person's data for whoever answers them."""

from uuid import UUID

from flask_openapi3.blueprint import APIBlueprint
from sqlmodel import Session

from app import auth, schemas
from app.problems import Refusal, documented
from models import compliance, person_export, tenants
from models.columns import now
from models.compliance import ComplianceRequest, Kind
from models.database import transaction
from tasks.compliance import Addresses

blueprint = APIBlueprint(
    "compliance",
    __name__,
    url_prefix="/api/compliance",
    abp_security=auth.FOR_ADMINISTRATOR,
    abp_responses=documented(401, 403, 429, 503),
)
blueprint.before_request(auth.require_administrator)


class NothingToExport(Exception):
    """There is no such data request, or its shop has left."""


@blueprint.get("", responses={200: schemas.ComplianceRequests, **documented(400)})
def list_page(query: schemas.CompliancePage) -> schemas.ComplianceRequests:
    """Shopify's requests to tell or to erase data, newest first, a page at a time. Kept for good: they are the proof."""
    with transaction() as session:
        found = compliance.page(session, after=query.after, only_open=query.open, limit=query.limit + 1)
    page = found[: query.limit]
    return schemas.ComplianceRequests(
        requests=[described(each) for each in page],
        next=str(page[-1].id) if len(found) > len(page) else None,
    )


@blueprint.get("/<uuid:id>/export", responses={200: schemas.PersonExport, **documented(404)})
def export(path: schemas.CompliancePath) -> schemas.PersonExport:
    """Everything that is stored now of the person who asked. It is put together for each answer and kept nowhere."""
    try:
        with transaction() as session:
            return exported(session, path.id)
    except NothingToExport as error:
        raise Refusal(404, str(error)) from None


def exported(session: Session, request_id: UUID) -> schemas.PersonExport:
    """Raises NothingToExport."""
    request = compliance.get(session, request_id)
    if request is None or request.kind != Kind.DATA_REQUEST:
        raise NothingToExport(f"there is no data request {request_id}")
    tenant = tenants.of_domain(session, request.shop_domain)
    if tenant is None:
        raise NothingToExport(f"{request.shop_domain} has left: nothing of it is here")
    addresses = Addresses.of(request)
    found = person_export.of_person(
        session,
        tenant.id,
        customer_id=request.customer_shopify_id,
        order_ids=request.order_ids,
        emails=addresses.emails,
        phones=addresses.phones,
    )
    return schemas.PersonExport(request_id=request.id, shop_domain=request.shop_domain, exported_at=now(), **found)


def described(request: ComplianceRequest) -> schemas.ComplianceRequest:
    def text(shopify_id: int | None) -> str | None:
        return None if shopify_id is None else str(shopify_id)

    return schemas.ComplianceRequest(
        id=request.id,
        kind=request.kind,
        shop_domain=request.shop_domain,
        shop_id=text(request.shop_id),
        customer_id=text(request.customer_shopify_id),
        order_ids=[str(each) for each in request.order_ids],
        data_request_id=text(request.data_request_id),
        received_at=request.received_at,
        due_at=request.due_at,
        done_at=request.done_at,
        outcome=request.outcome,
        erased=request.erased,
    )
