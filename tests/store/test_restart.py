"""The store survives being killed: the same shop, with everything that happened since."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from scripts.store.journal import SLACK, Journal
from scripts.store.market import Market

from .conftest import Store


class Process:
    """``python -m scripts.store`` as the start command runs it."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "scripts.store", "--directory", str(directory), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.url}/control{path}", json=body, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout=15)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def test_a_killed_store_comes_back_with_all_that_it_answered(tmp_path: Path):
    domain = "kept.myshopify.com"
    # Given a store in which things happened
    first = Process(tmp_path, "--empty")
    first.control("POST", "/shops", {"domain": domain, "orders": 150, "customers": 60, "products": 8, "seed": 5})
    deeds = [
        {"action": "createCustomer", "note": "new"},
        {"action": "createOrder", "customerId": "$0"},
        {"action": "refundOrder", "id": "$1"},
        {"action": "createOrder"},
        {"action": "deleteOrder", "id": "$3"},
        {"action": "createProduct"},
    ]
    first.control("POST", f"/shops/{domain}/actions", {"actions": deeds, "webhooks": "none"})
    before = first.control("GET", f"/shops/{domain}?ids=orders")
    # When it is killed, with a line half written, and started again
    first.end(signal.SIGKILL)
    journal = tmp_path / f"{domain}.journal"
    journal.write_bytes(journal.read_bytes() + b'order 123 {"id":')
    second = Process(tmp_path, "--empty")
    # Then it is the same store, and goes on with new ids
    try:
        assert second.control("GET", f"/shops/{domain}?ids=orders") == before
        made = second.control("POST", f"/shops/{domain}/actions", {"action": "createOrder", "webhooks": "none"})
        assert made["done"][0]["id"] not in {item["id"] for item in before["ids"]}
    finally:
        code = second.end(signal.SIGTERM)
    assert code == 0


def test_every_kind_of_record_reads_back_as_it_was(store: Store, tmp_path: Path):
    shop = store.add(currency="EUR", presentment_currency="USD")
    store.control("PATCH", "/webhooks", {"webhooksPerSecond": 5000})
    while len(shop.orders.rows) < 220:
        store.traffic.act()
    store.control("PATCH", "/webhooks", {"webhooksPerSecond": 0})
    store.traffic.stop()
    again = Market(tmp_path).get(shop.domain)
    assert again is not None
    for mine, other in (
        (shop.orders, again.orders),
        (shop.customers, again.customers),
        (shop.products, again.products),
    ):
        assert other.rows == mine.rows
        assert other.deleted == mine.deleted
        for number in mine.rows:
            assert other.get(number) == mine.get(number)
    assert again.spending(min(shop.customers.rows)) == shop.spending(min(shop.customers.rows))


def test_a_long_journal_is_rewritten_at_the_next_start(tmp_path: Path):
    path = tmp_path / "x.journal"
    journal = Journal(path)
    for number in range(SLACK + 10):
        journal.append([("order", "1", {"version": number}), ("customer", "2", {"version": number})])
    journal.close()
    again = Journal(path)
    assert list(again.entries()) == [
        ("order", "1", {"version": SLACK + 9}),
        ("customer", "2", {"version": SLACK + 9}),
    ]
    again.close()
    assert path.read_text().count("\n") == 2
