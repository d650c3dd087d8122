"""The resources that we know, by name. A new one is its own file, and its name in the tuple below."""

from collections.abc import Collection, Mapping

from shopify.resource import Resource
from shopify.resources import customers, inventory_levels, orders, products

RESOURCES: Mapping[str, Resource] = {
    resource.name: resource
    for resource in (orders.RESOURCE, customers.RESOURCE, products.RESOURCE, inventory_levels.RESOURCE)
}


def taken(scopes: Collection[str]) -> dict[str, Resource]:
    """What is taken of a shop whose token has these scopes: all but the optional resources that it may not see."""
    return {
        name: resource
        for name, resource in RESOURCES.items()
        if not resource.is_optional or {resource.scope, resource.scope.replace("read_", "write_", 1)} & set(scopes)
    }


def of_topic(topic: str) -> Resource | None:
    """The resource that a webhook of this topic tells of."""
    return next((resource for resource in RESOURCES.values() if topic in resource.topics), None)
