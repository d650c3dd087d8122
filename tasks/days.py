"""A shop's own days as moments."""

import zoneinfo
from datetime import UTC, date, datetime, time

from models.tenants import Tenant


def midnight(day: date, tenant: Tenant) -> datetime:
    """When a day of the shop's begins, in UTC."""
    return datetime.combine(day, time.min, zoneinfo.ZoneInfo(tenant.timezone)).astimezone(UTC)


def day_of(moment: datetime, tenant: Tenant) -> date:
    return moment.astimezone(zoneinfo.ZoneInfo(tenant.timezone)).date()
