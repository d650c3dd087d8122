"""The products of a shop, invented from a seed: compact discs or goods for the home."""

from . import names
from .clock import DAY
from .dice import Dice
from .identity import make_id
from .records import Product, Variant


def compact_discs(seed: int, salt: int, count: int, *, created_at: int, updated_at: int) -> list[Product]:
    """``count`` albums, priced as they were in 1997."""
    return [_disc(Dice(seed, 201, place), salt, place, created_at, updated_at) for place in range(count)]


def _disc(dice: Dice, salt: int, place: int, created_at: int, updated_at: int) -> Product:
    bands, seconds = len(names.BAND_FIRST), len(names.BAND_SECOND)
    band = dice.below(bands * seconds)
    artist = f"{names.BAND_FIRST[band % bands]} {names.BAND_SECOND[band // bands]}"
    album = f"{dice.pick(names.ALBUM_FIRST)} {dice.pick(names.ALBUM_SECOND)}"
    price = dice.pick([949, 1149, 1177, 1277, 1297, 1397, 1449, 1496, 1777, 2099])
    product_id = make_id("Product", salt, place)
    created = created_at + place * 60_000_000
    variant = Variant(
        id=make_id("ProductVariant", salt, place),
        product_id=product_id,
        title="Default Title",
        sku=f"CD-{place + 1:05d}",
        price=price,
        compare_at_price=price + 300 if dice.chance(100) else None,
        position=1,
        inventory_quantity=dice.below(60),
        created_at=created,
        updated_at=updated_at,
    )
    return Product(
        id=product_id,
        title=f"{album} - {artist}",
        handle=f"cd-{place + 1}",
        vendor=artist,
        product_type="Compact disc",
        created_at=created,
        updated_at=updated_at,
        published_at=created,
        variants=[variant],
        tags=[dice.pick(names.GENRES)],
        description=f"<p>{album}, an album by {artist}.</p>",
    )


def goods(seed: int, salt: int, count: int, *, created_at: int, updated_at: int) -> list[Product]:
    """``count`` products with variants; the second has 130 of them, more than a webhook carries."""
    return [invent_product(seed, salt, place, created_at=created_at, updated_at=updated_at) for place in range(count)]


def invent_product(seed: int, salt: int, place: int, *, created_at: int, updated_at: int) -> Product:
    """The product at ``place`` of the shop; the same one every time."""
    dice = Dice(seed, 202, place)
    name, kind, low, high, option, values = dice.pick(names.GOODS)
    title = f"{dice.pick(names.ADJECTIVES)} {name}"
    if place == 1:
        title, option, values = "Thread, every colour", "Colour", [f"No. {number}" for number in range(1, 131)]
    product_id = make_id("Product", salt, place)
    created = created_at + dice.below(DAY)
    price = dice.between(low, high) * 100 - dice.pick([0, 1, 5, 10])
    changed = max(created, updated_at - dice.below(30 * DAY))
    variants = [
        Variant(
            id=make_id("ProductVariant", salt, place, part),
            product_id=product_id,
            title=value,
            sku=f"{name[:3].upper()}-{place + 1:04d}-{part + 1}",
            price=price + part // 3 * 500,
            compare_at_price=price + 2000 if part == 0 and dice.chance(150) else None,
            position=part + 1,
            inventory_quantity=dice.below(200),
            created_at=created,
            updated_at=changed,
        )
        for part, value in enumerate(values)
    ]
    status = dice.pick(["draft", "archived", "unlisted"]) if dice.chance(60) else "active"
    return Product(
        id=product_id,
        title=title,
        handle=f"{title.lower().replace(' ', '-').replace(',', '')}-{place + 1}",
        vendor=dice.pick(["Nordwind", "Havn & Co", "Atelier Fjell", "Møbel"]),
        product_type=kind,
        created_at=created,
        updated_at=changed,
        published_at=created if status == "active" else None,
        variants=variants,
        status=status,
        tags=sorted({kind.lower(), dice.pick(["new", "classic", "sale"])}),
        description=f"<p>{title}. Made to last.</p>",
        option=option,
    )
