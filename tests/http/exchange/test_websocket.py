"""WebSocket: the `websockets` client against us, raw frames where it is too polite."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hybrid.config import HttpConfig
from tests.http.conftest import Routes, answer, serving, within
from tests.http.raw_websocket import HANDSHAKE, Echo, frame

SETTINGS = HttpConfig()


def test_messages_subprotocol_and_the_clients_close(run: Any) -> None:
    async def main() -> None:
        echo = Echo("b")
        async with serving(Routes(echo=echo)) as running:
            url = f"ws://127.0.0.1:{running.port}/echo?q=1"
            async with connect(url, subprotocols=["a", "b"]) as ws:  # type: ignore[list-item]
                assert ws.subprotocol == "b"
                assert ws.response is not None
                assert ws.response.headers["x-a"] == "b"
                for message in ("text ü", b"bytes", "", "x" * 100_000, b"y" * 1_000_000):
                    await ws.send(message)
                    assert await within(ws.recv()) == message
                await within(await ws.ping())
                await ws.close(1001, "bye")
            await running.until(lambda: echo.events[-1]["type"] == "websocket.disconnect")
            assert (echo.events[-1]["code"], echo.events[-1]["reason"]) == (1001, "bye")
            assert echo.scope["subprotocols"] == ["a", "b"]
            assert (echo.scope["scheme"], echo.scope["query_string"]) == ("ws", b"q=1")
            assert "method" not in echo.scope
            assert running.server.statistics().requests_total == 1

    run(main())


@pytest.mark.parametrize(("text", "code"), [("close", 4001), ("raise", 1011)])
def test_the_applications_close_and_its_failure_have_codes(run: Any, text: str, code: int) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            async with connect(f"ws://127.0.0.1:{running.port}/echo") as ws:
                await ws.send(text)
                with pytest.raises(ConnectionClosed):
                    await within(ws.recv())
                assert ws.close_code == code
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


def test_a_refused_or_denied_handshake_is_an_http_answer(run: Any) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    async def deny(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"who"})

    async def main() -> None:
        async with serving(Routes(refuse=refuse, deny=deny)) as running:
            for path, status in (("refuse", 403), ("deny", 401)):
                with pytest.raises(InvalidStatus) as caught:
                    await connect(f"ws://127.0.0.1:{running.port}/{path}")
                assert caught.value.response.status_code == status

    run(main())


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Version: 13", b"Version: 8", 426),
        (b"Version: 13", b"Version: 13, 8", 426),
        (b"Sec-WebSocket-Version: 13\r\n", b"", 400),
        (b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 8", 400),
        (b"Key: dGhl", b"Key: ", 400),
        (b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n", 101),
    ],
)
def test_a_malformed_handshake_is_refused_and_told_the_version(
    run: Any, old: bytes, new: bytes, status: int
) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            client = await running.connect()
            client.send(HANDSHAKE.replace(old, new))
            got = await client.read_answer()
            assert got.status == status
            if status != 101:
                assert got.headers["sec-websocket-version"] == "13"
                assert got.headers["upgrade"] == "websocket"
                assert got.headers["connection"] == "close"
                assert await client.is_closed()

    run(main())


def test_a_message_over_the_limit_closes_with_1009(run: Any) -> None:
    async def main() -> None:
        echo = Echo()
        settings = replace(SETTINGS, websocket_max_message=1000)
        async with serving(Routes(echo=echo), settings) as running:
            async with connect(f"ws://127.0.0.1:{running.port}/echo") as ws:
                await ws.send("x" * 1001)
                with pytest.raises(ConnectionClosed):
                    await within(ws.recv())
                assert ws.close_code == 1009
            assert [e["type"] for e in echo.events] == ["websocket.disconnect"]

    run(main())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(1, b"\xff\xfe"), 1007),
        (frame(1, b"\xc3", fin=False) + frame(0, b"("), 1007),
        (frame(1, b"\xc3", fin=False) + frame(0, b""), 1007),  # ends inside a character
        (frame(1, b"\xff", fin=False), 1007),  # known by its first fragment
        (frame(1, b"\xc3", fin=False) + frame(0, b"(", fin=False), 1007),
        (frame(3, b""), 1002),  # a reserved opcode
        (frame(0, b"x"), 1002),  # a continuation of nothing
        (b"\x81\x01x", 1002),  # no mask
        (frame(9, b"x" * 126), 1002),  # a control frame that is too long
    ],
)
def test_malformed_frames_close_with_their_code(run: Any, data: bytes, code: int) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            client = await running.connect()
            client.send(HANDSHAKE)
            await client.read_head()
            client.send(data + frame(1, b"never"))
            got = await client.read_all()
            assert got[:1] == b"\x88"
            assert int.from_bytes(got[2:4], "big") == code
            assert b"never" not in got

    run(main())


def test_fragments_and_frames_that_come_with_the_handshake(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            client = await running.connect()
            early = frame(1, b"one ", fin=False) + frame(9, b"p") + frame(0, b"two")
            client.send(HANDSHAKE + early)
            head = await client.read_head()
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".lower() in head.lower()
            got = await within(client.reader.readexactly(3 + 9))
            assert got == b"\x8a\x01p" + b"\x81\x07one two"

    run(main())


@pytest.mark.parametrize("payload", [b"\x03\xe8", b"\x0f\xa1bye", b""])
def test_a_close_in_the_middle_of_a_message_is_answered_with_its_own_code(
    run: Any, payload: bytes
) -> None:
    async def main() -> None:
        echo = Echo()
        async with serving(Routes(echo=echo)) as running:
            client = await running.connect()
            client.send(HANDSHAKE)
            await client.read_head()
            client.send(frame(1, b"begun", fin=False) + frame(8, payload) + frame(0, b"never"))
            assert await client.read_all() == bytes([0x88, len(payload)]) + payload
            await running.until(lambda: bool(echo.events))
            code = int.from_bytes(payload[:2], "big") or 1005
            assert [(e["type"], e["code"]) for e in echo.events] == [("websocket.disconnect", code)]

    run(main())


def test_a_silent_peer_is_pinged_and_then_cut(run: Any) -> None:
    async def main() -> None:
        echo = Echo()
        settings = replace(SETTINGS, websocket_ping=0.2, linger=0.1)
        async with serving(Routes(echo=echo), settings) as running:
            client = await running.connect()
            client.send(HANDSHAKE)
            await client.read_head()
            assert await within(client.reader.readexactly(2)) == b"\x89\x00"
            await running.until(lambda: running.server.statistics().connections == 0)
            await running.until(lambda: bool(echo.events))
            assert echo.events[-1]["code"] == 1006

    run(main())


def test_an_application_that_takes_nothing_makes_the_client_wait(run: Any) -> None:
    release = asyncio.Event()

    async def lazy(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.wait_for(release.wait(), 10)
        total = 0
        while total < 20_000_000:
            total += len((await receive())["bytes"])
        await send({"type": "websocket.send", "text": str(total)})

    async def main() -> None:
        async with serving(Routes(lazy=lazy)) as running:
            client = await running.connect()
            client.send(HANDSHAKE.replace(b"/echo", b"/lazy"))
            await client.read_head()
            client.send(frame(2, b"x" * 10_000) * 2000)
            left = -1
            while left != client.writer.transport.get_write_buffer_size():
                left = client.writer.transport.get_write_buffer_size()
                await asyncio.sleep(0.1)
            assert left > 8_000_000
            release.set()
            assert (await within(client.reader.readexactly(10)))[2:] == b"20000000"

    run(main())


def test_a_drain_tells_the_websocket_to_go(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            async with connect(f"ws://127.0.0.1:{running.port}/echo") as ws:
                await ws.send("x")
                await within(ws.recv())
                running.server.stop_accepting()
                with pytest.raises(ConnectionClosed):
                    await within(ws.recv())
                assert ws.close_code == 1001
            assert await running.server.drain(5) == 0

    run(main())


def test_no_websocket_in_a_post_or_in_http_1_0(run: Any) -> None:
    seen: list[str] = []

    async def what(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        await answer(send, b"plain")

    async def main() -> None:
        async with serving(Routes(echo=what)) as running:
            for data in (
                HANDSHAKE.replace(b"GET", b"POST"),
                HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"),
            ):
                assert b"plain" in await running.talk(data)
            assert seen == ["http", "http"]

    run(main())


def test_a_client_in_mid_sentence_can_read_why_it_is_cut_off(run: Any) -> None:
    async def main() -> None:
        settings = replace(SETTINGS, websocket_max_message=1000)
        async with serving(Routes(echo=Echo()), settings) as running:
            client = await running.connect()
            client.send(HANDSHAKE)
            await client.read_head()
            client.send(frame(2, b"x" * 1_000_000))
            got = await client.read_all()  # an end of stream, no reset
            assert int.from_bytes(got[2:4], "big") == 1009
            client.close()
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())
