"""How the application runs: as which task, in which context, from when on."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from typing import Any

import pytest

from hybrid.http.exchange.application_run import run_application
from hybrid.http.exchange.exchange import Exchange
from hybrid.http.request.message import Request
from tests.http.conftest import HELLO, Routes, answer, judge, serving

variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_timeouts_current_task_and_context_are_the_requests_own(run: Any) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        seen.append((variable.get(), task))
        variable.set(scope["path"])
        timed_out = False
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            timed_out = True
        assert asyncio.current_task() is task
        assert variable.get() == scope["path"]
        await answer(send, b"timed out" if timed_out else b"no")

    async def main() -> None:
        outer = asyncio.current_task()
        async with serving(Routes(app=app)) as running:
            data = HELLO.replace(b"/hello", b"/app")
            answers = judge(await running.talk(data * 2), "GET", "GET")
            assert [a.body for a in answers] == [b"timed out"] * 2
            assert asyncio.current_task() is outer
        assert [value for value, _ in seen] == ["unset", "unset"]
        tasks = {task for _, task in seen}
        assert len(tasks) == 2
        assert None not in tasks

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_the_first_slice_runs_without_a_turn_of_the_loop(run: Any) -> None:
    turns: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(turns.append, 1)
        await receive()
        await answer(send, b"%d" % len(turns))

    async def main() -> None:
        async with serving(Routes(app=app)) as running:
            client = await running.connect()
            data = HELLO.replace(b"/hello", b"/app")
            client.send(data)
            assert (await client.read_answer()).body == b"0"

    run(main())


def test_a_cancelled_application_is_a_500_and_the_server_goes_on(run: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async def main() -> None:
        async with serving(Routes(app=app)) as running:
            data = HELLO.replace(b"/hello", b"/app") + HELLO
            assert [a.status for a in judge(await running.talk(data), "GET", "GET")] == [500, 200]

    run(main())


def test_work_behind_the_answer_goes_on_and_holds_nothing_up(run: Any) -> None:
    release = asyncio.Event()
    finished: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"answered")
        await asyncio.wait_for(release.wait(), 10)
        assert (await receive())["type"] == "http.disconnect"
        finished.append(True)

    async def main() -> None:
        async with serving(Routes(app=app)) as running:
            client = await running.connect()
            assert (await client.get("/app")).body == b"answered"
            assert (await client.get("/hello")).body == b"hello"
            release.set()
            await running.until(lambda: finished)

    run(main())


class Unusual(BaseException):
    """As libraries raise it past every `except Exception`."""


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(
    "raised",
    [Unusual(), GeneratorExit(), BaseExceptionGroup("", [Unusual()]), asyncio.CancelledError()],
    ids=lambda ex: type(ex).__name__,
)
def test_whatever_the_application_raises_its_client_has_an_answer(
    run: Any, raised: BaseException, opened: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if opened:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise raised

    async def main() -> None:
        async with serving(Routes(app=app)) as running:
            client = await running.connect()
            if opened:
                client.send(HELLO.replace(b"/hello", b"/app"))
                assert not (await client.read_all()).endswith(b"0\r\n\r\n")
            else:
                assert (await client.get("/app")).status == 500
                assert (await client.get("/hello")).status == 200

    run(main())


@pytest.mark.parametrize(
    "raised",
    [SystemExit(3), KeyboardInterrupt(), BaseExceptionGroup("", [SystemExit(), ValueError()])],
    ids=lambda ex: type(ex).__name__,
)
def test_an_application_that_exits_is_a_500_and_the_wish_to_leave(
    run: Any, raised: BaseException
) -> None:
    reasons: list[str] = []
    go_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send, b"slow")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise raised

    async def main() -> None:
        async with serving(Routes(app=app, slow=slow), leave=reasons.append) as running:
            other, client = await running.connect(), await running.connect()
            other.send(HELLO.replace(b"/hello", b"/slow"))
            await running.until(lambda: running.server.statistics().requests_active)
            assert (await client.get("/app")).status == 500
            assert (await client.get("/hello")).status == 200
            go_on.set()
            assert (await other.read_answer()).body == b"slow"
        assert reasons == [f"{type(raised).__name__} in the application"]

    run(main())


def test_where_nothing_replaces_the_process_an_exit_ends_the_loop(run: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/exit":
            raise SystemExit(3)
        await answer(send)

    async def main() -> None:
        async with serving(app) as running:
            client = await running.connect()
            await client.get("/hello")
            (connection,) = running.shared.connections
            request = Request()
            request.path, request.ended = "/exit", True
            connection.exchange = exchange = Exchange(connection, request)
            running.shared.counts.active += 1
            with pytest.raises(SystemExit):
                await run_application(running.shared, exchange)
            assert (await client.read_answer()).status == 500

    run(main())


def test_a_group_of_departures_is_no_failure_of_the_application(run: Any, caplog: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            await answer(send)
        except OSError as ex:
            raise BaseExceptionGroup("", [ExceptionGroup("", [ex]), ex]) from None

    async def main() -> None:
        async with serving(Routes(app=app)) as running:
            client = await running.connect()
            client.send(HELLO.replace(b"/hello", b"/app"))
            await running.until(lambda: running.server.statistics().requests_active)
            client.reset()
            await running.until_applications_end()

    run(main())
    assert not caplog.records
