"""Shop one: every purchase of CDNOW's customers of early 1997, moved so that the last day is yesterday.

The log (Fader and Hardie) gives customer, day, quantity and amount. Days stay days in the shop's time zone; the times of
day, people and discs are invented. Lines sum to the quantity, and to the amount to the cent.
"""

import gzip
from array import array
from datetime import date, timedelta
from pathlib import Path

from . import catalogue
from .clock import DAY, HOUR, SECOND, midnight
from .dice import Dice
from .identity import make_id, place_of, salt_of
from .money import Money, minor_units
from .people import invent_customer
from .records import Customer, Line, Order, Product, Transaction
from .rows import customer_row
from .table import CustomerRow, OrderRow

LOG = Path(__file__).with_name("cdnow.csv.gz")
LAST_DAY = date(1998, 6, 30)
DISCS = 2400
PAIR = "USD/USD"
SEED = 1997


class Cdnow:
    """The base of the shop: everything before the first live change. ``anchor`` is the day its last day becomes."""

    def __init__(self, domain: str, *, timezone: str, anchor: date) -> None:
        self.salt = salt_of(domain)
        self.timezone = timezone
        self.anchor = anchor
        self._processed = array("q")
        self._customers = array("l")
        self._quantities = array("l")
        self._amounts = array("l")
        self._first: dict[int, int] = {}
        self._latest: dict[int, int] = {}
        self._emails: dict[int, str | None] = {}
        self._read_log()
        self._end = midnight(anchor + timedelta(days=1), timezone)
        start = midnight(anchor - (LAST_DAY - date(1997, 1, 1)), timezone)
        self.products = catalogue.compact_discs(
            SEED, self.salt, DISCS, created_at=start - 30 * DAY, updated_at=start - DAY
        )

    def _read_log(self) -> None:
        shift = self.anchor - LAST_DAY
        days: dict[str, list[tuple[str, str, str]]] = {}
        with gzip.open(LOG, "rt", encoding="ascii") as log:
            next(log)
            for row in log:
                customer, day, quantity, amount = row.rstrip("\n").split(",")
                days.setdefault(day, []).append((customer, quantity, amount))
        for day, purchases in days.items():
            moved = date.fromisoformat(day) + shift
            begins, ends = midnight(moved, self.timezone), midnight(moved + timedelta(days=1), self.timezone)
            # The shop opens at six; a minute before midnight is left for what follows the payment.
            room = ends - begins - 6 * HOUR - 60 * SECOND
            for number, (customer, quantity, amount) in enumerate(purchases):
                self._processed.append(begins + 6 * HOUR + room * number // len(purchases) + number * 7919 % 999_983)
                self._customers.append(int(customer))
                self._quantities.append(int(quantity))
                self._amounts.append(minor_units(amount, "USD"))

    def order_rows(self) -> dict[int, OrderRow]:
        rows = {}
        purchases = zip(self._processed, self._customers, self._amounts, strict=True)
        for place, (processed, customer, amount) in enumerate(purchases):
            number = make_id("Order", self.salt, place)
            updated = self._updated(processed, place)
            rows[number] = OrderRow(
                number,
                self._created(processed),
                updated,
                processed,
                place + 1001,
                make_id("Customer", self.salt, customer - 1),
                amount,
                amount,
                False,
                False,
                self._is_fulfilled(processed, place),
                "paid",
                "fulfilled" if self._is_fulfilled(processed, place) else "unfulfilled",
            )
            self._first.setdefault(customer, processed)
            self._latest[customer] = updated
        return rows

    def customer_rows(self) -> dict[int, CustomerRow]:
        """After ``order_rows``: a customer exists since a minute before the first purchase."""
        rows = {}
        for customer in sorted(self._first):
            record = self.customer(make_id("Customer", self.salt, customer - 1))
            rows[record.id] = customer_row(record)
            self._emails[customer - 1] = record.email
        return rows

    def customer(self, number: int) -> Customer:
        place = place_of(number)
        return invent_customer(
            SEED,
            self.salt,
            place,
            created_at=self._first[place + 1] - 40 * SECOND,
            updated_at=self._latest[place + 1],
        )

    def order(self, number: int) -> Order:
        place = place_of(number)
        processed = self._processed[place]
        created = self._created(processed)
        total = Money(self._amounts[place], self._amounts[place], PAIR)
        fulfilled = self._is_fulfilled(processed, place)
        customer = self._customers[place] - 1
        lines = self._lines(place, self._quantities[place], total.shop, fulfilled=fulfilled)
        order = Order(
            id=number,
            number=place + 1001,
            email=self._emails.get(customer),
            phone=None,
            customer_id=make_id("Customer", self.salt, customer),
            currencies=PAIR,
            created_at=created,
            processed_at=processed,
            updated_at=self._updated(processed, place),
            lines=lines,
            original_total=total,
            closed_at=self._updated(processed, place) if fulfilled else None,
            fulfillment_status="fulfilled" if fulfilled else None,
            parts=len(lines) + 1,
        )
        if total.shop:
            sale = make_id("OrderTransaction", self.salt, place, len(lines))
            order.transactions = [Transaction(sale, "sale", "success", order.gateway, total, created, processed)]
        return order

    def _created(self, processed: int) -> int:
        return processed + 2 * SECOND + processed % 700_001

    def _updated(self, processed: int, place: int) -> int:
        if self._is_fulfilled(processed, place):
            return processed + DAY + place * 104_729 % (18 * HOUR)
        return processed + 4 * SECOND + processed % 900_001

    def _is_fulfilled(self, processed: int, place: int) -> bool:
        return processed + DAY + place * 104_729 % (18 * HOUR) < self._end

    def _lines(self, place: int, quantity: int, amount: int, *, fulfilled: bool) -> list[Line]:
        dice = Dice(SEED, 301, place)
        lines = []
        for part, (count, price) in enumerate(split(dice, quantity, amount)):
            product = self.products[_popular(dice, len(self.products))]
            lines.append(_line(make_id("LineItem", self.salt, place, part), product, count, price, fulfilled=fulfilled))
        return lines


def _popular(dice: Dice, count: int) -> int:
    """Few discs sell much, many a little."""
    return int(count * dice.fraction() ** 2)


def _line(number: int, product: Product, quantity: int, price: int, *, fulfilled: bool) -> Line:
    variant = product.variants[0]
    nothing = Money(0, 0, PAIR)
    return Line(
        id=number,
        product_id=product.id,
        variant_id=variant.id,
        title=product.title,
        variant_title=None,
        sku=variant.sku,
        vendor=product.vendor,
        quantity=quantity,
        current_quantity=quantity,
        price=Money(price, price, PAIR),
        removed_subtotal=nothing,
        removed_tax=nothing,
        removed_discount=nothing,
        fulfilled=quantity if fulfilled else 0,
        taxable=False,
    )


def split(dice: Dice, quantity: int, amount: int) -> list[tuple[int, int]]:
    """Lines of (quantity, unit price) whose quantities sum to ``quantity`` and whose amounts to ``amount``."""
    each, rest = divmod(amount, quantity)
    if quantity == 1 or each < 100:
        return [(count, price) for count, price in ((quantity - rest, each), (rest, each + 1)) if count]
    if quantity <= 6:
        prices = [each + dice.between(-18, 18) * each // 100 for _ in range(quantity - 1)]
        return [(1, price) for price in [*prices, amount - sum(prices)]]
    lines = [(rest, each + 1)] if rest else []
    left = quantity - rest
    while left:
        count = min(left, dice.between(1, 1 + quantity // 5))
        lines.append((count, each))
        left -= count
    return lines
