"""From a request's query to Shopify's answer: validation, admission by cost, execution, and what it really cost."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import graphql_sync

from .answers import Refused, error, throttled, too_costly
from .bucket import Bucket
from .cost import MAX_COST, actual_cost, requested_cost
from .outbox import Outbox
from .projection import Compiled, Compiler
from .run import Run
from .selections import operation_of
from .shop import Shop
from .validation import SCHEMA, coerced_variables, parse_query

#: Compiled queries kept.
QUERIES_KEPT = 300


@dataclass(frozen=True)
class Request:
    query: str
    variables: Mapping[str, Any]
    operation_name: str | None = None
    origin: str = "http://127.0.0.1"


class Executor:
    """Serves all shops: the schema is the same for each, so a query is compiled once."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._compiled: OrderedDict[tuple[str, str | None], Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, shop: Shop, request: Request) -> dict[str, Any]:
        """The JSON of the answer; errors stand in it, as Shopify gives them with HTTP 200."""
        try:
            compiled = self._compile(request)
            if compiled.is_introspection:
                return self._introspect(request)
            return self._run(compiled, shop, shop.bucket(), request)
        except Refused as refused:
            return {"errors": refused.errors}

    def _compile(self, request: Request) -> Compiled:
        key = (request.query, request.operation_name)
        compiled = self._compiled.get(key)
        if compiled is None:
            document = parse_query(request.query)
            operation = operation_of(document, request.operation_name)
            if operation is None:
                raise Refused([error("An operation name is required", "BAD_REQUEST")])
            compiled = Compiler(document, operation).compile()
            with self._lock:
                self._compiled[key] = compiled
                if len(self._compiled) > QUERIES_KEPT:
                    self._compiled.popitem(last=False)
        return compiled

    def _run(self, compiled: Compiled, shop: Shop, bucket: Bucket, request: Request) -> dict[str, Any]:
        variables = coerced_variables(compiled.operation, request.variables)
        run = Run(shop, self._outbox, variables, origin=request.origin)
        requested = requested_cost(compiled.prices, run.values)
        if requested > MAX_COST:
            raise Refused([too_costly(requested, MAX_COST)])
        grant = bucket.take(requested)
        if not grant.is_granted:
            cost = {
                "requestedQueryCost": requested,
                "actualQueryCost": None,
                "throttleStatus": bucket.throttled_status(grant.available),
            }
            return {"errors": [throttled()], "extensions": {"cost": cost}}
        actual = 0
        try:
            data = compiled.project(None, run)
            actual = min(requested, actual_cost(compiled.prices, run.tally, run.values))
        finally:
            available = bucket.settle(requested, actual)
        cost = {
            "requestedQueryCost": requested,
            "actualQueryCost": actual,
            "throttleStatus": bucket.status(available),
        }
        answer: dict[str, Any] = {"data": data}
        if run.errors:
            answer["errors"] = run.errors
        answer["extensions"] = {"cost": cost}
        if run.searches:
            answer["extensions"]["search"] = run.searches
        return answer

    def _introspect(self, request: Request) -> dict[str, Any]:
        result = graphql_sync(
            SCHEMA, request.query, variable_values=dict(request.variables), operation_name=request.operation_name
        )
        return dict(result.formatted)
