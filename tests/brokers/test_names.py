"""How things are spelled in subjects: what belongs together matches one filter, and nothing else does."""

import pytest

from brokers.names import Names, from_token, to_token

NAMES = Names("ns")


def matches(subject: str, pattern: str) -> bool:
    """As NATS matches: ``*`` one token, ``>`` all that follow."""
    words, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        words, wanted = words[: len(wanted) - 1], wanted[:-1]
    return len(words) == len(wanted) and all(want in {"*", word} for word, want in zip(words, wanted, strict=True))


@pytest.mark.parametrize("text", ["", "=", "a.b c>*", "=41", "ü\ud800"])
def test_every_text_has_a_token_of_its_own_and_comes_back(text: str) -> None:
    token = to_token(text)
    assert token
    assert not set(token) & set(".*> /\\")
    assert from_token(token) == text


def test_one_filter_finds_all_unfinished_messages_of_a_queue_and_no_others() -> None:
    unfinished = [
        NAMES.work("a.b", "act"),
        NAMES.work("a.b", "act", lane="x", priority=3, key="k"),
        NAMES.work("a.b", "act", priority=1),
        NAMES.schedule("a.b", "act", "id", due=12.5, message_id="m"),
    ]
    assert all(matches(subject, NAMES.all_of("a.b")) for subject in unfinished)
    others = [
        NAMES.work("a", "act"),
        NAMES.cron("name", owner="code"),
        NAMES.dead("code", "act"),
        NAMES.bell("a.b"),
    ]
    # Even of a queue that is called like an owner of recurring messages
    assert not any(matches(subject, NAMES.all_of(queue)) for subject in others for queue in ("a.b", "code"))


def test_the_main_line_and_the_lanes_do_not_overlap() -> None:
    main, lane = NAMES.work("q", "act"), NAMES.work("q", "act", priority=1)
    assert matches(main, NAMES.work_of("q"))
    assert not matches(main, NAMES.lanes_of("q"))
    assert matches(lane, NAMES.lanes_of("q"))
    assert matches(lane, NAMES.lane("q", "", 1))
    assert not matches(lane, NAMES.work_of("q"))


def test_messages_with_one_key_are_found_wherever_they_are() -> None:
    keyed = [
        NAMES.work("q", "act", key="k"),
        NAMES.work("q", "act", lane="x", priority=2, key="k"),
        NAMES.schedule("q", "act", "k", due=1e9, message_id="m"),
    ]
    assert all(matches(subject, NAMES.same("q", "act", "k")) for subject in keyed)
    assert not matches(NAMES.work("q", "act", key="l"), NAMES.same("q", "act", "k"))
    assert not matches(NAMES.work("q", "other", key="k"), NAMES.same("q", "act", "k"))


def test_dead_letters_are_found_by_queue_actor_and_lane() -> None:
    dead = NAMES.dead("q", "act", lane="x")
    assert all(
        matches(dead, pattern)
        for pattern in (NAMES.dead_of(), NAMES.dead_of("q"), NAMES.dead_of(actor="act"), NAMES.dead_of("q", lane="x"))
    )
    assert not matches(dead, NAMES.dead_of(lane=""))
