"""The directory of shops: fresh when Postgres answers, stale when it does not, and bounded against strangers."""

import os
import threading
import uuid

import pytest
from sqlalchemy.exc import OperationalError

from app.directory import AWAY, LOOK_UPS_PER_SECOND, LOOKED_UP, MOST_LOOKED_UP, Directory, Unknowable
from models.signing_secrets import SigningSecrets
from models.tenants import Tenant


class Postgres:
    """What the directory reads, with a clock of its own."""

    def __init__(self):
        self.shops: dict[str, SigningSecrets] = {}
        self.is_away = False
        self.look_ups: list[str] = []
        self.now = 0.0

    def add(self, domain, *secrets):
        self.shops[domain] = SigningSecrets(uuid.uuid4(), domain, secrets)

    def read_all(self):
        self._answer()
        return list(self.shops.values())

    def read_one(self, domain):
        self.look_ups.append(domain)
        self._answer()
        return self.shops.get(domain)

    def _answer(self):
        if self.is_away:
            raise OperationalError("select", {}, Exception("away"))


@pytest.fixture
def postgres():
    return Postgres()


@pytest.fixture
def directory(postgres):
    directory = Directory(read_all=postgres.read_all, read_one=postgres.read_one, clock=lambda: postgres.now)
    yield directory
    directory.stop()


def test_the_first_question_waits_for_the_first_reading(directory, postgres):
    postgres.add("a", "secret")
    assert directory.find("a").own_secrets == ("secret",)
    assert postgres.look_ups == []


def test_known_shops_stay_known_while_postgres_is_away(directory, postgres):
    postgres.add("a")
    assert directory.is_loaded
    postgres.is_away = True
    with pytest.raises(OperationalError):
        directory.refresh()
    assert directory.find("a") is not None
    assert directory.is_loaded


def test_an_unknown_shop_cannot_be_denied_while_postgres_is_away(directory, postgres):
    assert directory.is_loaded
    postgres.is_away = True
    for _ in range(3):
        with pytest.raises(Unknowable):
            directory.find("a")
    assert len(postgres.look_ups) == 1  # it is not asked again and again
    postgres.is_away = False
    postgres.add("a")
    postgres.now += AWAY
    assert directory.find("a") is not None


def test_a_process_that_starts_without_postgres_catches_up_by_itself(directory, postgres):
    postgres.is_away = True
    assert not directory.is_loaded
    postgres.add("a")
    postgres.is_away = False
    assert directory._was_read.wait(10)
    assert directory.find("a") is not None


def test_a_shop_that_is_not_there_is_looked_up_once_in_a_while(directory, postgres):
    for _ in range(5):
        assert directory.find("a") is None
    assert postgres.look_ups == ["a"]
    postgres.now += LOOKED_UP
    postgres.add("a")
    assert directory.find("a") is not None


def test_names_that_somebody_makes_up_neither_hammer_postgres_nor_fill_the_memory(directory, postgres):
    put_off = 0
    for number in range(1000):
        try:
            directory.find(str(number))
        except Unknowable:
            put_off += 1
    assert len(postgres.look_ups) == LOOK_UPS_PER_SECOND
    assert put_off == 1000 - LOOK_UPS_PER_SECOND
    for number in range(5000):
        postgres.now += 0.1
        directory.find(str(number))
    assert len(directory._looked_up) <= MOST_LOOKED_UP
    assert directory._entries == {}


def test_a_change_of_this_process_survives_a_reading_that_began_before_it(directory, postgres):
    postgres.add("erased")
    assert directory.is_loaded
    reading, changed = threading.Event(), threading.Event()
    stale = list(postgres.shops.values())
    answers = iter([stale])

    def read_all():
        answer = next(answers, None)
        if answer is None:
            return list(postgres.shops.values())
        reading.set()
        assert changed.wait(10)
        return answer

    directory._read_all = read_all
    refresh = threading.Thread(target=directory.refresh)
    refresh.start()
    assert reading.wait(10)
    # When a shop is offboarded and another onboarded while the reading is under way
    new = Tenant(shop_domain="new")
    postgres.shops = {"new": SigningSecrets(new.id, "new", ())}
    directory.forget("erased")
    directory.remember(new)
    changed.set()
    refresh.join(10)
    # Then neither is undone
    assert directory.find("new").tenant_id == new.id
    assert directory.find("erased") is None


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_the_child_reads_for_itself(directory, postgres):
    assert directory.is_loaded
    with directory._lock:  # as another thread may hold it at that moment
        child = os.fork()
        if child == 0:
            directory.after_fork()
            os._exit(0 if directory.is_loaded else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
