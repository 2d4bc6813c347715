"""A worker's timer: ten ticks a second with work, one in two seconds without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from hybrid.core.activity import Activity
from hybrid.system.scoreboard.scoreboard import Row, Scoreboard
from hybrid.worker.upkeep.pulse import PERIOD, REST_PERIOD, Heartbeat


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.is_cancelled = at, call, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Bench:
    """A heartbeat, its row, and a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        self.woken: list[float] = []
        self.activity = Activity()
        self.row: Row = Scoreboard(1).row(0)
        self.pulse = Heartbeat(
            cast(Any, self),
            self.row,
            lambda: None,
            self.activity,
            lambda: self.woken.append(self.pulse.due),
            lambda: self.now,
        )

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        self.timers = [timer for timer in self.timers if not timer.is_cancelled]
        self.timers.append(Timer(self.now + delay, call))
        return self.timers[-1]

    def run_until_next_tick(self, late: float = 0.0) -> float:
        """Let the one timer fire; return how long it took to come."""
        (timer,) = (timer for timer in self.timers if not timer.is_cancelled)
        self.timers = []
        took, self.now = timer.at - self.now, timer.at + late
        timer.call()
        return took

    def run_until_it_rests(self) -> int:
        ticks = 0
        while not self.activity.is_resting:
            self.run_until_next_tick()
            ticks += 1
            assert ticks < 50
        return ticks


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.pulse.start()
    return bench


def test_without_work_it_rests_after_a_second(bench: Bench) -> None:
    assert bench.run_until_it_rests() == pytest.approx(1.0 / PERIOD, abs=1)
    assert bench.run_until_next_tick() == pytest.approx(REST_PERIOD)
    assert bench.activity.is_resting


@pytest.mark.parametrize("figure", ["requests_active", "pool_busy", "pool_queued"])
def test_while_anything_is_in_flight_it_does_not_rest(bench: Bench, figure: str) -> None:
    bench.row.set(figure, 1)
    assert [bench.run_until_next_tick() for _ in range(40)] == pytest.approx([PERIOD] * 40)
    bench.row.set(figure, 0)
    bench.run_until_it_rests()


@pytest.mark.parametrize("figure", ["requests", "accepted", "pool_processes", "run_total"])
def test_while_figures_move_it_does_not_rest(bench: Bench, figure: str) -> None:
    for _ in range(40):
        bench.row.add(figure, 1)
        assert bench.run_until_next_tick() == pytest.approx(PERIOD)
    bench.run_until_it_rests()


def test_work_brings_the_next_tick_forward_and_tells_the_watchdog(bench: Bench) -> None:
    bench.run_until_it_rests()
    bench.now += 0.7
    bench.activity.begin()

    assert bench.woken == [pytest.approx(bench.now + PERIOD)]
    assert bench.row.get("tick_due") == pytest.approx(bench.now + PERIOD)
    assert bench.run_until_next_tick() == pytest.approx(PERIOD)
    assert bench.run_until_next_tick() == pytest.approx(PERIOD)


def test_a_late_tick_counts_as_lag_and_is_not_made_up_for(bench: Bench) -> None:
    bench.run_until_next_tick(late=3.0)
    assert bench.row.get("lag_last") == pytest.approx(3.0)
    assert bench.run_until_next_tick() == pytest.approx(0.0)  # one at once,
    assert bench.run_until_next_tick() == pytest.approx(PERIOD)  # not thirty


def test_a_tick_in_time_is_no_lag_however_long_it_rested(bench: Bench) -> None:
    bench.run_until_it_rests()
    bench.run_until_next_tick()
    assert bench.row.get("lag_max") == pytest.approx(0.0)
