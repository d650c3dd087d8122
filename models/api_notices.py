"""What Shopify's answers said about our version of its API: how many of them, over all processes, and when it was last told."""

from datetime import datetime, timedelta

import sqlalchemy
from sqlalchemy import text
from sqlmodel import Field, Session, SQLModel

from models.columns import now, now_field

#: Told again after so long: what nobody has mended yet should not be forgotten with yesterday's log.
TOLD_EVERY = timedelta(days=1)
#: Different details kept for a kind: they come from outside, and each stays for good, so that counts never sink.
MOST_DETAILS = 1000
OTHERS = "(others)"


class ApiNotice(SQLModel, table=True):
    __tablename__ = "api_notices"

    kind: str = Field(primary_key=True)
    detail: str = Field(primary_key=True)
    answers: int = Field(sa_type=sqlalchemy.BigInteger)
    told_at: datetime = now_field()


_COUNT = """
insert into api_notices (kind, detail, answers, told_at)
select :kind,
       case when (select count(*) from api_notices where kind = :kind) < :most
              or exists (select from api_notices where kind = :kind and detail = :detail)
            then :detail else :others end,
       :answers, :at
on conflict (kind, detail) do update
set answers = api_notices.answers + excluded.answers,
    told_at = case when api_notices.told_at <= :told_before then excluded.told_at else api_notices.told_at end
returning told_at = :at as is_news
"""


def count(session: Session, *, kind: str, detail: str, answers: int) -> bool:
    """Count answers that said this. Whether it is to be told: of all processes one is chosen, once in TOLD_EVERY."""
    at = now()
    values = {"kind": kind, "detail": detail, "answers": answers, "at": at, "told_before": at - TOLD_EVERY}
    counted = session.execute(text(_COUNT), values | {"most": MOST_DETAILS, "others": OTHERS})
    return bool(counted.scalar_one())


def totals(session: Session) -> dict[str, int]:
    """By kind, how many answers said anything of it, ever."""
    rows = session.execute(text("select kind, sum(answers) as answers from api_notices group by kind"))
    return {row.kind: int(row.answers) for row in rows}
