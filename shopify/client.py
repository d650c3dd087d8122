"""One shop's GraphQL Admin API: pages, single resources, exact counts, the shop itself.

Every answer is whole or an error: partial data, filters that were not applied and lists cut short never pass as success.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from shopify import bulk, counts, deletions, listings, shop, subscriptions, transport
from shopify.answers import Answer, answer_of
from shopify.cost import Cost
from shopify.counts import Counts
from shopify.deletions import Deletions
from shopify.errors import CountNotExact, QueryRefused, ShopUnavailable
from shopify.listings import Listing
from shopify.mapping import reason_of
from shopify.resource import PAGE_SIZE, Nested, Resource
from shopify.version import API_VERSION

#: How a page is sorted: by id for a full read, by update for catching up.
SortKey = Literal["ID", "UPDATED_AT"]

#: A resource that changes while its lists are being read is read again, this often at most.
_READS = 3
#: Pages of a nested list: 2,048 variants are nine, and no order has 25,000 lines.
_MAX_NESTED_PAGES = 100


@dataclass(frozen=True, slots=True)
class Page:
    nodes: list[dict[str, Any]]
    end_cursor: str | None
    has_next: bool
    cost: Cost | None
    #: UTC, taken before the request was sent: what the page says is not older than this.
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Node:
    """One resource with its lists complete, or None when the shop has none of that id."""

    node: dict[str, Any] | None
    #: Of all the queries that it took.
    cost: Cost | None
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Nodes:
    """Those of some ids that the shop has, their lists as far as one page."""

    nodes: list[dict[str, Any]]
    cost: Cost | None
    read_at: datetime


class Client:
    """A shop's API under one access token. Cheap to make; its connections are kept by thread and shop.

    Every method raises Throttled (RateLimited429 too), Unauthorized, AccessDenied, ShopUnavailable, QueryRefused or
    RunawayStop.
    """

    def __init__(
        self,
        shop_domain: str,
        access_token: str,
        *,
        origin: str | None = None,
        timeout: tuple[float, float] = transport.TIMEOUT,
    ) -> None:
        self.shop_domain = shop_domain
        self._address = transport.shop_address(shop_domain, origin)
        self._token = transport.checked_token(access_token)
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"Client({self.shop_domain!r})"

    def execute(self, query: str, variables: Mapping[str, Any] | None = None) -> Answer:
        """Send one query. Its data is complete."""
        reply = transport.post(
            f"{self._address}/admin/api/{API_VERSION}/graphql.json",
            address=self._address,
            payload={"query": query, "variables": dict(variables or {})},
            headers={"X-Shopify-Access-Token": self._token, "Accept": "application/json"},
            timeout=self._timeout,
        )
        return answer_of(reply, shop_domain=self.shop_domain)

    def _ask(self, resource: Resource, query: str, variables: Mapping[str, Any]) -> Answer:
        """Put a resource's query; without what the shop says that it does not know, if the rest is worth having."""
        try:
            return self.execute(query, variables)
        except QueryRefused as refusal:
            known = query
            for selected in resource.dispensable:
                if selected.split()[0] in str(refusal):
                    known = known.replace(selected, "")
            if known == query:
                raise
        return self.execute(known, variables)

    def page(
        self,
        resource: Resource,
        after: str | None = None,
        *,
        first: int = PAGE_SIZE,
        sort: SortKey = "ID",
        search: str | None = None,
    ) -> Page:
        """One page of at most ``first`` (1 to 250) nodes after the cursor ``after``."""
        read_at = datetime.now(UTC)
        variables = {"first": first, "after": after, "search": search}
        answer = self._ask(
            resource, resource.page_query, variables | ({"sortKey": sort} if resource.is_sortable else {})
        )
        connection = _Connection.of(answer.data.get(resource.connection), resource.connection)
        connection.check_end(resource.name, after)
        return Page(connection.nodes, connection.end_cursor, connection.has_next, answer.cost, read_at)

    def node(self, resource: Resource, shopify_id: int) -> Node:
        """One resource by its id. Nested lists longer than a page are read to their end.

        Raises ShopUnavailable also when it changes faster than it can be read.
        """
        spent: Cost | None = None
        for _ in range(_READS):
            read_at = datetime.now(UTC)
            answer = self._ask(resource, resource.node_query, {"id": resource.gid(shopify_id)})
            spent = _sum(spent, answer.cost)
            node = answer.data.get(resource.node_field)
            if node is None:
                return Node(None, spent, read_at)
            is_torn = False
            for nested in resource.nested:
                for holder in _holders(node, nested):
                    rest = self._rest(resource, node, holder, nested)
                    spent = _sum(spent, rest.cost)
                    is_torn = is_torn or rest.is_torn
            if not is_torn:
                return Node(node, spent, read_at)
        raise ShopUnavailable(f"{resource.name} {shopify_id} changes faster than it can be read")

    def nodes(self, resource: Resource, shopify_ids: Sequence[int]) -> Nodes:
        """Several by their ids, in one question. A nested list longer than a page is not read on: its row is not whole."""
        read_at = datetime.now(UTC)
        answer = self._ask(resource, resource.nodes_query, {"ids": [resource.gid(each) for each in shopify_ids]})
        nodes = answer.data.get("nodes")
        if not isinstance(nodes, list):
            raise ShopUnavailable(f"the answer about some {resource.name} is no list")
        return Nodes([node for node in nodes if isinstance(node, dict) and node], answer.cost, read_at)

    def _rest(self, resource: Resource, node: dict[str, Any], holder: dict[str, Any], nested: Nested) -> "_Rest":
        """Append to ``holder``, which is ``node`` or a part of it, what follows the first page of one of its lists."""
        spent: Cost | None = None
        connection = _Connection.of(holder.get(nested.field), nested.field)
        nodes = connection.nodes
        for _ in range(_MAX_NESTED_PAGES):
            if not connection.has_next:
                holder[nested.field] = {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}
                return _Rest(spent, is_torn=False)
            answer = self.execute(nested.query, {"id": holder["id"], "after": connection.end_cursor})
            spent = _sum(spent, answer.cost)
            found = answer.data.get(nested.root)
            whole = found if nested.inside is None else (found or {}).get(resource.node_field)
            if found is None or whole is None or whole.get("updatedAt") != node.get("updatedAt"):
                return _Rest(spent, is_torn=True)
            connection = _Connection.of(found.get(nested.field), nested.field)
            nodes.extend(connection.nodes)
        raise ShopUnavailable(f"{nested.field} of one of the {resource.name} never ends")

    def count(self, resource: Resource, search: str | None = None) -> int:
        """How many there are, exactly, of a resource that Shopify counts. Raises CountNotExact."""
        assert resource.count_query is not None
        answer = self.execute(resource.count_query, {"search": search})
        counts = [value for value in answer.data.values() if isinstance(value, dict)]
        number = counts[0].get("count") if counts else None
        if type(number) is not int or number < 0:
            raise ShopUnavailable(f"the count of {resource.name} is no number")
        if counts[0].get("precision") != "EXACT":
            raise CountNotExact(f"the shop counts only that it has at least {number} {resource.name}")
        return number

    def counts(self, resource: Resource, searches: Sequence[str]) -> Counts:
        """Of each search, at most ``counts.MOST``, how many there are."""
        variables = {f"s{number}": each for number, each in enumerate(searches)}
        answer = self.execute(counts.query(resource, len(searches)), variables)
        return Counts(counts.numbers_of(answer.data, len(searches)), answer.cost)

    def listing(self, resource: Resource, after: str | None, search: str) -> Listing:
        """One page of the ids that a search finds, sorted by id."""
        answer = self.execute(listings.query(resource), {"after": after, "search": search})
        connection = _Connection.of(answer.data.get(resource.connection), resource.connection)
        connection.check_end(resource.name, after)
        versions = listings.versions_of(resource, connection.nodes)
        return Listing(versions, connection.end_cursor, connection.has_next, answer.cost)

    def deletions(self, resource: Resource, after: str | None, since: datetime) -> Deletions:
        """One page of what was deleted of a resource since then, oldest first."""
        variables = {"after": after, "search": deletions.search_of(resource, since)}
        answer = self.execute(deletions.QUERY, variables)
        if not isinstance(answer.data.get("events"), dict):
            raise QueryRefused("the shop shows no events")
        connection = _Connection.of(answer.data["events"], "events")
        connection.check_end("events", after)
        deleted_at = deletions.deleted_in(resource, connection.nodes)
        return Deletions(deleted_at, connection.end_cursor, connection.has_next, answer.cost)

    def shop(self) -> shop.ShopInfo:
        """The shop and our scopes there. Raises also UnknownTimeZone."""
        answer = self.execute(shop.QUERY)
        try:
            return shop.from_answer(answer.data)
        except ValidationError as error:
            reason = reason_of(error)
        raise ShopUnavailable(f"the answer about the shop makes no sense: {reason}")

    def start_bulk(self, resource: Resource, search: str | None = None) -> str:
        """Have Shopify read everything that ``search`` finds, the newest first if it will. Returns the operation's id.

        Raises BulkOperationInProgress.
        """
        try:
            return self._start_bulk(bulk.query_of(resource, search, newest_first=True))
        except QueryRefused:
            return self._start_bulk(bulk.query_of(resource, search, newest_first=False))

    def _start_bulk(self, query: str) -> str:
        return bulk.started(self.execute(bulk.START, {"query": query}).data)

    def bulk_operation(self, operation_id: str) -> bulk.BulkOperation | None:
        """How a bulk operation stands. None: the shop knows of none of that id."""
        return bulk.operation_of(self.execute(bulk.QUERY, {"id": operation_id}).data)

    def cancel_bulk(self, operation_id: str) -> None:
        """Stop a bulk operation. One that has ended is left as it is."""
        self.execute(bulk.CANCEL, {"id": operation_id})

    def subscriptions(self, uri: str) -> dict[str, str]:
        """The ids of the webhook subscriptions to an address, by GraphQL's name of their topic."""
        return subscriptions.held(self.execute(subscriptions.QUERY, {"uri": uri}).data)

    def subscribe(self, topics: Sequence[str], uri: str) -> dict[str, str]:
        """Subscribe to topics such as ``orders/create``. Returns, by topic, why the shop refused some."""
        answer = self.execute(subscriptions.subscribe(topics), {"uri": uri})
        return subscriptions.refusals(topics, answer.data)

    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Delete subscriptions. What is gone already does no harm."""
        self.execute(subscriptions.unsubscribe(len(ids)), {f"i{number}": each for number, each in enumerate(ids)})


@dataclass(frozen=True, slots=True)
class _Rest:
    cost: Cost | None
    #: The resource changed between two of the queries, so that the parts may not fit together.
    is_torn: bool


@dataclass(frozen=True, slots=True)
class _Connection:
    nodes: list[dict[str, Any]]
    end_cursor: str | None
    has_next: bool

    @classmethod
    def of(cls, value: Any, name: str) -> "_Connection":
        if isinstance(value, dict) and isinstance(value.get("pageInfo"), dict) and isinstance(value.get("nodes"), list):
            has_next, cursor = value["pageInfo"].get("hasNextPage"), value["pageInfo"].get("endCursor")
            if isinstance(has_next, bool) and (cursor is None or isinstance(cursor, str)):
                return cls(list(value["nodes"]), cursor, has_next)
        raise ShopUnavailable(f"{name}: the answer is not a page")

    def check_end(self, name: str, after: str | None) -> None:
        """Raises ShopUnavailable when the page after this one, which came after ``after``, would be the same again."""
        if self.has_next and (self.end_cursor is None or self.end_cursor == after):
            raise ShopUnavailable(f"{name}: a page that is followed by another names no cursor of its own")


def _holders(node: dict[str, Any], nested: Nested) -> list[dict[str, Any]]:
    """Where the connection is: the resource itself, or every item of one of its plain lists."""
    if nested.inside is None:
        return [node]
    items = node.get(nested.inside)
    if isinstance(items, list) and all(isinstance(item, dict) for item in items):
        return items
    raise ShopUnavailable(f"{nested.inside}: the answer is not a list")


def _sum(spent: Cost | None, more: Cost | None) -> Cost | None:
    return more if spent is None else spent.plus(more)
