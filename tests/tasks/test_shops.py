"""Asking a shop: what one worker learns of its budget holds for all."""

from contextlib import suppress

import pytest

from shopify import shop as shop_query
from shopify.client import Client
from shopify.errors import Throttled


def test_a_throttled_answer_keeps_the_others_from_asking_in_vain(open_shop):
    from tasks import shops  # noqa: PLC0415

    # Given a shop of whose bucket we think that it is full, and that somebody else has emptied
    shop = open_shop()
    shop.configure(bucketSize=100, restoreRate=1)
    tenant = shop.tenant()
    shops.ask(tenant, lambda client: client.shop(), cost=shop_query.QUERY_COST)
    other = Client(shop.domain, tenant.access_token.get_secret_value(), origin=shop.store.url)
    with suppress(Throttled):
        while True:
            other.shop()
    before = shop.truth()["budget"]["throttled"]
    # When one asks and is throttled
    with pytest.raises(shops.Postponed):
        shops.ask(tenant, lambda client: client.shop(), cost=shop_query.QUERY_COST)
    # Then the next one knows, without asking
    with pytest.raises(shops.Postponed):
        shops.ask(tenant, lambda client: client.shop(), cost=shop_query.QUERY_COST)
    assert shop.truth()["budget"]["throttled"] == before + 1
