"""A shop that came after Postgres gathered its statistics: every statement finds its rows by what it asks for."""

import base64
import json
import re
from collections import defaultdict

import pytest
from sqlalchemy import event, text

from models import analytics, redactions, sales_report, tenants
from models.columns import now
from models.database import engine, transaction
from models.forgetting import forget
from models.sync_runs import Mode, RunStatus
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long

#: Of these a plan is told; a table that is filled by COPY is gone afterwards.
EXPLAINED = re.compile(r"\s*(select|with|insert|update|delete)\b(?!.*\bfrom staged\b)", re.IGNORECASE | re.DOTALL)


@pytest.fixture
def statements():
    """Every statement that this process puts to Postgres, with its values."""
    put = {}

    def note(_connection, _cursor, statement, values, _context, _many):
        put[statement] = values

    event.listen(engine(), "after_cursor_execute", note)
    yield put
    event.remove(engine(), "after_cursor_execute", note)


def test_every_statement_finds_the_rows_of_a_late_shop_by_what_it_asks_for(worker, open_shop, tell, statements):
    # Given statistics that know another shop alone
    assert open_shop(orders=400, customers=150, products=40).sync(mode=Mode.PAGES).status == RunStatus.COMPLETED
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("analyze")
    # When everything happens to a late one
    statements.clear()
    live(open_shop(orders=80, customers=30, products=10), tell)
    # Then no statement reads all of its rows to find some
    plans = [
        (statement, plan_of(statement, values))
        for statement, values in list(statements.items())
        if EXPLAINED.match(statement)
    ]
    following = columns_after_the_tenant()
    blind = {
        f"{scan['Relation Name']} by {scan['Index Cond']}, then {scan['Filter']}\n{statement}"
        for statement, plan in plans
        for scan in scans_of(plan)
        if is_blind(scan, following[scan["Relation Name"]])
    }
    assert len(plans) > 60
    assert not blind, "\n\n".join(blind)


def live(shop, tell):
    """What a shop goes through: its history, webhooks, figures, counts, and a person who is forgotten."""
    from tasks import catching_up, proving  # noqa: PLC0415

    for mode in (Mode.BULK, Mode.PAGES):
        assert shop.sync(mode=mode).status == RunStatus.COMPLETED
    customers = [each["id"] for each in shop.ids("customers")]
    orders = [each["id"] for each in shop.ids("orders")]
    happened = shop.act(
        {"action": "updateOrder", "id": orders[0], "note": "Gift"},
        {"action": "refundOrder", "id": orders[0]},
        {"action": "mergeCustomers", "one": customers[0], "two": customers[1]},
        {"action": "deleteOrder", "id": orders[1]},
        webhooks="return",
    )
    for each in happened["webhooks"]:
        tell(shop, each["topic"], json.loads(base64.b64decode(each["body"])))
    eventually(lambda: f"order {orders[1]} deleted" in "\n".join(shop.events()), timeout=30)
    with transaction() as session:
        sales_report.report(session, shop.tenant(), first=now().date(), last=now().date())
        analytics.stats(session, shop.tenant())
        analytics.top_customers(session, shop.tenant(), limit=5)
    proving.prove.fn(str(shop.tenant_id))
    catching_up.catch_up.fn(str(shop.tenant_id))
    with tenants.write(shop.tenant_id) as write:
        redactions.mark(write, redactions.PEOPLE, [int(customers[2])])
        forget(write)


def plan_of(statement, values):
    """As it is where tables are large: by an index, if any serves."""
    with engine().connect() as connection:
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            connection.exec_driver_sql(f"set local enable_{way} = off")
        return connection.exec_driver_sql(f"explain (format json) {statement}", values).scalar_one()[0]["Plan"]


def scans_of(plan):
    if "Index Cond" in plan and "Filter" in plan:
        yield plan
    for each in plan.get("Plans", ()):
        yield from scans_of(each)


def columns_after_the_tenant():
    """By table: those that follow the tenant in one of its indexes."""
    query = r"""
        select tablename, (regexp_match(indexdef, '\(tenant_id, (\w+)'))[1] as following from pg_indexes
        where schemaname = 'public' and indexdef ~ '\(tenant_id, '
    """
    found = defaultdict(set)
    with transaction() as session:
        for table, following in session.execute(text(query)):
            found[table].add(following)
    return found


def is_blind(scan, following):
    """Whether the index is asked for the tenant alone, and a column that another index has is left for the filter."""
    led, left = scan["Index Cond"], scan["Filter"]
    asked = {column for column in following if re.search(rf"\b{column} (=|>=|>) ", left)}
    return "tenant_id" in led and bool(asked) and not any(re.search(rf"\b{column}\b", led) for column in following)
