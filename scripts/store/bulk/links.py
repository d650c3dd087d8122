"""The signed links to results: no access token opens them, and none is needed."""

import hashlib
import hmac
import re
from urllib.parse import urlencode

from scripts.store.clock import SECOND
from scripts.store.shop import Shop

from .operations import BulkOperation

PATH = re.compile(r"/bulk-operation-outputs/(?P<domain>[^/]+)/(?P<number>\d+)\.jsonl\Z")


def path_of(shop: Shop, operation: BulkOperation) -> str:
    """The path and query of the link; the same until it expires."""
    path = f"/bulk-operation-outputs/{shop.domain}/{operation.id}.jsonl"
    expires = str(operation.link_expires_at // SECOND)
    return f"{path}?{urlencode({'Expires': expires, 'Signature': signature(shop, path, expires)})}"


def signature(shop: Shop, path: str, expires: str) -> str:
    return hmac.new(shop.settings.client_secret.encode(), f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
