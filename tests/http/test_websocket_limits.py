"""What a WebSocket peer can make the server keep: its memory, while the peer goes on and on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.conftest import Routes, serving, within
from tests.http.test_limits import bounded, flood
from tests.http.test_websocket import HANDSHAKE, Echo, frame


def test_behind_a_handshake_that_was_not_accepted_nothing_is_kept(run: Any) -> None:
    async def deny(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"who"})

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    async def leave(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def main() -> None:
        async with serving(Routes(deny=deny, fail=fail, leave=leave)) as running:
            for path, status in (("deny", 401), ("fail", 500), ("leave", 500)):
                client = await running.connect()
                client.send(HANDSHAKE.replace(b"/echo", b"/" + path.encode()))
                got = await client.read_answer()
                assert (got.status, got.headers["connection"]) == (status, "close")
                with bounded(2_000_000):
                    await flood(client, b"x" * 100_000)
                client.close()
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "tiny"])
def test_a_message_of_endless_fragments_keeps_no_more_than_their_bytes(
    run: Any, payload: bytes
) -> None:
    async def main() -> None:
        echo = Echo()
        async with serving(Routes(echo=echo)) as running:
            client = await running.connect()
            client.send(HANDSHAKE)
            await client.read_head()
            client.send(frame(1, b"a", fin=False))
            fragments = frame(0, payload, fin=False) * 1000
            with bounded(3_000_000):
                for _ in range(100):
                    client.send(fragments)
                    await client.writer.drain()
                client.send(frame(9, b"end"))
                assert await within(client.reader.readexactly(5)) == b"\x8a\x03end"
            client.send(frame(0, b"z"))
            await running.until(lambda: bool(echo.events))
            assert echo.events[0]["text"] == "a" + payload.decode() * 100_000 + "z"

    run(main())
