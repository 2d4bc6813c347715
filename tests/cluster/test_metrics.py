"""One scrape is the whole cluster, whoever answers it, whoever has died."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]
LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.]+')


def scrape(server: Server) -> dict[str, float]:
    status, headers, body = server.get("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    for line in body.decode().splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line)
            continue
        assert LINE.fullmatch(line), line
        name, _, value = line.rpartition(" ")
        assert name not in samples
        samples[name] = float(value)
    return samples


def test_every_request_is_counted_once_and_those_of_dead_workers_stay(serve: Serve) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "1")
    for _ in range(40):
        assert server.get("/hello")[0] == 200
    assert server.get("/cpu/primes?n=1000")[0] == 200
    counted = "http_server_request_duration_seconds_count"
    wait_until(lambda: scrape(server)[counted] >= 41, what="the rows are fresh")

    os.kill(server.workers()[0]["pid"], signal.SIGKILL)
    killed = 'hybrid_worker_exits_total{reason="killed"}'
    wait_until(lambda: scrape(server)[killed] == 1, what="its death is counted")
    wait_until(lambda: len(server.workers()) == 2, what="whole again")
    after = scrape(server)

    assert after[counted] >= 41
    assert after['http_server_request_duration_seconds_bucket{le="+Inf"}'] == after[counted]
    assert after["http_server_request_duration_seconds_sum"] > 0
    assert after['hybrid_workers{state="ready"}'] == 2
    assert after['hybrid_worker_rss_bytes{slot="1"}'] > 1e6
    assert after['hybrid_cpu_jobs_total{outcome="ok"}'] == 1


def test_buckets_are_cumulative(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0")
    assert server.get("/io/wait?ms=60")[0] == 200
    samples = scrape(server)
    below = {
        float(name.split('"')[1]): value
        for name, value in samples.items()
        if name.startswith("http_server_request_duration_seconds_bucket")
    }

    assert list(below) == sorted(below)
    assert list(below.values()) == sorted(below.values())
    assert below[max(bound for bound in below if bound < 0.06)] < below[float("inf")]
