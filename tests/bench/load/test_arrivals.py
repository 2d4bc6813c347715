from __future__ import annotations

import numpy as np
import pytest

from hybrid.bench.load.arrivals import closed_mix, intended_times, schedule
from hybrid.bench.load.plan import LoadPlan, Stream, Target


def times(duration: float = 100.0, **fields: object) -> np.ndarray:
    stream = Stream("a", "/", **fields)  # type: ignore[arg-type]
    return intended_times(stream, duration, np.random.default_rng(7))


def test_poisson_arrivals_have_exponential_gaps_of_the_asked_rate() -> None:
    gaps = np.diff(times(rate=100.0))

    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # coefficient of variation 1


def test_constant_arrivals_are_evenly_spaced() -> None:
    found = times(rate=50.0, arrivals="constant", duration=2.0)

    assert len(found) == 100
    assert np.allclose(np.diff(found), 0.02)


def test_bursts_arrive_together_at_the_same_mean_rate() -> None:
    found = times(rate=100.0, arrivals="burst", burst=5)

    _, counts = np.unique(found, return_counts=True)
    assert set(counts) == {5}
    assert len(found) == pytest.approx(10_000, rel=0.1)


def test_a_trace_is_replayed_as_it_is_within_the_duration() -> None:
    found = times(arrivals="trace", trace=(0.5, 0.1, 3.0), duration=1.0)

    assert found.tolist() == [0.1, 0.5]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"rate": 0.0}, "rate above 0"), ({"rate": 1.0, "arrivals": "luck"}, "not one of poisson")],
)
def test_an_impossible_stream_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        times(**fields)


def test_streams_are_merged_in_time_and_do_not_move_each_other() -> None:
    one = LoadPlan("h", 1, (Stream("a", "/", 100.0),), duration=2.0)
    two = LoadPlan("h", 1, (*one.streams, Stream("b", "/b", 50.0)), duration=2.0)

    alone, _ = schedule(one)
    both, streams = schedule(two)

    assert np.all(np.diff(both) >= 0)
    assert np.array_equal(both[streams == 0], alone)


def test_a_closed_loop_mixes_streams_by_their_weights() -> None:
    plan = LoadPlan("h", 1, (Stream("a", "/", 9.0), Stream("b", "/b", 1.0)), concurrency=4)

    picks = closed_mix(plan, 10_000)

    assert np.mean(picks == 0) == pytest.approx(0.9, abs=0.02)


def test_a_plan_survives_the_wire() -> None:
    stream = Stream("a", "/x?y=1", 5.0, headers=(("Accept", "*/*"),), trace=(0.5, 1.0))
    plan = LoadPlan("127.0.0.1", 80, (stream,), duration=3.0)

    assert LoadPlan.from_json(plan.to_json()) == plan


def test_with_rate_scales_every_stream_alike() -> None:
    plan = LoadPlan("h", 1, (Stream("a", "/", 30.0), Stream("b", "/b", 10.0)))

    assert [each.rate for each in plan.with_rate(100.0).streams] == [75.0, 25.0]


def test_a_url_is_split_and_tls_is_refused() -> None:
    assert Target.from_url("http://localhost:81/x?y=1") == Target("localhost", 81, "/x?y=1")
    with pytest.raises(ValueError, match="TLS"):
        Target.from_url("https://localhost/")
