"""What the terminal shows while Shopstream runs: bars for the first sync, then one line a second at most."""

import sys
import threading
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from scripts.api import Api, ApiError
from scripts.installation import Shop

#: Seconds between two looks.
_INTERVAL = 1.0
_UNFINISHED = {"running"}


class ProgressDisplay:
    """Asks the API once a second, in a thread, and shows what it says."""

    def __init__(self, api: Api, shops: Sequence[Shop]) -> None:
        self._api, self._shops = api, shops
        self._console = Console(file=sys.stdout)
        self._is_over = threading.Event()
        self._seen: dict[str, int] = {}
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Leave the terminal as it was; waits for a question under way."""
        self._is_over.set()
        self._thread.join(5)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def _show(self) -> None:
        self._show_first_syncs()
        while not self._is_over.wait(_INTERVAL):
            line = self._activity()
            if line:
                self.say(line)

    def _show_first_syncs(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        tasks: dict[tuple[str, str], TaskID] = {}
        unfinished = {shop.shop_domain: shop for shop in self._shops if shop.sync_id}
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            while unfinished and not self._is_over.is_set():
                for shop in list(unfinished.values()):
                    run = self._run_of(shop)
                    if run is None:
                        continue
                    _update(progress, tasks, shop.shop_domain, run)
                    if run["status"] not in _UNFINISHED:
                        del unfinished[shop.shop_domain]
                        if tasks:
                            self.say(f"{shop.shop_domain}: sync {run['status']}{_reason(run)}")
                self._is_over.wait(_INTERVAL if unfinished else 0)

    def _run_of(self, shop: Shop) -> dict[str, Any] | None:
        try:
            return dict(self._api.get(f"/api/sync/{shop.sync_id}", shop=shop.shop_domain))
        except ApiError:
            return None  # the web process is being started again: the next look shows it

    def _activity(self) -> str:
        """The newest event of the last second, and how many there were."""
        events: list[str] = []
        for shop in self._shops:
            try:
                logs = self._api.get(
                    "/api/sync-status", shop=shop.shop_domain, after=self._seen.get(shop.shop_domain), limit=100
                )["logs"]
            except ApiError as error:
                return f"the web process does not answer ({error})"
            if logs:
                is_first_look = shop.shop_domain not in self._seen
                self._seen[shop.shop_domain] = logs[-1]["id"]
                if not is_first_look:
                    events += [f"{shop.shop_domain.partition('.')[0]}  {entry['message']}" for entry in logs]
            else:
                self._seen.setdefault(shop.shop_domain, 0)
        if not events:
            return ""
        more = f"  (+{len(events) - 1} more)" if len(events) > 1 else ""
        return f"{events[-1]}{more}"


def _update(progress: Progress, tasks: dict[tuple[str, str], TaskID], domain: str, run: dict[str, Any]) -> None:
    for item in run["resources"]:
        key = (domain, item["resource"])
        if key not in tasks:
            tasks[key] = progress.add_task(escape(f"{domain} {item['resource']}"), total=None)
        progress.update(tasks[key], completed=item["done"], total=item["total"])


def _reason(run: dict[str, Any]) -> str:
    return f" ({run['error']})" if run.get("error") else ""
