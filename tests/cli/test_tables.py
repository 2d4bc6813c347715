"""Every table fits a terminal of 80 columns: nothing in it is cut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from benchmarks.peers.__main__ import print_comparison
from benchmarks.peers.compare import Comparison
from hybrid.bench.advise.advise import Verified, advise
from hybrid.bench.advise.measure import Cost, Measured
from hybrid.bench.advise_command import print_advice, print_verified
from hybrid.bench.calibrate import Calibration, RateStep
from hybrid.bench.matrix.run import load
from hybrid.bench.report.text import print_calibration, print_load, print_matrix
from hybrid.cli.table import render

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
CUT = re.compile(r"\w…")  # intervals are written with a space: 1.0 … 1.2


def shown(print_it: Callable[[Console], object], width: int = 80) -> str:
    console = Console(file=StringIO(), width=width, no_color=True)
    print_it(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert not CUT.search(text), text
    return str(text)


def drawn(table: RenderableType, width: int = 80) -> str:
    return shown(lambda console: console.print(table), width)


def worker(slot: int, **changes: Any) -> dict[str, Any]:
    pool = {"busy": 16, "abandoned": 255, "slots": 16, "queued": 1024, "pss_bytes": 2_345_600_000}
    return {
        **{"slot": slot, "state": "ready", "leaving": "", "generation": 123, "pid": 4_194_303},
        **{"age_s": 864_000.0, "restarts": 1234, "connections": 10_000, "active": 9_999},
        **{"requests": 1_234_567_890, "latency_counts": [], "loop_lag_ms": 12_345.6},
        **{"pool": pool, "rss_bytes": 3_456_700_000, "pss_bytes": 2_345_600_000},
        **changes,
    }


def cluster(*workers: dict[str, Any]) -> dict[str, Any]:
    primary = {"version": "0.1.0", "pid": 4_194_303, "phase": "reloading", "generation": 123}
    return {
        "primary": {**primary, "uptime_s": 864_000.0, "pss_bytes": 20_000_000},
        "totals": {"requests": 9_876_543_210, "responses_5xx": 12_345, "jobs_ok": 1_234_567},
        "permits": {"in_use": 64, "limit": 64, "abandoned": 64},
        "address": "https://[2001:db8:85a3:8d3:1319:8a2e:370:7348]:8443",
        "workers": list(workers),
    }


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_a_status_fits_with_the_largest_numbers(width: int) -> None:
    leaving = worker(2, state="draining", leaving="resident memory above 1,234 MB")
    status = cluster(worker(1), leaving)

    for table in (render(status, width), render(status, width, status, 1.0)):
        text = drawn(table, width)
        assert all(name in text for name in ("slot", "state", "pid", "4194303", "draining"))
        assert "1,234 MB" in text.replace("\n", " ") or width < 60


def test_a_wide_terminal_has_every_column() -> None:
    status = cluster(worker(1))
    assert "pool PSS MB" in drawn(render(status, 200, status, 1.0), 200)
    assert "pool PSS MB" not in drawn(render(status, 80, status, 1.0))


def test_there_is_no_rate_without_an_interval() -> None:
    status = cluster(worker(1))
    assert "req/s" in drawn(render(status, 200, status, 1.0), 200)
    assert "req/s" not in drawn(render(status, 200), 200)


def stream(of: float) -> dict[str, Any]:
    quantiles = dict.fromkeys(("p50", "p90", "p99", "p99.9"), of)
    rates = {
        "count": 123_456,
        "offered_per_s": 123_456.7,
        "ok_per_s": 123_456.7,
        "failed": 123_456,
        "retried": 1234,
    }
    return {**rates, "latency_ms": quantiles, "uncorrected_ms": quantiles}


@pytest.mark.parametrize("names", [["load"], ["fast", "slow", "uploads"]])
def test_a_load_fits_and_has_every_figure(names: list[str]) -> None:
    each = stream(12_345.67)
    own = {"cpu_share": 0.5, "cpu_us_per_request": 123.4, "send_lag_p99_ms": 0.1, "errors": 0}
    summary = {
        **{"mode": "closed", "seconds": 5.0, "workers": {}, "fairness": 1.0, "generator": own},
        **{"streams": dict.fromkeys(names, each), "all": each},
    }

    text = shown(lambda console: print_load(console, summary))

    for figure in ("offered", "well", "failed", "retried", "p50", "p99.9", "from the send"):
        assert figure in text
    assert "12345.67 ms" in text


def test_the_recorded_matrix_fits_with_every_topology() -> None:
    results = load(RESULTS / "matrix.json")
    text = shown(lambda console: print_matrix(console, results))
    heads = [line.split() for line in text.splitlines() if line.startswith("scenario")]
    keys = [topology.key for topology in results.profile.topologies]
    assert heads[0] == ["scenario", *keys, "the", "article"]
    assert len(heads) > 1
    assert all(head == ["scenario", *keys] for head in heads[1:])


def test_the_recorded_comparison_with_peers_fits() -> None:
    found = Comparison.from_dict(json.loads((RESULTS / "peers.json").read_text()))
    text = shown(lambda console: print_comparison(console, found))
    peers = found.titles.keys() - {"hybrid"}
    assert peers
    assert all(f"hybrid / {name}" in text for name in peers)


def test_a_calibration_fits() -> None:
    late = RateStep(
        123_456.0, 0.99, 12.3, 123.45, 1234.56, ("requests left 123.4 ms late (p99)",) * 2
    )
    found = Calibration(123_456.0, 12.3, (late, late), 0.99)
    text = shown(lambda console: print_calibration(console, found))
    assert "send lag p99" in text


def test_an_advice_and_its_verification_fit() -> None:
    path = "GET /a/path/with/many/parts/that/no/column/has/room/for?and=a&long=query"
    costs = (Cost(path, loop=0.0123, job=1.234, scv=0.5, speedup=1.95, answered=123_456_789),)
    found = advise(Measured(costs, 30_000_000), 1.0, 0.01, cpus=2, memory=2_000_000_000)
    shown(lambda console: print_advice(console, found, "app:app"))
    verified = [Verified(each, 12.3456, 123.456, 123_456) for each in found.ranked[:2]]
    text = shown(lambda console: print_verified(console, verified))
    assert "123456" in text
