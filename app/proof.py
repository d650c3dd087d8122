"""The proof that nothing is missing: what the store counts of every resource and day, and what we have."""

from datetime import date

from flask_openapi3.blueprint import APIBlueprint

from app import auth, schemas
from app.problems import documented
from models import proofs
from models.database import transaction
from models.proofs import Proof
from models.tenants import Tenant

blueprint = APIBlueprint(
    "proof",
    __name__,
    url_prefix="/api",
    abp_security=auth.FOR_ANYONE_KNOWN,
    abp_responses=documented(400, 401, 403, 404, 429, 503),
)
blueprint.before_request(auth.require_sign_in)


@blueprint.get("/proof", responses={200: schemas.ProofPage})
@auth.of_shop
def proof(tenant: Tenant, query: schemas.ProofQuery) -> schemas.ProofPage:
    """The store's count of every resource and day of creation, the shop's own days, and ours, by resource and date.

    Ours holds what is quarantined, too. What is younger than ten minutes is not counted yet. A day that was never
    counted, or that the store does not count, has no `storeCount`; without any day the history is not here yet.
    """
    with transaction() as session:
        found = proofs.page(
            session,
            tenant.id,
            resource=query.resource,
            first=query.first,
            last=query.last,
            after=None if query.after is None else _place(query.after),
            limit=query.limit + 1,
        )
    page = found[: query.limit]
    return schemas.ProofPage(
        timezone=tenant.timezone,
        days=[_day(each) for each in page],
        next=f"{page[-1].resource},{page[-1].day}" if len(found) > len(page) else None,
    )


def _place(after: str) -> tuple[str, date]:
    resource, _, day = after.partition(",")
    return resource, date.fromisoformat(day)


def _day(found: Proof) -> schemas.ProvedDay:
    return schemas.ProvedDay(
        resource=found.resource,
        date=found.day,
        store_count=found.store_count,
        our_count=found.our_count,
        mended=found.mended,
        checked_at=found.checked_at,
        reason=found.reason,
    )
