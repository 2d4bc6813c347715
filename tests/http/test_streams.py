"""Server-sent events, the Date, the lifespan: what takes longer than one answer."""

from __future__ import annotations

import asyncio
import sys
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid.errors import ConfigError
from hybrid.http.answer import heads as heads_module
from hybrid.http.answer.answer import Answer
from hybrid.http.answer.heads import Heads, status_line
from hybrid.http.lifespan import Lifespan, LifespanFailed
from hybrid.http.loops import new_event_loop
from tests.http.conftest import HELLO, Routes, judge, serving, within

EVENTS = [(b"content-type", b"text/event-stream")]


def test_an_event_reaches_the_client_before_the_next_one_is_sent(run: Any) -> None:
    async def main() -> None:
        turns = asyncio.Queue[bytes]()
        left = asyncio.Event()

        async def events(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
            waiting = asyncio.ensure_future(receive())
            while not waiting.done():
                turn = asyncio.ensure_future(turns.get())
                await asyncio.wait([turn, waiting], return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    turn.cancel()
                    break
                body = b"data: %b\n\n" % turn.result()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            assert waiting.result()["type"] == "http.disconnect"
            left.set()

        async with serving(Routes(events=events)) as running:
            client = await running.connect()
            client.send(HELLO.replace(b"/hello", b"/events"))
            for number in range(5):
                turns.put_nowait(b"%d" % number)
                if not number:
                    head = await client.read_head()
                    assert b"content-type: text/event-stream\r\n" in head
                    assert b"transfer-encoding: chunked\r\n" in head
                event = b"data: %d\n\n" % number
                chunk = b"%x\r\n%b\r\n" % (len(event), event)
                assert await within(client.reader.readexactly(len(chunk))) == chunk
            assert running.server.statistics().requests_active == 1
            client.reset()
            await within(left.wait())

    run(main())


def test_the_date_is_right_and_rendered_once_per_second(monkeypatch: Any) -> None:
    clock = [1_700_000_000.25]
    rendered: list[float] = []

    def format_date(at: float) -> str:
        rendered.append(at)
        return real(at)

    real = heads_module.format_date_time
    monkeypatch.setattr(heads_module, "time", lambda: clock[0])
    monkeypatch.setattr(heads_module, "format_date_time", format_date)
    heads = Heads([], server_header=False)

    for _ in range(100):
        heads.common()
        clock[0] += 0.05

    assert len(rendered) in (5, 6)  # five seconds have passed
    date = heads.common().decode().removeprefix("date: ").strip()
    assert parsedate_to_datetime(date).timestamp() == rendered[-1] // 1
    clock[0] -= 100  # the clock is set back: the date follows
    heads.common()
    assert rendered[-1] == clock[0]


names = st.sampled_from([b"Content-Type", b"x-a", b"ETag", b"Content-Length", b"Connection"])
values = st.sampled_from([b"text/plain", b"0", b"5", b"close", b"a\r\nb: c", b"", b"x" * 99])


@given(st.lists(st.tuples(names, values), max_size=4), st.binary(max_size=9))
def test_the_short_way_says_exactly_what_the_long_way_says(headers: Any, body: bytes) -> None:
    heads = Heads([(b"x-worker", b"1")], server_header=True)
    for name, _ in headers:
        heads.lines(
            status_line(200), [(name, b"0")], "id"
        )  # a name is checked when it is first used

    short = heads.whole(200, headers, "id", body)

    if short is not None:
        pieces = Answer(200, headers, "id", to="GET").first(heads, body, False)
        assert short == b"".join(pieces)
        assert judge(short, "GET")[0].body == body


def test_plain_asyncio_stands_in_where_uvloop_is_missing(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    loop = new_event_loop("auto")
    assert isinstance(loop, asyncio.SelectorEventLoop)
    loop.close()
    with pytest.raises(ConfigError, match="uvloop is not installed"):
        new_event_loop("uvloop")


def lifespan_of(*answers: str, fail: bool = False, read: bool = True) -> Any:
    """An application that answers the lifespan's messages so."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for kind in answers or ("",):
            if read:
                await receive()
            if fail:
                raise ValueError("no database")
            if kind == "lifespan.startup.complete":
                scope["state"]["pool"] = "shared"
            await send({"type": kind, "message": "no database"})

    return app


def test_the_lifespans_state_reaches_every_request_as_a_copy(run: Any) -> None:
    async def main() -> None:
        state: dict[str, Any] = {}
        lifespan = Lifespan(
            lifespan_of("lifespan.startup.complete", "lifespan.shutdown.complete"), state
        )
        await within(lifespan.startup())
        routes = Routes()
        async with serving(routes, state=state) as running:
            await running.talk(HELLO * 2)
        await within(lifespan.shutdown(60))
        seen = [scope["state"] for scope in routes.scopes]
        assert [found["pool"] for found in seen] == ["shared", "shared"]
        assert seen[0] is not seen[1]
        assert "request_id" not in state

    run(main())


@pytest.mark.parametrize("fail", [False, True])
def test_an_application_that_cannot_start_says_why(run: Any, fail: bool) -> None:
    async def main() -> None:
        lifespan = Lifespan(lifespan_of("lifespan.startup.failed", fail=fail), {})
        with pytest.raises(LifespanFailed, match="no database"):
            await within(lifespan.startup())

    run(main())


def test_an_application_without_lifespan_is_served_all_the_same(run: Any) -> None:
    async def main() -> None:
        lifespan = Lifespan(lifespan_of(fail=True, read=False), {})
        await within(lifespan.startup())
        await within(lifespan.shutdown(60))

    run(main())
