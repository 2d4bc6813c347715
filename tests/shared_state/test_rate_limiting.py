"""Rate limits: exact by the clock, and over processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest

import hybrid
from hybrid.errors import StateUnavailable
from hybrid.shared_state.rate_limiting import RateLimit
from hybrid.shared_state.state import State
from tests.shared_state.computing import BURST, RATE
from tests.shared_state.conftest import connected, run
from tests.shared_state.test_caching import ask_in_processes


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_the_rate(request: pytest.FixtureRequest) -> None:
    async def body() -> None:
        clock = Clock()
        limit = RateLimit(request.node.name[:40], rate=10, per=60, burst=3, clock=clock)
        first = [await limit.take("ann") for _ in range(4)]
        assert [each.is_allowed for each in first] == [True, True, True, False]
        assert [each.remaining for each in first] == [2, 1, 0, 0]
        assert first[3].retry_after == pytest.approx(6.0)
        assert first[2].reset_after == pytest.approx(18.0)
        assert (await limit.take("bob")).is_allowed
        clock.now += first[3].retry_after - 0.001
        assert not (await limit.take("ann")).is_allowed
        clock.now += 0.002
        assert (await limit.take("ann")).is_allowed
        assert not (await limit.take("ann")).is_allowed

    run(body())


@pytest.mark.parametrize("key", ["", "k" * 5000, "\x00\r\n ", "\udcff", "å" * 600])
def test_a_key_that_a_client_chooses_may_be_anything(
    request: pytest.FixtureRequest, key: str
) -> None:
    async def body() -> None:
        limit = RateLimit("chosen", rate=1, per=60, burst=1, clock=Clock())
        assert (await limit.take(key)).is_allowed
        assert not (await limit.take(key)).is_allowed
        assert (await limit.take(key + "x")).is_allowed

    run(body())


def test_over_a_long_time_as_many_are_allowed_as_the_rate_says(
    request: pytest.FixtureRequest,
) -> None:
    async def body() -> None:
        clock = Clock()
        name = request.node.name[:40]
        limits = [RateLimit(name, rate=7, burst=5, clock=clock) for _ in range(4)]
        allowed = 0
        for step in range(4000):  # 100 s; four workers ask 40 times a second together
            clock.now = Clock.now + step * 0.025
            allowed += (await limits[step % 4].take("key")).is_allowed
        assert allowed == pytest.approx(5 + 7 * 100, abs=1)

    run(body())


def test_tasks_that_ask_at_once_get_no_more_than_the_burst() -> None:
    async def body() -> None:
        clock = Clock()
        limits = [RateLimit("at-once", rate=1, burst=10, clock=clock) for _ in range(3)]
        asked = (limit.take("key") for limit in limits for _ in range(20))
        allowed = [each.is_allowed for each in await asyncio.gather(*asked)]
        assert sum(allowed) == 10
        assert all(not limit._lines for limit in limits)

    run(body())


def test_processes_together_get_what_one_would_get(url: str) -> None:
    """In every stretch of time no more than a burst and the rate, within 1 %."""
    allowed = sorted(tuple(each) for got in ask_in_processes("limited", url, 4) for each in got)
    assert len(allowed) >= 240
    for first, _ in allowed[::10]:
        for _, last in allowed[::10]:
            within = sum(first <= began and ended <= last for began, ended in allowed)
            assert within <= BURST + 1.01 * RATE * max(0.0, last - first) + 1


def test_falcon_answers_429_and_says_how_many_are_left() -> None:
    limit = hybrid.RateLimit("falcon", rate=1, per=3600, burst=2, by=lambda req: "everybody")

    @falcon.before(limit.check)
    class Limited:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.text = "yes"

    app = falcon.asgi.App()
    hybrid.install(app)
    app.add_route("/", Limited())
    client = falcon.testing.TestClient(app)
    answers = [client.simulate_get("/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].headers["ratelimit-limit"] == "2"
    assert 3590 <= int(answers[2].headers["retry-after"]) <= 3600
    assert int(answers[2].headers["ratelimit-reset"]) > 3600
    assert answers[2].json["title"] == "Too many requests"


def test_without_its_store_a_limit_is_open_or_closed_as_wanted(tmp_path: Path) -> None:
    async def body() -> None:
        async with connected(f"sqlite:{tmp_path}/missing/file") as store:
            for is_open in (True, False):
                limit = RateLimit("away", rate=1, open_when_away=is_open)
                limit._state = State("away", find=lambda: store)
                if is_open:
                    assert (await limit.take("key")).is_allowed
                else:
                    with pytest.raises(StateUnavailable):
                        await limit.take("key")

    run(body())


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"rate": 1, "per": 0}, {"rate": 1, "burst": 0}])
def test_a_limit_without_a_rate_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RateLimit("x", **wrong)
