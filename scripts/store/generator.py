"""A shop invented from a seed: it grows, gains customers every day, and has everything that can happen to an order.

Every order can be drawn alone: its place and the seed say all, so nothing but the rows is kept.
"""

import math
from bisect import bisect_right
from datetime import date, timedelta

from . import catalogue, changes, clock
from .arithmetic import totals
from .changes import Item, Terms
from .clock import DAY, HOUR, SECOND
from .dice import Dice
from .identity import make_id, place_of, salt_of
from .people import invent_customer, invent_email
from .records import Customer, Order
from .rows import customer_row, order_row
from .shop import ShopSettings
from .table import CustomerRow, OrderRow

#: One customer in so many never ordered.
ONLY_LOOKING = 12
#: Presentment money per shop money, in millionths.
RATES = {("EUR", "USD"): 1_085_000, ("USD", "EUR"): 922_000, ("USD", "CAD"): 1_370_000, ("CAD", "USD"): 730_000}
#: Of a thousand orders, what becomes of so many; the rest are simply paid and shipped.
FATES = (
    ("refund_units", 60),
    ("refund_all", 20),
    ("goodwill", 15),
    ("restocking_fee", 8),
    ("cancel", 30),
    ("cancel_unpaid", 8),
    ("test", 10),
    ("pending", 15),
    ("authorized", 10),
    ("edit_add", 12),
    ("edit_remove", 12),
)


