"""What merchants and buyers do to a shop: each action changes it in one step and says which webhooks that sends.

A refund sends refunds/create and orders/updated, an edit orders/edited and orders/updated, and so on, as Shopify does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import changes, clock, inventory
from .arithmetic import totals
from .catalogue import invent_product
from .changes import ChangeRefused, Item, Terms
from .identity import gid, place_of, sibling
from .outbox import Message, Outbox
from .payloads import customer_payload, order_payload, product_payload
from .people import invent_customer
from .records import Customer, Order, Product, Refund, copied
from .refund_payloads import refund_payload, transaction_payload
from .shop import Shop


class NotThere(LookupError):
    """The record is unknown or deleted."""


class Actions:
    """The actions on one shop. ``at`` is when it happens (now unless given); ``send`` whether webhooks go out."""

    def __init__(self, shop: Shop, outbox: Outbox, *, send: bool = True) -> None:
        self.shop = shop
        self._outbox = outbox
        self._send = send
        #: Webhooks queued so far.
        self.sent = 0

    def _publish(self, messages: list[Message], at: int) -> None:
        if self._send:
            self.sent += self._outbox.publish(self.shop, messages, at=at)

    # Orders

    def create_order(
        self,
        items: Sequence[Item],
        terms: Terms,
        *,
        at: int | None = None,
        customer_id: int | None = None,
        email: str | None = None,
        is_test: bool = False,
        is_paid: bool = True,
        **values: Any,
    ) -> Order:
        with self.shop.lock:
            at = at or clock.now()
            order_id = self.shop.new_id("order")
            customer = self.shop.customers.get(customer_id) if customer_id else None
            order = changes.place(
                order_id,
                number=1001 + place_of(order_id),
                at=at,
                items=items,
                terms=terms,
                customer_id=customer.id if customer else None,
                email=customer.email if customer else email,
                is_test=is_test,
            )
            order.created_at = order.updated_at = at
            if is_paid and totals(order).outstanding.shop:
                changes.pay(order, at)
            for name, value in values.items():
                setattr(order, name, value)
            self.shop.commit(order)
            messages = [("orders/create", order_payload(self.shop, order))]
            if is_paid:
                messages.append(("orders/paid", order_payload(self.shop, order)))
            messages += self._transactions(order, 0)
        self._publish(messages, order.updated_at)
        return order

    def _transactions(self, order: Order, since: int) -> list[Message]:
        return [
            ("order_transactions/create", transaction_payload(self.shop, order, part))
            for part in order.transactions[since:]
        ]

    def _change_order(
        self,
        order_id: int,
        change: Callable[[Order], Any],
        *topics: str,
        extra: Callable[[Order, Any], list[Message]] | None = None,
    ) -> Order:
        """Change a copy, store it, and send ``topics`` with the whole order besides what ``extra`` adds."""
        with self.shop.lock:
            held = self.shop.orders.get(order_id)
            if held is None:
                raise NotThere("Order does not exist")
            order = copied(held)
            count = len(order.transactions)
            outcome = change(order)
            self.shop.commit(order)
            payload = order_payload(self.shop, order)
            messages = [*(extra(order, outcome) if extra else []), *((topic, payload) for topic in topics)]
            messages += self._transactions(order, count)
        self._publish(messages, order.updated_at)
        return order

    def update_order(self, order_id: int, values: Mapping[str, Any], *, at: int | None = None) -> Order:
        """Change note, tags, email and so on."""

        def change(order: Order) -> None:
            for name, value in values.items():
                if name not in {"note", "tags", "email", "phone", "closed_at"}:
                    raise ChangeRefused(f"{name} cannot be changed")
                setattr(order, name, value)
            changes.touch(order, at or clock.now())

        return self._change_order(order_id, change, "orders/updated")

    def pay(self, order_id: int, *, at: int | None = None) -> Order:
        return self._change_order(
            order_id, lambda order: changes.pay(order, at or clock.now()), "orders/paid", "orders/updated"
        )

    def fulfill(self, order_id: int, *, at: int | None = None, is_partial: bool = False) -> Order:
        def extra(order: Order, _: None) -> list[Message]:
            topic = "orders/fulfilled" if order.fulfillment_status == "fulfilled" else "orders/partially_fulfilled"
            return [(topic, order_payload(self.shop, order))]

        def change(order: Order) -> None:
            changes.fulfill(order, at or clock.now(), is_partial=is_partial)

        return self._change_order(order_id, change, "orders/updated", extra=extra)

    def refund(self, order_id: int, change: Callable[[Order], Refund]) -> Order:
        """``change`` makes the refund (see changes.refund) and returns it."""
        return self._change_order(order_id, change, "orders/updated", extra=self._refunded)

    def settle_refund(self, order_id: int, *, at: int | None = None) -> Order:
        """A pending refund's transaction succeeds, of which order_transactions/create tells too."""

        def extra(order: Order, refund: Refund) -> list[Message]:
            settled = [part for part in order.transactions if part.id in refund.transaction_ids]
            return [("order_transactions/create", transaction_payload(self.shop, order, part)) for part in settled]

        return self._change_order(
            order_id, lambda order: changes.settle(order, at or clock.now()), "orders/updated", extra=extra
        )

    def _refunded(self, order: Order, refund: Refund | None) -> list[Message]:
        return [("refunds/create", refund_payload(self.shop, order, refund))] if refund else []

    def cancel(self, order_id: int, *, at: int | None = None, reason: str = "customer") -> Order:
        def change(order: Order) -> Refund | None:
            return changes.cancel(order, at or clock.now(), reason=reason)

        return self._change_order(order_id, change, "orders/cancelled", "orders/updated", extra=self._refunded)

    def edit_order(self, order_id: int, change: Callable[[Order, int], Any], *, at: int | None = None) -> Order:
        """``change`` adds or removes units (see changes.add_by_edit and remove_by_edit)."""
        when = at or clock.now()
        before: dict[int, int] = {}

        def edit(order: Order) -> Any:
            before.update({line.id: line.current_quantity for line in order.lines})
            return change(order, when)

        def extra(order: Order, _: Any) -> list[Message]:
            return [("orders/edited", self._edit_payload(order, before))]

        return self._change_order(order_id, edit, "orders/updated", extra=extra)

    def _edit_payload(self, order: Order, before: Mapping[int, int]) -> dict[str, Any]:
        deltas = [(line.id, line.current_quantity - before.get(line.id, 0)) for line in order.lines]
        committed = clock.local(order.updated_at, self.shop.settings.timezone)
        nothing: dict[str, list[Any]] = {"additions": [], "removals": []}
        return {
            "order_edit": {
                "id": sibling("OrderEdit", order.id, order.parts),
                "app_id": None,
                "created_at": committed,
                "committed_at": committed,
                "notify_customer": False,
                "order_id": order.id,
                "staff_note": "",
                "user_id": None,
                "line_items": {
                    "additions": [{"id": number, "delta": delta} for number, delta in deltas if delta > 0],
                    "removals": [{"id": number, "delta": -delta} for number, delta in deltas if delta < 0],
                },
                "discounts": {"line_item": nothing},
                "shipping_lines": nothing,
            }
        }

    def delete_order(self, order_id: int, *, at: int | None = None) -> None:
        with self.shop.lock:
            at = at or clock.now()
            order = self.shop.orders.get(order_id)
            if order is None:
                raise NotThere("Order does not exist")
            self.shop.commit(deleted=[order], at=at)
        self._publish([("orders/delete", {"id": order_id})], at)

    # Customers

    def create_customer(self, values: Mapping[str, Any] | None = None, *, at: int | None = None) -> Customer:
        with self.shop.lock:
            at = at or clock.now()
            place = place_of(self.shop.new_id("customer"))
            seed = self.shop.settings.seed
            customer = invent_customer(seed, self.shop.salt, place, created_at=at, updated_at=at)
            _set(customer, values or {})
            self.shop.commit(customer)
            messages = [("customers/create", customer_payload(self.shop, customer))]
        self._publish(messages, at)
        return customer

    def update_customer(self, customer_id: int, values: Mapping[str, Any], *, at: int | None = None) -> Customer:
        with self.shop.lock:
            held = self.shop.customers.get(customer_id)
            if held is None:
                raise NotThere("Customer does not exist")
            customer = copied(held)
            _set(customer, values)
            customer.updated_at = max(at or clock.now(), held.updated_at + 1)
            self.shop.commit(customer)
            payload = customer_payload(self.shop, customer)
            messages: list[Message] = [("customers/update", payload)]
            if held.state != customer.state and customer.state in {"enabled", "disabled"}:
                messages.append((f"customers/{customer.state.removesuffix('d')}", payload))
        self._publish(messages, customer.updated_at)
        return customer

    def delete_customer(self, customer_id: int, *, at: int | None = None) -> None:
        """Raises ChangeRefused for a customer who has orders."""
        with self.shop.lock:
            at = at or clock.now()
            customer = self.shop.customers.get(customer_id)
            if customer is None:
                raise NotThere("Customer can't be found")
            if any(row.customer_id == customer_id for row in self.shop.orders.rows.values()):
                raise ChangeRefused("Customer can’t be deleted because they have associated orders")  # noqa: RUF001
            self.shop.commit(deleted=[customer], at=at)
        payload = {"id": customer_id, "tax_exemptions": [], "admin_graphql_api_id": gid("Customer", customer_id)}
        self._publish([("customers/delete", payload)], at)

    def merge_customers(self, one: int, two: int, *, at: int | None = None) -> Customer:
        """Customer two is kept; the orders of one become theirs, without a change of their own."""
        with self.shop.lock:
            at = at or clock.now()
            gone, held = self.shop.customers.get(one), self.shop.customers.get(two)
            if gone is None or held is None or one == two:
                raise NotThere("Customer does not exist")
            kept = copied(held)
            kept.updated_at = max(at, held.updated_at + 1)
            moved = []
            for number in [row.id for row in self.shop.orders.rows.values() if row.customer_id == one]:
                order = self.shop.orders.get(number)
                if order:
                    order = copied(order)
                    order.customer_id = two
                    moved.append(order)
            self.shop.commit(*moved, kept, deleted=[gone], at=at)
            payload: dict[str, Any] = {
                "admin_graphql_api_customer_kept_id": gid("Customer", two),
                "admin_graphql_api_customer_deleted_id": gid("Customer", one),
                "admin_graphql_api_job_id": None,
                "status": "success",
                "errors": [],
            }
            messages = [("customers/merge", payload), ("customers/update", customer_payload(self.shop, kept))]
        self._publish(messages, at)
        return kept

    # Products

    def create_product(self, values: Mapping[str, Any] | None = None, *, at: int | None = None) -> Product:
        with self.shop.lock:
            at = at or clock.now()
            place = max(2, place_of(self.shop.new_id("product")))
            product = invent_product(self.shop.settings.seed, self.shop.salt, place, created_at=at, updated_at=at)
            product.created_at = product.updated_at = at
            product.published_at = at if product.published_at else None
            for variant in product.variants:
                variant.created_at = variant.updated_at = at
            _set(product, values or {})
            self.shop.commit(product)
            messages = [("products/create", product_payload(self.shop, product))]
            messages += inventory.messages_of_new(self.shop, product)
        self._publish(messages, at)
        return product

    def update_product(self, product_id: int, values: Mapping[str, Any], *, at: int | None = None) -> Product:
        """``variants`` in the values maps variant ids to changes of their own."""
        with self.shop.lock:
            held = self.shop.products.get(product_id)
            if held is None:
                raise NotThere("Product does not exist")
            product = copied(held)
            product.updated_at = max(at or clock.now(), held.updated_at + 1)
            own = dict(values)
            for number, changed in (own.pop("variants", None) or {}).items():
                variant = next(item for item in product.variants if item.id == int(number))
                _set(variant, changed)
                variant.updated_at = product.updated_at
            _set(product, own)
            self.shop.commit(product)
            messages = [("products/update", product_payload(self.shop, product))]
        self._publish(messages, product.updated_at)
        return product

    def delete_product(self, product_id: int, *, at: int | None = None) -> None:
        with self.shop.lock:
            at = at or clock.now()
            product = self.shop.products.get(product_id)
            if product is None:
                raise NotThere("Product does not exist")
            self.shop.commit(deleted=[product], at=at)
        self._publish([("products/delete", {"id": product_id}), *inventory.messages_of_gone(self.shop, product)], at)

    # Inventory

    def set_inventory(self, item_id: int, values: Mapping[str, Any], *, at: int | None = None) -> inventory.Item:
        return self._change_inventory(lambda: inventory.set_level(self.shop, item_id, values, at=at), at)

    def disconnect_inventory(self, item_id: int, values: Mapping[str, Any], *, at: int | None = None) -> inventory.Item:
        return self._change_inventory(lambda: inventory.remove_level(self.shop, item_id, values), at)

    def update_inventory_item(
        self, item_id: int, values: Mapping[str, Any], *, at: int | None = None
    ) -> inventory.Item:
        return self._change_inventory(lambda: inventory.update_item(self.shop, item_id, values, at=at), at)

    def _change_inventory(
        self, change: Callable[[], tuple[inventory.Item, list[Message]]], at: int | None
    ) -> inventory.Item:
        with self.shop.lock:
            try:
                item, messages = change()
            except LookupError as problem:
                raise NotThere(str(problem)) from problem
        if self.shop.allows(inventory.SCOPE):
            self._publish(messages, at or clock.now())
        return item


def _set(record: object, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name.startswith("_") or not hasattr(record, name) or name in {"id", "updated_at", "product_id"}:
            raise ChangeRefused(f"{name} cannot be changed")
        setattr(record, name, value)
