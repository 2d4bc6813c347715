from __future__ import annotations

from typing import Any

from hybrid.bench.matrix.gates import crowded, fell_behind, problems


def summary(**generator: float | None) -> dict[str, Any]:
    honest = {"cpu_share": 0.2, "send_lag_p99_ms": 0.2, "held": 0, "sent_in_time": 1.0}
    everything = {"failed": 0, "count": 100, "latency_ms": {"p50": 1.0}}
    return {"mode": "open", "generator": {**honest, **generator}, "all": everything}


def test_an_honest_run_passes() -> None:
    assert problems(summary()) == []


def test_a_generator_that_is_late_or_busy_is_told() -> None:
    assert "late" in problems(summary(send_lag_p99_ms=3.0))[0]
    assert "core" in problems(summary(cpu_share=0.9))[0]
    assert "offered" in problems(summary(sent_in_time=0.9))[0]


def test_lag_is_judged_against_the_latency_it_would_blur() -> None:
    slow = summary(send_lag_p99_ms=3.0)
    slow["all"]["latency_ms"]["p50"] = 100.0

    assert problems(slow) == []


def test_requests_held_back_by_a_slow_server_are_its_result_not_our_fault() -> None:
    assert problems(summary(sent_in_time=0.5, held=40)) == []


def test_failures_exclude_a_row_unless_it_is_measured_by_them() -> None:
    failed = summary()
    failed["all"]["failed"] = 3

    assert "3 of 100" in problems(failed)[0]
    assert problems(failed, failures_allowed=True) == []


def test_other_busy_programs_are_told() -> None:
    assert crowded(0.1) == []
    assert crowded(0.8) == ["other programs kept 0.80 CPUs busy"]


def test_a_miss_is_the_generators_fault_where_its_lag_could_have_decided() -> None:
    honest = summary()["generator"]

    assert fell_behind(honest, 20.0) == []
    assert "late" in fell_behind({**honest, "send_lag_p99_ms": 6.0}, 20.0)[0]
    assert "core" in fell_behind({**honest, "cpu_share": 0.9}, 20.0)[0]
    assert fell_behind({**honest, "send_lag_p99_ms": None}, 20.0) == []
