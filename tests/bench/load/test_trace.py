"""Prediction against the real server, request by request."""

from __future__ import annotations

import numpy as np

from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.server.topology import Topology
from hybrid.bench.theory.simulate import replay

SLOTS = 2


def test_measured_waits_agree_with_the_simulation_of_the_measured_arrivals(
    generator: LoadGenerator,
) -> None:
    # Jobs that sleep are a true two-server queue, however many cores there are.
    topology = Topology("1xT", "one process + threads", 1, SLOTS, "thread")
    short = Stream("short", "/cpu/sleep?ms=15", 45.0)
    long = Stream("long", "/cpu/sleep?ms=45", 15.0)  # utilisation 0.68 in all

    with topology.server() as server:
        plan = LoadPlan(server.host, server.port, (short, long), duration=1.5)
        rows = generator.run(plan).records

    assert rows.ok.all()
    found = replay(
        rows["sent"],
        rows["run"].astype(np.float64) / 1e3,
        rows["queue"].astype(np.float64) / 1e3,
        SLOTS,
    )
    assert np.mean(found.measured > 0.002) > 0.15  # there was something to predict
    assert found.within(0.001, 0.1) >= 0.5
