"""A resource is one file a floor (DESIGN §1): nothing else knows its name, its shapes or its tables."""

import re
from pathlib import Path

from models.resources import TABLES
from shopify.resources import RESOURCES, inventory_levels

ROOT = Path(__file__).parent.parent
FLOORS = ("app", "tasks", "models", "shopify")
#: The files of the newest resource.
OWN = {"shopify/resources/inventory_levels.py", "models/inventory_levels.py"}
#: Its name in lists, once for each.
LISTS = {
    "shopify/resources/__init__.py": 2,
    "models/resources.py": 2,
    "models/tables.py": 2,
    "models/erasure.py": 2,
}
NAMES = re.compile(r"inventory_?(item|level)|read_inventory|inventory", re.IGNORECASE)
#: A column of the variants, which is Shopify's name too.
OTHERS = re.compile(r"inventory_?quantity", re.IGNORECASE)


def test_nothing_but_its_own_files_and_the_lists_knows_the_newest_resource():
    found = {}
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix not in {".py", ".js", ".html", ".css", ".sql"} or name in OWN or "/migrations/" in name:
                continue
            lines = OTHERS.sub("", path.read_text(encoding="utf-8")).splitlines()
            count = sum(bool(NAMES.search(line)) for line in lines)
            if count:
                found[name] = count
    assert found == LISTS


def test_every_resource_has_its_table_and_its_children_stand_there():
    assert TABLES.keys() == RESOURCES.keys()
    assert all(name == table.name for name, table in TABLES.items())


def test_only_what_the_figures_do_not_read_is_optional():
    """What is optional may be missing everywhere, so no figure may stand on it."""
    assert inventory_levels.RESOURCE.is_optional
    assert {name for name, each in RESOURCES.items() if each.is_optional} == {
        name for name, table in TABLES.items() if not table.is_in_figures
    }
