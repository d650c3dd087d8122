"""Live traffic: buyers and merchants at work, at so many webhooks a second."""

import random
import threading
import time
from collections.abc import Callable

from . import changes, clock
from .actions import Actions, NotThere
from .arithmetic import totals
from .changes import ChangeRefused, Item, Terms
from .generator import RATES
from .market import Market
from .outbox import Outbox
from .records import Order, Refund
from .shop import Shop

#: How often each thing happens, in parts of the whole. Mostly to orders that are there: a minute of traffic should not
#: outdo a day of history.
HABITS = {
    "new_order": 14,
    "new_customer_order": 6,
    "update_order": 32,
    "fulfill": 14,
    "refund": 6,
    "several_at_once": 4,
    "cancel": 3,
    "edit": 3,
    "goodwill": 2,
    "delete_order": 1,
    "update_customer": 10,
    "delete_customer": 1,
    "merge": 1,
    "update_product": 4,
    "new_product": 1,
    "delete_product": 1,
}
#: An order is worked on while it is among so many latest.
RECENT = 400


class Traffic:
    """A thread that does something to the live shops so that ``rate`` webhooks a second go out on average."""

    def __init__(self, market: Market, outbox: Outbox, *, rate: float = 0.0, seed: int | None = None) -> None:
        self._market = market
        self._outbox = outbox
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._rate = rate
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="traffic")
        self._thread.start()

    @property
    def rate(self) -> float:
        return self._rate

    def set_rate(self, rate: float) -> None:
        """Webhooks per second, 0 for none. Raises ValueError for a negative one."""
        if rate < 0:
            raise ValueError("webhooks per second cannot be negative")
        with self._changed:
            self._rate = rate
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        due = time.monotonic()
        while True:
            with self._changed:
                while not self._is_stopped and self._rate <= 0:
                    self._changed.wait()
                    due = time.monotonic()
                if self._is_stopped:
                    return
                wait = due - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                rate = self._rate
            sent = self.act()
            # What could not be kept up with is not made up for by a burst.
            due = max(due + max(1, sent) / rate, time.monotonic() - 1.0)

    def act(self) -> int:
        """Do one thing in one of the live shops. Returns how many webhooks that sends."""
        shops = [shop for shop in self._market if shop.settings.is_live]
        if not shops:
            return 1
        shop = self._random.choice(shops)
        habit = self._random.choices(list(HABITS), weights=list(HABITS.values()))[0]
        actions = Actions(shop, self._outbox)
        deed: Callable[[Actions], object] = getattr(self, "_" + habit)
        try:
            deed(actions)
        except (ChangeRefused, NotThere):
            return 1  # that order would not have it: next time
        return actions.sent

    # What happens

    def _terms(self, shop: Shop) -> Terms:
        settings, presentment, rate = shop.settings, shop.settings.currency, 1_000_000
        if settings.presentment_currency and self._random.random() < 0.25:
            presentment = settings.presentment_currency
            rate = RATES.get((settings.currency, presentment), 1_250_000)
        return Terms(
            currencies=f"{settings.currency}/{presentment}",
            rate=rate,
            tax_permille=self._random.choice([190, 200, 70, 0]),
            shipping=self._random.choice([0, 490, 990]),
            discount_percent=10 if self._random.random() < 0.15 else 0,
        )

    def _item(self, shop: Shop) -> Item:
        with shop.lock:
            numbers = [number for number, row in shop.products.rows.items() if row.status == "active"]
        product = shop.products.get(self._random.choice(numbers)) if numbers else None
        if product is None:
            raise NotThere("nothing to sell")
        return Item(product, self._random.choice(product.variants), self._random.choice([1, 1, 1, 2, 3]))

    def _items(self, shop: Shop) -> list[Item]:
        return [self._item(shop) for _ in range(self._random.choice([1, 1, 2, 3]))]

    def _customer(self, shop: Shop) -> int:
        with shop.lock:
            return self._random.choice(list(shop.customers.rows))

    def _recent(self, shop: Shop) -> int:
        with shop.lock:
            index = shop.orders.index(1)
            return self._random.choice(index[-RECENT:])[1]

    def _new_order(self, actions: Actions) -> Order:
        shop = actions.shop
        customer = self._customer(shop) if shop.customers.rows and self._random.random() > 0.05 else None
        email = None if customer else f"guest.{clock.now()}@example.net"
        is_test, is_paid = self._random.random() < 0.01, self._random.random() > 0.04
        return actions.create_order(
            self._items(shop), self._terms(shop), customer_id=customer, email=email, is_test=is_test, is_paid=is_paid
        )

    def _new_customer_order(self, actions: Actions) -> None:
        customer = actions.create_customer()
        actions.create_order(self._items(actions.shop), self._terms(actions.shop), customer_id=customer.id)

    def _update_order(self, actions: Actions) -> None:
        note = self._random.choice(["called back", "address checked", "gift wrapping", None])
        actions.update_order(self._recent(actions.shop), {"note": note})

    def _fulfill(self, actions: Actions) -> None:
        actions.fulfill(self._recent(actions.shop), is_partial=self._random.random() < 0.2)

    def _refund(self, actions: Actions) -> None:
        def change(order: Order) -> Refund:
            left = [line for line in order.lines if line.current_quantity]
            if not left:
                raise ChangeRefused("nothing left")
            return changes.refund(order, clock.now(), units={self._random.choice(left).id: 1}, note="sent back")

        actions.refund(self._recent(actions.shop), change)

    def _goodwill(self, actions: Actions) -> None:
        def change(order: Order) -> Refund:
            return changes.refund(
                order, clock.now(), paid=totals(order).net_payment.share(1, 10), note="with apologies"
            )

        actions.refund(self._recent(actions.shop), change)

    def _several_at_once(self, actions: Actions) -> None:
        """Changes of one order within the same second, microseconds apart."""
        order = self._new_order(actions)
        for number in range(self._random.choice([2, 3])):
            actions.update_order(order.id, {"note": f"change {number + 1}"}, at=order.updated_at)
        if self._random.random() < 0.5 and not order.cancelled_at:
            actions.cancel(order.id, at=order.updated_at)

    def _cancel(self, actions: Actions) -> None:
        actions.cancel(self._recent(actions.shop), reason=self._random.choice(["customer", "inventory", "other"]))

    def _edit(self, actions: Actions) -> None:
        item = self._item(actions.shop)

        def change(order: Order, at: int) -> None:
            if order.cancelled_at:
                raise ChangeRefused("the order is cancelled")
            several = [line for line in order.lines if line.current_quantity > 1]
            if several:
                changes.remove_by_edit(order, at, line_id=several[0].id, count=1)
            else:
                terms = Terms(order.currencies, RATES.get((order.currency, order.presentment_currency), 1_000_000))
                changes.add_by_edit(order, at, item=item, terms=terms)

        actions.edit_order(self._recent(actions.shop), change)

    def _delete_order(self, actions: Actions) -> None:
        actions.delete_order(self._recent(actions.shop))

    def _update_customer(self, actions: Actions) -> None:
        note = self._random.choice(["prefers e-mail", "moved house", None])
        actions.update_customer(self._customer(actions.shop), {"note": note})

    def _delete_customer(self, actions: Actions) -> None:
        """A new one without orders, so that it can be."""
        actions.delete_customer(actions.create_customer().id)

    def _merge(self, actions: Actions) -> None:
        kept = self._customer(actions.shop)
        actions.merge_customers(actions.create_customer().id, kept)

    def _update_product(self, actions: Actions) -> None:
        product = self._item(actions.shop).product
        stock = {str(product.variants[0].id): {"inventory_quantity": self._random.randrange(200)}}
        actions.update_product(product.id, {"variants": stock})

    def _new_product(self, actions: Actions) -> None:
        actions.create_product()

    def _delete_product(self, actions: Actions) -> None:
        actions.delete_product(actions.create_product().id)
