"""What every test may ask for: a Postgres and a NATS of this process's own, tables in it, a Chromium.

The addresses are fixed before any test module is imported, since ``settings.load()`` reads them once; the servers behind
them start when the first test asks for the fixture.
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Browser, sync_playwright

import settings
from scripts import charts
from scripts.bootstrap import ROOT
from scripts.services import EmbeddedNats, EmbeddedPostgres

_POSTGRES = pytest.StashKey[EmbeddedPostgres]()
_NATS = pytest.StashKey[EmbeddedNats]()
_DIRECTORY = pytest.StashKey[Path]()

#: Without the background flags Chromium looks for its maker's servers at every start.
_CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure(config: pytest.Config) -> None:
    directory = Path(tempfile.mkdtemp(prefix="shopstream-test-"))
    directory.chmod(0o711)  # root's Postgres runs as nobody, who has to pass through
    postgres = EmbeddedPostgres(directory / "postgres", durable=False)
    nats = EmbeddedNats(directory / "nats", durable=False)
    config.stash[_DIRECTORY], config.stash[_POSTGRES], config.stash[_NATS] = directory, postgres, nats
    for name in settings.Settings.model_fields:
        os.environ.pop(name.upper(), None)
    settings.Settings.model_config["env_file"] = None  # a developer's .env is not the tests'
    settings.load.cache_clear()
    os.environ.update(
        DATABASE_URL=postgres.url,
        NATS_URL=nats.url,
        ENCRYPTION_KEYS=Fernet.generate_key().decode(),
        ADMIN_USERNAME="admin",
        ADMIN_PASSWORD="admin-password",
        METRICS_TOKEN="metrics-token",
        SHOPIFY_API_SECRET="app-secret",
        SHOPSTREAM_SIMULATED="1",
    )


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets settings for this test; None takes one away."""

    def configure(**values: str | None) -> None:
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        # Not the same, cleared: a worker's thread may be reading the environment of before, and would leave it there.
        monkeypatch.setattr(settings, "load", functools.cache(settings.load.__wrapped__))

    return configure


def pytest_unconfigure(config: pytest.Config) -> None:
    if _DIRECTORY in config.stash:
        config.stash[_NATS].stop()
        config.stash[_POSTGRES].remove()
        shutil.rmtree(config.stash[_DIRECTORY])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin modules that mostly wait first: several processes run beside each other, and the last to end should be short."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> EmbeddedPostgres:
    """The Postgres behind DATABASE_URL. A test that stops or kills it starts it again."""
    server = pytestconfig.stash[_POSTGRES]
    server.start()
    return server


@pytest.fixture(scope="session")
def nats(pytestconfig: pytest.Config) -> EmbeddedNats:
    """The NATS behind NATS_URL. A test that stops or kills it starts it again."""
    server = pytestconfig.stash[_NATS]
    server.start()
    return server


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedPostgres) -> EmbeddedPostgres:
    """The Postgres behind DATABASE_URL, with every table."""
    from models import migrate  # noqa: PLC0415  reads the settings, so not before pytest_configure has set them

    migrate.upgrade()
    return postgres


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Without one on the PATH the test is skipped; with CI=true it fails.

    Its scope is the module: while Playwright runs, the thread has a running event loop, which other modules must not meet.
    """
    programs = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next((found for found in map(shutil.which, programs) if found), None)
    if program is None:
        reason = "no chromium or google-chrome on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    charts.install(ROOT)  # the page works without, too, and its tests say what they need
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
