"""Results that nobody measured, for tests of what is made of them."""

from __future__ import annotations

from hybrid.bench.matrix.cells import CURVE, Cell
from hybrid.bench.matrix.run import AGAIN, Profile, Results
from hybrid.bench.server.fingerprint import fingerprint
from hybrid.bench.server.topology import six

FACTORS = (0.99, 1.0, 1.01)  # of the blocks


def results(
    rates: dict[str, float], *, again: float = 1.0, scenario: str = "io", blocks: int = 3
) -> Results:
    """Return a matrix of one row whose topologies reach `rates`, within one percent."""
    profile = Profile("quick", six(2, 2), (scenario,), blocks=blocks, repeated="NxT")
    values = {**rates, AGAIN: rates.get("NxT", 1.0) * again}
    cells = [
        # The factors run the other way for every second topology: noise, not a common cause.
        cell(block, scenario, key, rate * FACTORS[block if n % 2 else 2 - block])
        for block in range(blocks)
        for n, (key, rate) in enumerate(values.items())
    ]
    return Results(profile, fingerprint(), {"cpu": 0.02}, cells)


def cell(block: int, scenario: str, topology: str, rate: float) -> Cell:
    curve: list[float | None] = [20.0 + k for k in range(len(CURVE) - 5)] + [None] * 5
    detail = {
        "curve": curve,
        "closed_curve": curve,
        "probes": [
            {"rate": rate, "distance": 1.5, "mean": 22.0, "p50": 21.0, "p95": 30.0},
            {"rate": 2 * rate, "distance": -2.0, "mean": None, "p50": 40.0, "p95": None},
        ],
        "timeline": {"0": [1, 2, 3], "1": [2, 0, 1], "failed": [0, 1, 0]},
        "killed_at": 0.15,
    }
    values = {"slo_rate": rate, "noticed": rate, "io_p99": 1.0, "cpu_ms": 0.1, "pss_mb": 50.0}
    return Cell(block, scenario, topology, values, [], detail)
