"""The arrows of the house hold: imports go down only (DESIGN §1)."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What each room may import of ours, besides itself.
ARROWS = {
    "settings": set(),
    "brokers": set(),
    "shopify": {"settings"},
    "models": {"settings"},
    "tasks": {"models", "shopify", "brokers", "settings"},
    "app": {"tasks", "models", "shopify", "brokers", "settings"},
    "wsgi": {"app", "settings"},
}
OURS = {*ARROWS, "scripts", "tests"}


def rooms_imported(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0], node.lineno


def test_imports_go_down_only():
    wrong = []
    for room, allowed in ARROWS.items():
        files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))
        assert files, room
        for path in files:
            for other, line in rooms_imported(path):
                if other in OURS - allowed - {room}:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} {room} -> {other}")
    assert not wrong


def test_the_broker_imports_itself_relatively():
    """So that it builds as a distribution of its own, under another name."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "brokers").rglob("*.py"))
        for other, line in rooms_imported(path)
        if other == "brokers"
    ]
    assert not wrong
