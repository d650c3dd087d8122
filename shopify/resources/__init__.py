"""The resources that we know, by name. A new one is its own file, and its name in the tuple below."""

from collections.abc import Mapping

from shopify.resource import Resource
from shopify.resources import customers, orders, products

RESOURCES: Mapping[str, Resource] = {
    resource.name: resource for resource in (orders.RESOURCE, customers.RESOURCE, products.RESOURCE)
}
