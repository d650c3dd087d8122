"""Putting the stage in place: what the application asks of time, NATS, Shopify and Postgres goes through it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlmodel import Session, SQLModel

import models.database
import settings
from brokers.errors import KeyConflict
from models import migrate
from models.database import engine, transaction
from scripts.services import EmbeddedPostgres
from scripts.store.bulk.operations import BulkOperations
from shopify import bulk_file
from shopify.budget import Budget
from shopify.client import Client
from shopify.transport import Reply
from tests.tasks.stage import ORIGIN, FileAnswer, Stage, Time

#: Nodes of a page: a history of a few orders is read in several steps.
PAGE = 4


@contextmanager
def own_database(postgres: EmbeddedPostgres, name: str) -> Iterator[None]:
    """A database of the stage's own: sweeps look at all shops, and time goes on by leaps there."""
    before = {known: os.environ.get(known) for known in ("DATABASE_URL", "SHOPIFY_API_ORIGIN")}
    os.environ.update(DATABASE_URL=postgres.create_database(name), SHOPIFY_API_ORIGIN=ORIGIN)
    _forget()
    try:
        migrate.upgrade()
        yield
    finally:
        for known, value in before.items():
            os.environ.pop(known, None)
            os.environ.update({known: value} if value else {})
        _forget()


def _forget() -> None:
    if engine.cache_info().currsize:
        engine().dispose()
    engine.cache_clear()
    settings.load.cache_clear()


class Staging:
    """Holds the stage that is on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from tasks import broker, shops  # noqa: PLC0415
        from tasks.outbox import outbox  # noqa: PLC0415

        self._broker = broker
        self.stage: Stage | None = None
        self._stand_in_for_nats(patch, outbox)
        self._stand_in_for_time_and_shopify(patch, shops)
        patch.setattr(models.database, "Session", self._seamed_session())

    @contextmanager
    def fresh(self) -> Iterator[Stage]:
        """A stage with empty tables."""
        with transaction() as session:
            names = ", ".join(table.name for table in SQLModel.metadata.sorted_tables)
            session.execute(text(f"truncate {names} restart identity cascade"))
        self.stage = Stage(Time(), self._broker)
        try:
            yield self.stage
        finally:
            self.stage.close()
            self.stage = None

    def _on(self) -> Stage:
        assert self.stage is not None
        return self.stage

    def _cross(self) -> None:
        if self.stage is not None:
            self.stage.cross()

    def _stand_in_for_nats(self, patch: pytest.MonkeyPatch, outbox: Any) -> None:
        def enqueue_prepared(message: Any, *, delay: float | None, publish_id: str) -> Any:
            self._cross()
            self._on().queue.store(message, delay=delay, publish_id=publish_id)
            self._cross()
            return message

        def enqueue_many(messages: Sequence[Any], *, delay: int | None = None) -> list[Any]:
            return [self._broker.enqueue(message, delay=delay) for message in messages]

        patch.setattr(self._broker, "enqueue_prepared", enqueue_prepared)
        patch.setattr(self._broker, "enqueue_many", enqueue_many)
        patch.setattr(outbox, "_wake", lambda _: self._on().note_outbox())  # instead of its thread

    def _stand_in_for_time_and_shopify(self, patch: pytest.MonkeyPatch, shops: Any) -> None:
        ours = SimpleNamespace(now=lambda _=None: self._on().time.now(), fromisoformat=datetime.fromisoformat)
        for module in ("models.columns", "shopify.client", "shopify.webhooks"):
            patch.setattr(f"{module}.datetime", ours)
        patch.setattr("scripts.store.clock.now", self._shopifys_now)
        # All shops hold the same ids: a statement that forgets the tenant would be seen.
        for module in ("shop", "generator"):
            patch.setattr(f"scripts.store.{module}.salt_of", lambda _: 7)
        patch.setattr("shopify.transport.post", self._post)
        patch.setattr("shopify.bulk_file.requests", SimpleNamespace(get=self._file, RequestException=OSError))
        # Slices of one resource, and operations that end when a test says so.
        patch.setattr(bulk_file.slices, "__kwdefaults__", bulk_file.slices.__kwdefaults__ | {"most": 0})
        patch.setattr(BulkOperations, "work", lambda _, task, name: self._on().operations.append(task))
        page, ask = Client.page, shops.ask

        def asked(*arguments: Any, **options: Any) -> Any:
            self._cross()
            answer = ask(*arguments, **options)
            self._cross()
            return answer

        patch.setattr(Client, "page", lambda *given, **options: page(*given, **{**options, "first": PAGE}))
        patch.setattr(shops, "ask", asked)
        patch.setattr(shops, "_budget", self._budget)

    def _shopifys_now(self) -> int:
        return self._on().time.shopifys()

    def _post(self, url: str, **request: Any) -> Reply:
        return self._on().answer(url, **request)

    def _file(self, url: str, **request: Any) -> FileAnswer:
        return self._on().file(url, **request)

    def _budget(self, domain: str) -> Budget:
        return Budget(self._on().budgets, domain, conflict=KeyConflict, clock=self._on().time.seconds)

    def _seamed_session(self) -> Callable[..., Session]:
        """Sessions with a seam before each commit and one after."""
        staging = self

        class Seamed(Session):
            is_committed = False

            def __enter__(self) -> Any:
                if staging.stage is not None:
                    staging.stage.open_transactions += 1
                return super().__enter__()

            def __exit__(self, *failure: object) -> None:
                super().__exit__(*failure)
                if staging.stage is not None:
                    staging.stage.open_transactions -= 1
                if self.is_committed:
                    staging._cross()

        def before_commit(_: Session) -> None:
            staging._cross()

        def after_commit(session: Seamed) -> None:
            session.is_committed = True

        event.listen(Seamed, "before_commit", before_commit)
        event.listen(Seamed, "after_commit", after_commit)
        return Seamed
