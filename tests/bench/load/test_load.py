"""The generator against the null server, which misbehaves on request."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid.bench.load.generator import LoadFailed, LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.load.records import LoadOutcome
from hybrid.bench.matrix.gates import problems
from hybrid.bench.server.served import Server


def plan(server: Server, *streams: Stream, **fields: object) -> LoadPlan:
    defaults: dict[str, object] = {"duration": 0.5, "connections": 8}
    return LoadPlan(server.host, server.port, streams, **{**defaults, **fields})  # type: ignore[arg-type]


def test_every_request_of_an_open_loop_is_sent_and_answered(
    null_server: Server, generator: LoadGenerator
) -> None:
    result = generator.run(plan(null_server, Stream("a", "/", 400.0), Stream("b", "/b", 100.0)))

    assert result.summary["all"]["failed"] == 0
    assert result.summary["requests"] == len(result.records) == result.summary["answered"]
    assert set(result.summary["streams"]) == {"a", "b"}
    assert np.all(result.records["sent"] >= result.records["intended"])
    assert np.all(result.records["done"] >= result.records["sent"])
    assert result.summary["workers"] == {"0": len(result.records)}


def test_an_open_loop_sees_the_stall_that_a_closed_loop_hides(
    null_server: Server, generator: LoadGenerator
) -> None:
    # One stall of 200 ms in every 100 requests. One closed-loop client meets each stall once
    # (1 % of its requests); in an open loop everybody due meanwhile waits as well.
    stream = Stream("a", "/?stall=200", 500.0, arrivals="constant")
    closed = generator.run(plan(null_server, stream, concurrency=1, duration=0.6))
    opened = generator.run(plan(null_server, stream, duration=0.6))

    hidden = np.mean(closed.records.latency() > 0.05)
    seen = np.mean(opened.records.latency() > 0.05)
    assert hidden < 0.02
    assert seen > 0.3


def test_waiting_for_a_connection_counts_as_latency_not_as_lag(
    null_server: Server, generator: LoadGenerator
) -> None:
    stream = Stream("a", "/?ms=50", 100.0, arrivals="constant")
    result = generator.run(plan(null_server, stream, max_connections=2, connections=2))

    # Two connections × 20/s = 40/s are served of 100/s offered: a line builds up.
    assert result.summary["generator"]["held"] > 20
    assert result.records.latency().max() > 0.2
    assert result.records.send_lag().max() < 0.1


@pytest.mark.parametrize(
    ("path", "outcome"),
    [("/?status=503", LoadOutcome.STATUS), ("/?ms=900", LoadOutcome.TIMEOUT)],
)
def test_a_bad_answer_is_a_failure_with_its_kind(
    null_server: Server, generator: LoadGenerator, path: str, outcome: LoadOutcome
) -> None:
    result = generator.run(plan(null_server, Stream("a", path, 50.0), duration=0.2, timeout=0.3))

    assert set(result.records["outcome"]) == {outcome}
    assert np.all(np.isinf(result.records.latency()))
    assert any("failed" in each for each in problems(result.summary))


def test_a_server_that_closes_every_connection_loses_nothing(
    null_server: Server, generator: LoadGenerator
) -> None:
    result = generator.run(plan(null_server, Stream("a", "/?close=1", 200.0)))

    assert result.summary["all"]["failed"] == 0


def test_nobody_there_is_refused(generator: LoadGenerator) -> None:
    result = generator.run(LoadPlan("127.0.0.1", 9, (Stream("a", "/", 50.0),), duration=0.2))

    assert set(result.records["outcome"]) == {LoadOutcome.REFUSED}


def test_an_impossible_plan_is_an_error_and_the_generator_lives_on(
    null_server: Server, generator: LoadGenerator
) -> None:
    with pytest.raises(LoadFailed, match="rate above 0"):
        generator.run(plan(null_server, Stream("a", "/")))

    assert generator.run(plan(null_server, Stream("a", "/", 50.0))).summary["all"]["failed"] == 0


def test_connections_are_renewed_as_often_as_asked(
    null_server: Server, generator: LoadGenerator
) -> None:
    result = generator.run(plan(null_server, Stream("a", "/", 300.0), reconnect_every=1))

    assert result.summary["all"]["failed"] == 0
    assert result.summary["generator"]["held"] > 50