class Generated:
    """The base of a generated shop, up to the anchor."""

    def __init__(self, settings: ShopSettings) -> None:
        self.settings = settings
        self.salt = salt_of(settings.domain)
        self.end = settings.anchor
        self._days = _first_places(settings)
        last = date.fromisoformat(clock.local_day(self.end, settings.timezone))
        #: When each day begins, the last of them the one after the end.
        self._midnights = [
            clock.midnight(last - timedelta(days=settings.days - 1 - day), settings.timezone)
            for day in range(settings.days + 1)
        ]
        start = self._midnights[0]
        self.products = catalogue.goods(
            settings.seed, self.salt, settings.products, created_at=start - 60 * DAY, updated_at=self.end - DAY
        )
        self._sold = [product for product in self.products if product.status == "active"] or self.products

    # Orders

    def order_rows(self) -> dict[int, OrderRow]:
        rows = {}
        for place in range(self.settings.orders):
            order = self.order(make_id("Order", self.salt, place))
            rows[order.id] = order_row(order)
        return rows

    def placed_at(self, place: int) -> int:
        """Orders of a day spread over the hours in which people buy, in the order of their places."""
        day = bisect_right(self._days, place) - 1
        first, following = self._days[day], self._days[day + 1]
        begins = self._midnights[day]
        ends = min(self._midnights[day + 1], self.end) - 3 * SECOND
        opens = begins + min(7 * HOUR, (ends - begins) // 4)
        room = ends - opens
        step = room // (following - first)
        return opens + step * (place - first) + Dice(self.settings.seed, 1, place).below(max(1, step))

    def order(self, number: int) -> Order:
        place = place_of(number)
        settings = self.settings
        at = self.placed_at(place)
        dice = Dice(settings.seed, 2, place)
        fate = _fate(dice)
        terms = self._terms(dice)
        customer = self._customer_of(place, dice)
        order = changes.place(
            number,
            number=1001 + place,
            at=at,
            items=self._items(dice),
            terms=terms,
            customer_id=customer and make_id("Customer", self.salt, customer - 1),
            email=self._email(customer, place),
            is_test=fate == "test",
        )
        order.source_name = "pos" if dice.chance(50) else "web"
        if dice.chance(40):
            order.note = "Please wrap it as a gift"
        if dice.chance(80):
            order.tags = [dice.pick(["gift", "wholesale", "repeat", "priority"])]
        self._settle(order, dice, fate, terms)
        return order

    def _terms(self, dice: Dice) -> Terms:
        settings = self.settings
        presentment, rate = settings.currency, 1_000_000
        if settings.presentment_currency and dice.chance(250):
            presentment = settings.presentment_currency
            rate = RATES.get((settings.currency, presentment), 1_250_000) + dice.between(-9_000, 9_000)
        return Terms(
            currencies=f"{settings.currency}/{presentment}",
            rate=rate,
            tax_permille=dice.pick([190, 190, 200, 70, 0]),
            shipping=dice.pick([0, 490, 490, 990]),
            discount_percent=dice.pick([10, 15, 20]) if dice.chance(140) else 0,
        )

    def _items(self, dice: Dice) -> list[Item]:
        items = []
        for _ in range(1 + min(dice.below(3), dice.below(4))):
            product = self._sold[int(len(self._sold) * dice.fraction() ** 1.6)]
            variant = dice.pick(product.variants)
            items.append(Item(product, variant, 1 + (dice.below(3) if dice.chance(250) else 0)))
        return items

    def _settle(self, order: Order, dice: Dice, fate: str, terms: Terms) -> None:
        """Pay, ship and whatever else befell it, as far as that lies before the anchor."""
        at = order.created_at + SECOND
        if fate in {"pending", "cancel_unpaid"}:
            pass
        elif fate == "authorized":
            changes.authorize(order, at)
        elif totals(order).outstanding.shop:
            changes.pay(order, at)
        shipped = at + dice.between(8, 60) * HOUR
        if shipped < self.end and fate not in {"pending", "authorized", "cancel", "cancel_unpaid"}:
            changes.fulfill(order, shipped, is_partial=len(order.lines) > 1 and dice.chance(60))
            if order.fulfillment_status == "fulfilled":
                order.closed_at = shipped
        later = max(order.updated_at, at) + dice.between(1, 12 * 24) * HOUR + dice.below(HOUR)
        if later < self.end:
            self._befall(order, dice, fate, terms, at=later)

    def _befall(self, order: Order, dice: Dice, fate: str, terms: Terms, *, at: int) -> None:
        line = dice.pick(order.lines)
        if fate == "refund_units":
            changes.refund(order, at, units={line.id: 1}, note="did not fit")
        elif fate == "refund_all":
            changes.refund_all(order, at)
        elif fate == "goodwill":
            changes.refund(order, at, paid=totals(order).current_total.share(1, 10), note="with apologies")
        elif fate == "restocking_fee":
            subtotal = line.price.share(8, 10).minus(line.price.share(terms.discount_percent, 100))
            changes.refund(order, at, units={line.id: 1}, paid=subtotal, note="restocking fee kept")
        elif fate in {"cancel", "cancel_unpaid"}:
            changes.cancel(
                order, at, reason=dice.pick(["customer", "fraud", "inventory", "declined", "staff", "other"])
            )
        elif fate == "edit_add":
            product = dice.pick(self._sold)
            changes.add_by_edit(order, at, item=Item(product, product.variants[0], 1), terms=terms)
            changes.pay(order, at + 90 * SECOND)
        elif fate == "edit_remove":
            changes.remove_by_edit(order, at, line_id=line.id, count=1)

    # Customers

    def _customer_of(self, place: int, dice: Dice) -> int | None:
        """The number (from 1) of the customer of an order, None for a guest; new ones come all the time."""
        settings = self.settings
        before = _customers_by(place, settings)
        known = _customers_by(place + 1, settings)
        if known > before and known % ONLY_LOOKING:
            return known
        if before == 0 or dice.chance(45):
            return None
        number = 1 + int(before * (1 - math.sqrt(1 - dice.fraction())))
        return number if number % ONLY_LOOKING else max(1, number - 1)

    def _email(self, customer: int | None, place: int) -> str:
        if customer is None:
            return f"guest.{place + 1}@example.net"
        return invent_email(self.settings.seed, customer - 1)

    def customer_rows(self) -> dict[int, CustomerRow]:
        rows = {}
        for place in range(self.settings.customers):
            customer = self.customer(make_id("Customer", self.salt, place))
            rows[customer.id] = customer_row(customer)
        return rows

    def customer(self, number: int) -> Customer:
        place = place_of(number)
        settings = self.settings
        orders = max(1, settings.orders)
        first = min(orders - 1, -(-(place + 1) * orders // max(1, settings.customers)) - 1)
        created = self.placed_at(first) - 30 * SECOND if settings.orders else self.end - DAY
        changed = min(self.end, created + Dice(settings.seed, 3, place).below(40 * DAY))
        return invent_customer(settings.seed, self.salt, place, created_at=created, updated_at=changed)


def _customers_by(place: int, settings: ShopSettings) -> int:
    """How many customers there are before the order at ``place``."""
    return settings.customers * place // max(1, settings.orders)


def _fate(dice: Dice) -> str:
    drawn = dice.below(1000)
    for fate, share in FATES:
        if drawn < share:
            return fate
        drawn -= share
    return "plain"


def _first_places(settings: ShopSettings) -> list[int]:
    """The place of each day's first order, and the number of orders at the end: growth, weekends and chance."""
    dice = Dice(settings.seed, 4)
    weights = [
        (0.35 + day / settings.days) * (1.25 if day % 7 in {5, 6} else 1.0) * (0.8 + 0.4 * dice.fraction())
        for day in range(settings.days)
    ]
    weights[-1] *= 0.5  # the last day is not over
    whole = sum(weights)
    places, so_far = [0], 0.0
    for weight in weights:
        so_far += weight
        places.append(round(settings.orders * so_far / whole))
    places[-1] = settings.orders
    return places
