"""What can go wrong between us and Shopify, told apart by what the caller has to do about it.

No error's text holds an access token or a secret.
"""

from collections.abc import Sequence

from shopify.cost import Cost


class ShopifyError(Exception):
    """A call to Shopify failed."""


class Throttled(ShopifyError):
    """The shop's budget does not admit the query now: wait ``wait_seconds``, then ask again."""

    def __init__(self, message: str, *, wait_seconds: float, cost: Cost | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        #: What the answer says of the bucket, where it does.
        self.cost = cost


class RateLimited429(Throttled):
    """HTTP 429: too many requests, whatever they cost. ``retry_after`` is in seconds."""

    @property
    def retry_after(self) -> float:
        return self.wait_seconds


class RunawayStop(ShopifyError):
    """This process sends more requests a second than it ever should. Wait ``wait_seconds``."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__("this process reached its own ceiling of requests to Shopify a second")
        self.wait_seconds = wait_seconds


class Unauthorized(ShopifyError):
    """401: the token or the client credentials are dead. Asking again does not help; new credentials do."""


class InvalidClient(Unauthorized):
    """Shopify does not accept a client's id and secret: whatever they were to get is not at fault."""


class AccessDenied(ShopifyError):
    """The token may not see what was asked. ``fields`` are the refused paths, ``scopes`` what would allow them."""

    def __init__(self, message: str, *, fields: Sequence[str] = (), scopes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.fields = tuple(fields)
        self.scopes = tuple(scopes)


class ShopUnavailable(ShopifyError):
    """The shop cannot be asked now: no connection, a timeout, 5xx, a frozen or locked shop, an answer cut short."""


class QueryRefused(ShopifyError):
    """Our mistake: a field that does not exist, a filter that is not applied, a query that costs too much."""


class BulkOperationInProgress(ShopifyError):
    """As many bulk operations as are allowed run for this app and shop: wait for one to end."""


class LinkExpired(ShopifyError):
    """The link to a bulk operation's file is no longer good."""


class FileInvalid(ShopifyError):
    """A bulk operation's file is not what was asked for: a line that is no node, or children that do not follow their parent."""


class CountNotExact(ShopifyError):
    """The shop gave a lower bound where an exact count was asked for."""


class UnknownTimeZone(ShopifyError):
    """The shop's time zone is in no time zone data of ours, so its days cannot be told."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the shop's time zone {name!r} is unknown here: update the tzdata package")


class PayloadRejected(Exception):
    """A webhook's body does not have its topic's shape. The reason holds nothing of the body."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
