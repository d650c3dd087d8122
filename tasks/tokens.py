"""The life of a shop's access token: got, renewed ahead of its end by one worker for all, replaced once when refused, dead.

A dead one is dead until the shop has new credentials: nothing is asked of Shopify meanwhile. Tokens that nothing renews,
as an administrator gives them, live until Shopify refuses them.
"""

import logging
import uuid
from datetime import timedelta

import dramatiq
from pydantic import SecretStr
from sqlmodel import Session

import settings
from models import renewals, tenants
from models.columns import now
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.renewals import Means
from models.tenants import Tenant, TenantStatus, Write
from shopify import oauth
from shopify.errors import InvalidClient, RunawayStop, ShopifyError, Throttled, Unauthorized
from shopify.oauth import AccessToken, App
from tasks import owners
from tasks.connection import broker
from tasks.waits import CredentialsRefused, Postponed, until_next_try

logger = logging.getLogger(__name__)

#: Seconds until a worker looks again for the token that another one is getting. An exchange takes less than one.
BUSY = 1.0
#: Seconds between two tries to renew a token that is still good.
AHEAD_RETRY = 30.0
#: Milliseconds over which the renewals of one sweep are spread.
SPREAD = 600_000


def our_app() -> App | None:
    """The app of SHOPIFY_API_KEY, if there is one."""
    configured = settings.load()
    if configured.shopify_api_key is None or not configured.app_secrets:
        return None
    return App(configured.shopify_api_key, configured.app_secrets)


# --- asking ----------------------------------------------------------------------------------------------------------


def usable(tenant: Tenant) -> SecretStr:
    """The token to ask the shop with, renewed first when its end is near. Raises Postponed, CredentialsRefused."""
    if tenant.unauthorized_since is not None:
        raise CredentialsRefused
    token, due_at, ends = tenant.access_token, renewals.due_at(tenant), tenant.access_token_expires_at
    if token is not None and (due_at is None or due_at > now() or not renewals.means(tenant).are_there):
        return token
    try:
        return _renewed(tenant, refused=None, reason="")
    except Postponed:
        if token is None or ends is None or ends <= now():
            raise
        return token  # good for a while: somebody else renews it, or it is tried again soon


def replacement(tenant: Tenant, refused: SecretStr, reason: str) -> SecretStr:
    """The token to ask with after Shopify refused one, for ``reason``, although it had not ended.

    Raises Postponed, and CredentialsRefused when there is none: the refused one is dead then.
    """
    return _renewed(tenant, refused=refused, reason=reason)


def give_up(tenant: Tenant, refused: SecretStr, reason: str) -> Exception:
    """Shopify refuses a token that was got anew. Returns what to raise: the shop has other credentials by now, or is dead."""
    with transaction() as session:
        stored = renewals.changeable(session, tenant.id)
        if stored is not None and stored.access_token != refused:
            return Postponed(BUSY, "the shop's credentials are being replaced")
        _die(session, stored, reason)
    return CredentialsRefused()


# --- renewing --------------------------------------------------------------------------------------------------------


def _renewed(tenant: Tenant, *, refused: SecretStr | None, reason: str) -> SecretStr:
    """The token that another worker has got, or one from Shopify.

    What Shopify answers is stored by the transaction that holds the right to ask: when that is lost so is the answer, and
    whoever comes next asks with the refresh token that was stored before, which works until its replacement is used.
    """
    with transaction() as session:
        is_mine = renewals.is_mine(session, tenant.id)
        current = tenants.get(session, tenant.id) or tenant  # a shop that left is asked without being there
        verdict = _in_hand(current, refused)
        if verdict is None and is_mine:
            verdict = _renew(session, current, refused, reason)
    if verdict is None:
        raise Postponed(BUSY, "another worker renews the shop's token")
    if isinstance(verdict, Exception):  # after the commit: what went wrong is to be remembered
        raise verdict
    return verdict


def _in_hand(current: Tenant, refused: SecretStr | None) -> SecretStr | Exception | None:
    """A token that is neither refused nor due, or why none is asked for now. None: it is time to ask."""
    if current.unauthorized_since is not None:
        return CredentialsRefused()
    token, due_at = current.access_token, renewals.due_at(current)
    is_due = due_at is not None and due_at <= now()
    if token is not None and token != refused and not (is_due and renewals.means(current).are_there):
        return token
    if token is None and due_at is not None and not is_due:
        return Postponed((due_at - now()).total_seconds(), "a new token could not be had a moment ago")
    return None


def _renew(session: Session, current: Tenant, refused: SecretStr | None, reason: str) -> SecretStr | Exception:
    token, ends, means = current.access_token, current.access_token_expires_at, renewals.means(current)
    outcome = _exchange(current.shop_domain, means) if means.are_there else Unauthorized(reason or "it has no token")
    stored = renewals.changeable(session, current.id)
    if stored is not None and (stored.access_token, renewals.means(stored)) != (token, means):
        return Postponed(BUSY, "the shop's credentials were replaced meanwhile")
    is_good = token is not None and token != refused and (ends is None or ends > now())
    return _settled(session, stored, outcome, is_good=is_good)


