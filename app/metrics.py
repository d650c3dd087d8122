"""What Prometheus sees: requests and webhooks of this process, and the state of queues and shops at each scrape.

Counters and histograms live in this process. By default gunicorn runs one, so a scrape sees them all; with
WEB_CONCURRENCY above one, each scrape meets one of the processes.
"""

import logging
import time
from collections.abc import Callable, Iterator

from dramatiq.errors import BrokerError
from flask import Flask, Response, g, request
from flask_openapi3.blueprint import APIBlueprint
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import settings
from app.auth import same
from app.problems import Refusal, documented
from models import api_notices, tenant_summaries, watermarks
from models.database import UNANSWERED, transaction
from shopify.version import Kind
from tasks import broker
from tasks.backlogs import backlogs

logger = logging.getLogger(__name__)

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"})

REQUESTS = Histogram(
    "shopstream_request_seconds",
    "Seconds until a request was answered, by route and status.",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WEBHOOKS = Counter("shopstream_webhooks", "Webhooks by what became of them.", ("outcome",))

blueprint = APIBlueprint("metrics", __name__)


def register(app: Flask) -> None:
    app.before_request(_start)
    app.after_request(_observe)


def _start() -> None:
    g.started = time.perf_counter()


def _observe(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "(none)"
    method = request.method if request.method in METHODS else "(other)"
    started = g.get("started", time.perf_counter())
    REQUESTS.labels(method, route, response.status_code).observe(time.perf_counter() - started)
    return response


@blueprint.get(
    "/metrics",
    responses={200: {"description": "Prometheus's text format"}, **documented(401, 404)},
    security=[{"metrics": []}],
)
def metrics() -> Response:
    """Prometheus's metrics. Needs METRICS_TOKEN as a bearer token; without that setting there are none."""
    token = settings.load().metrics_token
    if token is None:
        raise Refusal(404, "metrics are off: set METRICS_TOKEN to have them")
    given = request.authorization
    if given is None or given.type != "bearer" or not same(given.token or "", token.get_secret_value()):
        raise Refusal(401, "the metrics token is needed", headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
    now = CollectorRegistry()
    now.register(_State())
    return Response(generate_latest(REGISTRY) + generate_latest(now), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _State(Collector):
    """Read at each scrape. What is down is told by ``shopstream_up`` and leaves its own metrics out."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("shopstream_up", "Whether a dependency answers.", labels=("dependency",))
        for name, read, errors in (("nats", _queues, (BrokerError,)), ("postgres", _tenants, UNANSWERED)):
            found = _collected(name, read, errors)
            up.add_metric((name,), found is not None)
            yield from found or ()
        yield up


def _collected(name: str, read: Callable[[], list[Metric]], errors: tuple[type[Exception], ...]) -> list[Metric] | None:
    try:
        return read()
    except errors as error:
        logger.warning("%s is left out of the metrics: %s", name, type(error).__name__)
        return None


def _queues() -> list[Metric]:
    depth = GaugeMetricFamily("shopstream_queue_messages", "Messages by queue and state.", labels=("queue", "state"))
    oldest = GaugeMetricFamily("shopstream_queue_oldest_seconds", "Age of the oldest message.", labels=("queue",))
    lag = GaugeMetricFamily(
        "shopstream_queue_lag_seconds", "How long the oldest message waits that no worker has.", labels=("queue",)
    )
    dead = GaugeMetricFamily("shopstream_dead_letters", "Messages that failed for good, by queue.", labels=("queue",))
    for stats in broker.queue_stats():
        for state in ("ready", "delayed", "outstanding"):
            depth.add_metric((stats.queue, state), getattr(stats, state))
        oldest.add_metric((stats.queue,), stats.oldest_seconds)
        lag.add_metric((stats.queue,), stats.lag_seconds)
        dead.add_metric((stats.queue,), stats.dead)
    return [depth, oldest, lag, dead]


def _tenants() -> list[Metric]:
    known = backlogs.now()
    with transaction() as session:
        census = tenant_summaries.census(session, known)
        mended = watermarks.repairs(session)
        noticed = api_notices.totals(session)
    tenants = GaugeMetricFamily("shopstream_tenants", "Tenants by status.", labels=("status",))
    for status, count in census.by_status.items():
        tenants.add_metric((status,), count)
    problems = GaugeMetricFamily(
        "shopstream_tenant_problems",
        "Tenants that have this problem, none for those that have no problem. What NATS tells of is left out while it is away.",
        labels=("problem",),
    )
    for problem, count in census.by_problem.items():
        problems.add_metric((problem,), count)
    quarantined = GaugeMetricFamily(
        "shopstream_quarantined", "Things that could not be stored.", value=census.quarantined
    )
    repairs = CounterMetricFamily(
        "shopstream_repairs", "Resources that no webhook had told of and that were found later.", labels=("resource",)
    )
    for resource, number in mended.items():
        repairs.add_metric((resource,), number)
    deprecations = CounterMetricFamily(
        "shopstream_api_deprecations",
        "Answers of Shopify's that say that something we use is going to be removed.",
        value=noticed.get(Kind.DEPRECATED, 0),
    )
    mismatches = CounterMetricFamily(
        "shopstream_api_version_mismatches",
        "Answers of Shopify's in another version of its API than was asked for.",
        value=noticed.get(Kind.OTHER_VERSION, 0),
    )
    return [tenants, problems, quarantined, repairs, deprecations, mismatches]
