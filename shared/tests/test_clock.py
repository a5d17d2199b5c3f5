"""The wall clock is set; what is timed goes on as if it had not been."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared.clock import Clock, HeldClock

HOUR = 3600


@pytest.mark.parametrize("by", [24 * HOUR, -HOUR, 5 * 60])
def test_setting_the_clock_makes_nothing_older(by: int) -> None:
    clock = HeldClock()
    born = clock.now_ms()
    clock.move(60)
    assert clock.age_ms(born) == 60_000
    clock.set(by)
    assert clock.age_ms(born) == 60_000
    clock.move(30)
    assert clock.age_ms(born) == 90_000


@pytest.mark.parametrize("by", [24 * HOUR, -HOUR])
def test_what_comes_after_the_setting_has_its_own_age(by: int) -> None:
    clock = HeldClock()
    clock.move(10)
    clock.set(by)
    born = clock.now_ms()
    clock.move(20)
    assert clock.age_ms(born) == 20_000


@given(st.lists(st.tuples(st.sampled_from(("move", "set")), st.integers(-2 * 86_400, 2 * 86_400)), max_size=30))
def test_no_age_is_negative_or_longer_than_the_time_that_passed(turns: list[tuple[str, int]]) -> None:
    clock = HeldClock()
    began, born = clock.monotonic(), [clock.now_ms()]
    for what, seconds in turns:
        clock.move(abs(seconds)) if what == "move" else clock.set(seconds)
        passed = int((clock.monotonic() - began) * 1000)
        assert all(0 <= clock.age_ms(at) <= passed + 30 * 2_000 for at in born)
        born.append(clock.now_ms())


def test_the_clock_of_earnest_tells_ages() -> None:
    clock = Clock()
    assert 0 <= clock.age_ms(clock.now_ms() - 5_000) - 5_000 < 60_000
