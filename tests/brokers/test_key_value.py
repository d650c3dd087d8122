"""The key-value store: compare-and-set, life times, any key."""

import threading

import pytest

from brokers import JetStreamBroker, KeyConflict, KeyValue
from tests.brokers.conftest import wait_until


@pytest.fixture(params=[False, True], ids=["file", "memory"])
def store(broker: JetStreamBroker, request: pytest.FixtureRequest) -> KeyValue:
    return broker.key_value("bucket", memory=request.param)


def test_a_key_that_was_never_set_has_no_value(store: KeyValue) -> None:
    assert store.get("nothing") is None


def test_a_key_is_created_once(store: KeyValue) -> None:
    revision = store.create("key", b"one")
    entry = store.get("key")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"one", revision)
    with pytest.raises(KeyConflict):
        store.create("key", b"two")


def test_an_update_needs_the_current_revision(store: KeyValue) -> None:
    first = store.create("key", b"one")
    second = store.update("key", b"two", first)
    with pytest.raises(KeyConflict):
        store.update("key", b"three", first)
    assert store.update("key", b"three", second) > second


def test_a_deleted_key_may_be_created_again(store: KeyValue) -> None:
    revision = store.put("key", b"one")
    store.delete("key")
    assert store.get("key") is None
    with pytest.raises(KeyConflict):
        store.update("key", b"two", revision)
    store.create("key", b"two")
    assert store.get("key") is not None


def test_an_expired_key_is_gone_and_may_be_created_again(store: KeyValue) -> None:
    store.create("key", b"one", ttl=1)
    wait_until(lambda: store.get("key") is None, timeout=5)
    store.create("key", b"two", ttl=1)


@pytest.mark.parametrize("key", ["", "a.b", "a b*>", "shop@example.com:1", "ä", "=", "\ud800", "a/b\\c"])
def test_any_text_is_a_key(store: KeyValue, key: str) -> None:
    store.put("other", b"")
    store.put(key, b"value")
    entry = store.get(key)
    assert entry is not None
    assert entry.value == b"value"


def test_of_many_who_update_at_once_each_loses_to_the_others_and_no_update_is_lost(store: KeyValue) -> None:
    store.create("counter", b"0")

    def count() -> None:
        for _ in range(20):
            while True:
                entry = store.get("counter")
                assert entry is not None
                try:
                    store.update("counter", b"%d" % (int(entry.value) + 1), entry.revision)
                except KeyConflict:
                    continue
                break

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    entry = store.get("counter")
    assert entry is not None
    assert entry.value == b"80"
