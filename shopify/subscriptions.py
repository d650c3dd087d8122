"""Webhook subscriptions that an app makes through the Admin API: what we want of a shop, and what it has.

Shopify deletes such a subscription after eight deliveries in a row that failed, so they have to be looked after.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from shopify.errors import ShopUnavailable
from shopify.resources import taken

#: Topics of the shop, of the app itself and of what it asked for.
SHOP_TOPICS = ("app/scopes_update", "app/uninstalled", "bulk_operations/finish", "shop/update")
#: More than there are topics: a shop has each once for our address.
_MOST = 250
#: Points of QUERY, and of each mutation in a document.
QUERY_COST, MUTATION_COST = 13, 10

QUERY = f"""query Subscriptions($uri: String!) {{
  webhookSubscriptions(first: {_MOST}, uri: $uri) {{ nodes {{ id topic }} }}
}}"""
#: What a shop says of a subscription that is there already.
_TAKEN = "already been taken"


def wanted_topics() -> tuple[str, ...]:
    """Every topic that means something to us in any shop, such as ``orders/create``."""
    return tuple(sorted({*_topics_of(()), *SHOP_TOPICS}))


def optional_topics(scopes: Collection[str]) -> tuple[str, ...]:
    """The topics that we want besides of a shop whose token has these scopes."""
    return tuple(sorted(_topics_of(scopes) - _topics_of(())))


def _topics_of(scopes: Collection[str]) -> set[str]:
    return {topic for resource in taken(scopes).values() for topic in resource.topics}


def enum_of(topic: str) -> str:
    """GraphQL's name of a topic: ``ORDERS_CREATE`` of ``orders/create``."""
    return topic.replace("/", "_").upper()


def held(data: Mapping[str, Any]) -> dict[str, str]:
    """The ids of the subscriptions in the answer to QUERY, by GraphQL's name of their topic."""
    try:
        return {str(node["topic"]): str(node["id"]) for node in data["webhookSubscriptions"]["nodes"]}
    except (KeyError, TypeError):
        raise ShopUnavailable("the answer about webhook subscriptions makes no sense") from None


def subscribe(topics: Iterable[str]) -> str:
    """A document that subscribes to all of these, each under an alias of its own. Variable: uri."""
    fields = "\n".join(
        f"  t{number}: webhookSubscriptionCreate(topic: {enum_of(topic)},"
        " webhookSubscription: {uri: $uri, format: JSON}) { userErrors { message } }"
        for number, topic in enumerate(topics)
    )
    return f"mutation Subscribe($uri: String!) {{\n{fields}\n}}"


def refusals(topics: Iterable[str], data: Mapping[str, Any]) -> dict[str, str]:
    """By topic, why the shop refused it, in the answer to ``subscribe``. One that is there already is no refusal."""
    found = {}
    for number, topic in enumerate(topics):
        payload = data.get(f"t{number}")
        errors = payload.get("userErrors") if isinstance(payload, Mapping) else None
        messages = [str(each.get("message", "")) for each in errors or () if isinstance(each, Mapping)]
        told = [message for message in messages if _TAKEN not in message]
        if told or not isinstance(payload, Mapping):
            found[topic] = "; ".join(told)[:200] or "no answer"
    return found


def unsubscribe(count: int) -> str:
    """A document that deletes so many subscriptions. Variables: i0, i1 and so on, their ids."""
    variables = ", ".join(f"$i{number}: ID!" for number in range(count))
    fields = "\n".join(
        f"  d{number}: webhookSubscriptionDelete(id: $i{number}) {{ userErrors {{ message }} }}"
        for number in range(count)
    )
    return f"mutation Unsubscribe({variables}) {{\n{fields}\n}}"
