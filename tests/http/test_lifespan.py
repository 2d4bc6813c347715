"""The application's lifespan: nothing it says is lost, and nothing waits for it without end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hybrid.http.lifespan import Lifespan, LifespanFailed
from tests.http.conftest import within

PATIENCE = 3600.0  # s; a test that needs it has failed


class Failure(BaseException):
    """What `except Exception` does not catch."""


FAULTS = [ValueError("on purpose"), asyncio.CancelledError("on purpose"), Failure("on purpose")]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "hybrid.error"]


async def start(receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})


Tasks = set[asyncio.Task[Any]]


async def finish(before: Tasks) -> None:
    """Let the application run until only the tasks of `before` are left."""
    if new := asyncio.all_tasks() - before:
        await within(asyncio.wait(new))


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_whatever_is_raised_at_start_up_is_its_reason(run: Any, fault: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise fault

    async def main() -> None:
        with pytest.raises(LifespanFailed, match="on purpose"):
            await within(Lifespan(app, {}).startup())

    run(main())


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_whatever_is_raised_at_shutdown_is_logged(
    run: Any, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(receive, send)
        await receive()
        raise fault

    async def main() -> None:
        lifespan = Lifespan(app, {})
        await within(lifespan.startup())
        await within(lifespan.shutdown(PATIENCE))

    run(main())
    (line,) = errors(caplog)
    assert "shutdown failed" in line
    assert "on purpose" in line


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_lifespan_that_dies_while_requests_are_served_is_logged_at_once(
    run: Any, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(receive, send)
        raise fault

    async def main() -> None:
        before = asyncio.all_tasks()
        lifespan = Lifespan(app, {})
        await within(lifespan.startup())
        await finish(before)
        (line,) = errors(caplog)
        assert "on purpose" in line
        await within(lifespan.shutdown(PATIENCE))

    run(main())
    assert len(errors(caplog)) == 1


def test_a_failure_that_is_said_and_then_raised_is_logged_once(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(receive, send)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "on purpose"})
        raise ValueError

    async def main() -> None:
        before = asyncio.all_tasks()
        lifespan = Lifespan(app, {})
        await within(lifespan.startup())
        await within(lifespan.shutdown(PATIENCE))
        await finish(before)

    run(main())
    assert errors(caplog) == ["the application's shutdown failed: on purpose"]


def test_a_shutdown_that_is_never_answered_is_cancelled(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(receive, send)
        heard.append((await receive())["type"])
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def main() -> None:
        before = asyncio.all_tasks()
        lifespan = Lifespan(app, {})
        await within(lifespan.startup())
        await within(lifespan.shutdown(0.01))
        await finish(before)

    run(main())
    assert heard == ["lifespan.shutdown", "cancelled"]
    assert errors(caplog) == ["the application's shutdown took over 0.01 s: cancelled"]


@pytest.mark.parametrize("when", ["at start-up", "later"])
def test_a_lifespan_that_returns_early_is_not_waited_for(
    run: Any, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if when == "later":
            await start(receive, send)

    async def main() -> None:
        before = asyncio.all_tasks()
        lifespan = Lifespan(app, {})
        await within(lifespan.startup())
        await finish(before)
        await within(lifespan.shutdown(PATIENCE))

    run(main())
    assert errors(caplog) == []
