from __future__ import annotations

import numpy as np
import pytest

from hybrid.bench.theory.formulas import (
    erlang_c,
    gil_speedup,
    wait_behind_jobs,
    wait_servers,
)
from hybrid.bench.theory.simulate import waits, waits_dispatched

JOBS = 60_000
SERVICE = 0.05  # s


def poisson(rate: float, seed: int = 5) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, JOBS))


def exponential(seed: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).exponential(SERVICE, JOBS)


def test_the_simulator_meets_pollaczek_and_khinchine() -> None:
    simulated = waits(poisson(10.0), np.full(JOBS, SERVICE), 1).mean()

    assert simulated == pytest.approx(wait_servers(10.0, SERVICE, 1, scv=0.0), rel=0.05)


@pytest.mark.parametrize("servers", [2, 4, 8])
def test_the_simulator_meets_erlang(servers: int) -> None:
    rate = 0.7 * servers / SERVICE

    simulated = waits(poisson(rate), exponential(), servers).mean()

    assert simulated == pytest.approx(wait_servers(rate, SERVICE, servers), rel=0.1)


def test_inline_jobs_make_everybody_wait_for_everybody() -> None:
    # 90 % of 1 ms and 10 % of 50 ms at 85/s: 21.3 ms by Pollaczek-Khinchine.
    assert wait_behind_jobs([(76.5, 0.001), (8.5, 0.05)]) == pytest.approx(0.0213, rel=0.01)


def test_one_shared_queue_beats_private_ones_and_least_loaded_nearly_reaches_it() -> None:
    arrivals, services = poisson(0.8 * 8 / SERVICE), exponential()

    shared = waits(arrivals, services, 8).mean()
    blind = waits_dispatched(arrivals, services, 4, 2, "random").mean()
    turns = waits_dispatched(arrivals, services, 4, 2, "round-robin").mean()
    least = waits_dispatched(arrivals, services, 4, 2, "least-loaded").mean()

    assert shared < least < turns < blind
    assert blind > 4 * least


def test_an_overloaded_queue_has_no_mean() -> None:
    assert wait_servers(30.0, SERVICE, 1) == float("inf")
    assert wait_servers(100.0, SERVICE, 4) == float("inf")
    assert wait_behind_jobs([(30.0, SERVICE)]) == float("inf")


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of random"):
        waits_dispatched([0.0], [1.0], 2, 1, "luck")


def test_one_server_waits_with_its_utilisation() -> None:
    assert erlang_c(0.6, 1) == pytest.approx(0.6)


def test_the_lock_bounds_the_speed_up_of_threads() -> None:
    # Exact values of the closed network (queue of demand g, delay 1-g).
    assert gil_speedup(0.25, 4) == pytest.approx(3.18, abs=0.01)
    assert gil_speedup(0.5, 8) == pytest.approx(2.0, abs=0.01)
    assert gil_speedup(1.0, 8) == pytest.approx(1.0)
    assert gil_speedup(0.0, 8) == pytest.approx(8.0)
