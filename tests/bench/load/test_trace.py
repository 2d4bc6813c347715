"""Prediction against the real server, request by request."""

from __future__ import annotations

import numpy as np

from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.server.topology import Topology
from hybrid.bench.theory.simulate import waits

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
    order = np.argsort(rows["sent"], kind="stable")
    services, measured = (
        rows[column].astype(np.float64)[order] / 1e3 for column in ("run", "queue")
    )
    predicted = waits(rows["sent"][order], services, SLOTS)
    assert np.mean(measured > 0.002) > 0.15  # there was something to predict
    # No sampling error is left: what differs is the hop between loop and slot, and busy cores.
    assert np.mean(np.abs(predicted - measured) <= 0.001 + 0.1 * measured) >= 0.5
