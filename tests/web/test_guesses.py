"""How often one may guess: many at once, from many addresses, for many names."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.web.guesses import (
    FORGET,
    MOST_PLACES,
    PAUSE,
    QUEUE,
    QUEUE_OF_ONE,
    TRIES,
    Guesses,
    ThrottledError,
    place_of,
)


def guess(guesses: Guesses, address: str, name: str, now: float) -> bool:
    """Guess once; False where that was refused."""
    try:
        guesses.begin(address, name, now)
    except ThrottledError:
        return False
    guesses.end(address)
    return True


def test_tries_are_counted_before_they_are_checked() -> None:
    guesses = Guesses()
    began = 0
    for _ in range(TRIES + 1):
        try:
            guesses.begin("10.0.0.5", "admin", 0)
        except ThrottledError:
            break
        began += 1
    assert began == QUEUE_OF_ONE
    for _ in range(began):
        guesses.end("10.0.0.5")
    assert sum(guess(guesses, "10.0.0.5", "admin", 0) for _ in range(150)) == TRIES - QUEUE_OF_ONE


def test_the_queue_is_short_and_no_place_fills_it() -> None:
    guesses = Guesses()
    for number in range(QUEUE):
        guesses.begin(f"10.0.0.{number // QUEUE_OF_ONE}", f"{number}", 0)
    with pytest.raises(ThrottledError, match="at once"):
        guesses.begin("10.0.1.1", "admin", 0)
    guesses.end("10.0.0.0")
    guesses.begin("10.0.1.1", "admin", 0)


def test_who_waits_may_try_once_and_what_is_right_is_forgotten() -> None:
    guesses = Guesses()
    assert [guess(guesses, "a", "admin", 0) for _ in range(TRIES + 1)] == [True] * TRIES + [False]
    assert [guess(guesses, "a", "admin", PAUSE + 1) for _ in range(2)] == [True, False]
    guesses.forget("a", "admin")
    assert guess(guesses, "a", "admin", PAUSE + 1)
    for _ in range(TRIES):
        guess(guesses, "a", "admin", PAUSE + 1)
    assert guess(guesses, "a", "admin", PAUSE + 1 + FORGET)
    assert guess(guesses, "a", "admin", PAUSE + 1 + FORGET)


def test_guesses_keep_out_neither_another_name_nor_another_address() -> None:
    guesses = Guesses()
    while guess(guesses, "10.0.0.5", "guest", 0):
        pass
    assert guess(guesses, "10.0.0.5", "admin", 0)
    assert guess(guesses, "10.0.0.6", "guest", 0)


def test_an_ipv6_network_is_one_place() -> None:
    guesses = Guesses()
    let = sum(guess(guesses, f"2001:db8::{number:x}", "admin", 0) for number in range(1, 150))
    assert let == TRIES
    assert guess(guesses, "2001:db8:0:1::1", "admin", 0)
    assert place_of("::ffff:10.0.0.5") == place_of("10.0.0.5")
    assert place_of("fe80::1%eth0") == place_of("fe80::2")


@given(st.lists(st.tuples(st.ip_addresses(), st.text(max_size=3)), max_size=50))
def test_what_is_remembered_gives_every_place_back(tries: list[tuple[ipaddress.IPv4Address, str]]) -> None:
    guesses = Guesses()
    for address, name in tries:
        guess(guesses, str(address), name, 0)
    assert not guesses._waiting


def test_memory_is_bounded() -> None:
    guesses = Guesses()
    for number in range(MOST_PLACES + 100):
        assert guess(guesses, f"10.{number >> 8}.{number & 255}.1", "x" * 10_000, number / 1000)
    assert len(guesses) == MOST_PLACES
