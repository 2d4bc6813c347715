"""Workers that have done enough are replaced, one at a time, the new one first."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]


def test_after_so_many_requests_a_worker_is_replaced_and_no_request_is_lost(serve: Serve) -> None:
    server = serve(
        "--io-workers", "2", "--cpu-pool", "0", "--max-requests", "50",
        "--max-requests-jitter", "10",
    )  # fmt: skip
    before = {w["pid"] for w in server.workers()}
    seen: list[int] = []
    ready, all_of_them = [], []

    while before & {w["pid"] for w in server.status()["workers"]}:
        seen.append(server.get("/hello")[0])
        workers = server.status()["workers"]
        ready.append(sum(w["state"] == "ready" for w in workers))
        all_of_them.append(len(workers))

    assert set(seen) == {200}
    assert min(ready) >= 2  # the replacement comes first ...
    assert max(all_of_them) <= 3  # ... and one at a time
    assert "requests, the limit is" in server.log


def test_after_its_lifetime_a_worker_is_replaced(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "1", "--worker-lifetime", "1s")
    before = server.workers()[0]["pid"]
    wait_until(lambda: server.workers()[0]["pid"] != before, what="it is replaced")
    assert "s old, the limit is" in server.log


def test_above_its_memory_limit_a_worker_is_replaced(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0", "--chaos", "--worker-max-rss", "200m")
    before = server.workers()[0]["pid"]
    assert server.request("POST", "/ops/leak?mb=250")[0] == 200
    wait_until(lambda: server.workers()[0]["pid"] != before, what="it is replaced")
    assert "MiB resident, the limit is 200 MiB" in server.log