def _exchange(shop_domain: str, means: Means) -> AccessToken | ShopifyError:
    origin = settings.load().shopify_api_origin
    try:
        if means.client_id is not None and means.client_secret is not None:
            own = App(means.client_id, (means.client_secret.get_secret_value(),))
            return oauth.client_credentials_token(shop_domain, own, origin=origin)
        assert means.refresh_token is not None
        app = our_app()
        if app is None:
            return InvalidClient("SHOPIFY_API_KEY and SHOPIFY_API_SECRET are not set")
        return oauth.refreshed_token(shop_domain, app, means.refresh_token.get_secret_value(), origin=origin)
    except ShopifyError as error:
        return error


def _settled(
    session: Session, stored: Tenant | None, outcome: AccessToken | ShopifyError, *, is_good: bool
) -> SecretStr | Exception:
    """Remember what Shopify answered. ``is_good``: there is a token that is neither refused nor ended."""
    if isinstance(outcome, AccessToken):
        token = SecretStr(outcome.token)
        if stored is not None:
            renewals.store(
                stored,
                access_token=token,
                expires_at=outcome.expires_at,
                refresh_token=SecretStr(outcome.refresh_token) if outcome.refresh_token else None,
                refresh_token_expires_at=outcome.refresh_token_expires_at,
                scopes=sorted(outcome.scopes),
            )
        return token
    if isinstance(outcome, RunawayStop):
        return Postponed(outcome.wait_seconds, str(outcome))
    if isinstance(outcome, Unauthorized) and not _is_ours_to_mend(stored, outcome):
        _die(session, stored, str(outcome))
        return CredentialsRefused()
    return _put_off(session, stored, outcome, is_good=is_good)


def _is_ours_to_mend(stored: Tenant | None, refusal: Unauthorized) -> bool:
    """Shopify does not accept the app itself: one wrong setting must not end the tokens of all shops."""
    return isinstance(refusal, InvalidClient) and stored is not None and stored.client_id is None


def _put_off(session: Session, stored: Tenant | None, failure: ShopifyError, *, is_good: bool) -> Postponed:
    """Nobody asks again before a pause is over."""
    since = stored.unreachable_since if stored is not None else None
    pause = failure.wait_seconds if isinstance(failure, Throttled) else until_next_try(since)
    if is_good:
        pause = max(pause, AHEAD_RETRY)
    if stored is not None:
        stored.token_renewal_at = now() + timedelta(seconds=pause)
        if not is_good:
            stored.access_token, stored.access_token_expires_at = None, None  # it would be refused, whatever its end
            stored.unreachable_since = since if isinstance(failure, Throttled) else since or now()
        if since is None:
            _tell(session, stored, failure)
    return Postponed(pause, f"the shop gives no new token now: {failure}")


def _tell(session: Session, stored: Tenant, failure: ShopifyError) -> None:
    logger.warning("%s: no new token: %s", stored.shop_domain, failure)
    if isinstance(failure, InvalidClient):
        told = f"no new token: Shopify does not accept SHOPIFY_API_KEY and SHOPIFY_API_SECRET ({failure})"
        record(Write(session=session, tenant=stored, at=now()), Level.ERROR, "credentials", told)


def _die(session: Session, stored: Tenant | None, reason: str) -> None:
    """Said once: whoever finds it dead later finds it said."""
    if stored is None or stored.unauthorized_since is not None or stored.status == TenantStatus.ERASING:
        return
    stored.unauthorized_since = now()
    logger.warning("%s needs new credentials: %s", stored.shop_domain, reason)
    told = f"the shop's work rests until it has new credentials: {reason}"
    record(Write(session=session, tenant=stored, at=now()), Level.ERROR, "credentials", told)


# --- shops that nobody asks ------------------------------------------------------------------------------------------


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=3)
def renew_idle() -> None:
    """Have the refresh tokens used that would lapse. Safe to run twice: what was renewed is not due."""
    with transaction() as session:
        found = renewals.idle(session)
    for tenant_id in found:
        renew.send_with_options(args=(str(tenant_id),), delay=tenant_id.int % SPREAD)


@dramatiq.actor(
    queue_name="fetches", dead_letter_lane=owners.of_first_argument, infrastructure_errors=OUTAGES, max_retries=3
)
def renew(tenant_id: str) -> None:
    """Renew one shop's token, if it is due. Safe to run twice."""
    with transaction() as session:
        tenant = tenants.get(session, uuid.UUID(tenant_id))
    if tenant is None or tenant.status not in {TenantStatus.ACTIVE, TenantStatus.PAUSED}:
        return
    try:
        usable(tenant)
    except (Postponed, CredentialsRefused):
        return  # the next sweep asks again, or nobody before there are new credentials


broker.cron("renew-tokens", "@every 1h", renew_idle.message())
