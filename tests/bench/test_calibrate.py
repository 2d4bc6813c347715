from __future__ import annotations

import shutil

import pytest

from hybrid.bench.calibrate import Calibration, RateStep, calibrate


def step(rate: float, *problems: str) -> RateStep:
    return RateStep(rate, 0.1, 20.0, 0.1, 1.0, problems)


def test_an_honest_rate_lies_below_the_first_that_failed() -> None:
    steps = (step(100.0), step(200.0, "late"), step(400.0))

    assert Calibration(800.0, 20.0, steps, None).honest_rate == 100.0
    assert Calibration(800.0, 20.0, steps[1:], None).honest_rate == 0.0


def test_without_wrk_there_is_no_cross_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    found = calibrate(0.1)

    assert found.wrk_ratio is None
    assert found.ceiling > 100.0
    assert [each.rate for each in found.steps] == sorted(each.rate for each in found.steps)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_closed_loop_agrees_with_wrk_within_ten_percent() -> None:
    # The server's answer time sets the rate; still, a busy moment may be forgiven once.
    ratios = []
    for _ in range(3):
        found = calibrate(0.5).wrk_ratio
        assert found is not None
        ratios.append(found)
        if abs(found - 1.0) < 0.1:
            return
    pytest.fail(f"ours over wrk's: {ratios}")
