"""What a webhook says happened, once its body was found to have its topic's shape."""

from dataclasses import dataclass, field

from shopify.row import Row
from shopify.shop import ShopInfo


@dataclass(frozen=True, slots=True)
class Upsert:
    """A resource is now as in ``row``; unless the row is whole, it has to be fetched besides."""

    resource: str
    row: Row


@dataclass(frozen=True, slots=True)
class Delete:
    resource: str
    shopify_id: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """A resource changed in a way that the payload does not tell whole."""

    resource: str
    shopify_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Merge:
    """Two customers became one: the orders of the deleted one are the kept one's."""

    kept_id: int
    deleted_id: int


@dataclass(frozen=True, slots=True)
class MergeNotDone:
    """A merge of two customers failed, or is not done yet. Both are as they were."""

    kept_id: int
    deleted_id: int
    status: str


@dataclass(frozen=True, slots=True)
class AppUninstalled:
    """The token is already dead. ``shop`` is None when the rest of the body cannot be used."""

    shop: ShopInfo | None


@dataclass(frozen=True, slots=True)
class ShopUpdated:
    shop: ShopInfo


@dataclass(frozen=True, slots=True)
class ScopesUpdated:
    """What the app may see changed."""

    previous: frozenset[str]
    current: frozenset[str]


@dataclass(frozen=True, slots=True)
class BulkFinished:
    """A bulk operation ended; ``operation`` is its global id."""

    operation: str
    status: str
    error_code: str | None


@dataclass(frozen=True, slots=True)
class DataRequested:
    """customers/data_request: a person asks what is stored of them."""

    customer_id: int | None
    order_ids: tuple[int, ...] = ()
    request_id: int | None = None
    #: For a person who is known by email or phone only.
    email: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedactCustomer:
    """customers/redact: nothing of the person may remain."""

    customer_id: int | None
    order_ids: tuple[int, ...] = ()
    email: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedactShop:
    """shop/redact: nothing of the shop may remain."""

    shop_id: int | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A topic that means nothing to us."""

    topic: str


Event = (
    Upsert
    | Delete
    | Fetch
    | Merge
    | MergeNotDone
    | AppUninstalled
    | ShopUpdated
    | ScopesUpdated
    | BulkFinished
    | DataRequested
    | RedactCustomer
    | RedactShop
    | Unknown
)
