"""Customer and MailingAddress."""

# ruff: noqa: ARG005 - every field is called alike, whether it needs the run or not

from typing import Any

from scripts.store.paging import Slice
from scripts.store.records import Address, Customer, Order
from scripts.store.run import Run

from . import lists


def amount_spent(customer: Customer, run: Run) -> tuple[int, str]:
    return run.shop.spending(customer.id).spent, run.shop.settings.currency


def own_orders(customer: Customer, run: Run, arguments: dict[str, Any]) -> Slice:
    return lists.orders_of(customer.id, run, arguments)


def last_order(customer: Customer, run: Run) -> Order | None:
    arguments = {"first": 1, "reverse": True, "sortKey": "PROCESSED_AT", "path": ("lastOrder",)}
    found = lists.orders_of(customer.id, run, arguments).items
    return found[0] if found else None


PLAIN = {
    "Customer": {
        "id": "f'gid://shopify/Customer/{o.id}'",
        "legacyResourceId": "str(o.id)",
        "firstName": "o.first_name",
        "lastName": "o.last_name",
        "displayName": "o.display_name",
        "email": "o.email",
        "phone": "o.phone",
        "state": "o.state.upper()",
        "verifiedEmail": "o.verified_email",
        "taxExempt": "False",
        "tags": "o.tags",
        "note": "o.note",
        "locale": "'en'",
        "defaultEmailAddress": "o if o.email else None",
        "defaultPhoneNumber": "o if o.phone else None",
        "defaultAddress": "o.address",
        "createdAt": "utc(o.created_at)",
        "updatedAt": "utc(o.updated_at)",
        "productSubscriberStatus": "'NEVER_SUBSCRIBED'",
        "lifetimeDuration": "'about 1 year'",
        "numberOfOrders": "str(r.shop.spending(o.id).orders)",
        "canDelete": "r.shop.spending(o.id).orders == 0",
    },
    "CustomerEmailAddress": {"emailAddress": "o.email", "marketingState": "'NOT_SUBSCRIBED'"},
    "CustomerPhoneNumber": {"phoneNumber": "o.phone", "marketingState": "'NOT_SUBSCRIBED'"},
    "MailingAddress": {
        "id": "f'gid://shopify/MailingAddress/{o.id}?model_name=CustomerAddress'",
        "firstName": "o.first_name",
        "lastName": "o.last_name",
        "name": "f'{o.first_name} {o.last_name}'",
        "company": "None",
        "address1": "o.address1",
        "address2": "None",
        "city": "o.city",
        "province": "o.province_code",
        "provinceCode": "o.province_code",
        "country": "o.country_code",
        "countryCodeV2": "o.country_code",
        "zip": "o.zip",
        "phone": "None",
    },
}

CALLS: dict[str, dict[str, Any]] = {
    "Customer": {
        "amountSpent": amount_spent,
        "orders": own_orders,
        "lastOrder": last_order,
        "addresses": lambda o, r, arguments: [o.address] if o.address else [],
    }
}

SCOPES = {("Customer", "orders"): "read_orders", ("Customer", "lastOrder"): "read_orders"}
TYPES = {Customer: "Customer", Address: "MailingAddress"}
