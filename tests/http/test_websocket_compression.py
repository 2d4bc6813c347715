"""permessage-deflate (RFC 7692): what is agreed on, what travels, and bombs."""

from __future__ import annotations

import asyncio
import gc
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from hybrid.config import HttpConfig
from tests.http.conftest import Client, Routes, Running, serving, within
from tests.http.floods import bounded
from tests.http.raw_websocket import HANDSHAKE, Echo, frame

SETTINGS = HttpConfig()
FORGETFUL = replace(SETTINGS, websocket_context_takeover=False)
OFF = replace(SETTINGS, websocket_compression=False)
LINE = b"\r\nSec-WebSocket-Extensions: "
PMD = "permessage-deflate"
S, C = "server_no_context_takeover", "client_no_context_takeover"


async def offer(running: Running, offers: str, path: bytes = b"/echo") -> tuple[Client, bytes]:
    """Return a raw client that has made its offers, and the head it got."""
    client = await running.connect()
    lines = LINE + offers.encode() + b"\r\n\r\n"
    client.send(HANDSHAKE.replace(b"/echo", path).replace(b"\r\n\r\n", lines))
    return client, await client.read_head()


def agreed(head: bytes) -> str | None:
    """Return what the head says of extensions."""
    lines = [line for line in head.split(b"\r\n") if line.startswith(LINE[2:].lower())]
    assert len(lines) <= 1
    return lines[0].partition(b": ")[2].decode() if lines else None


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def rsv1(data: bytes) -> bytes:
    """The same frame with its first reserved bit."""
    return bytes([data[0] | 0x40]) + data[1:]


@pytest.mark.parametrize(
    ("settings", "offers", "answer"),
    [
        (SETTINGS, PMD, f"{PMD}; server_max_window_bits=12"),
        (
            SETTINGS,
            f"{PMD}; client_max_window_bits",
            f"{PMD}; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            SETTINGS,
            f"{PMD}; client_max_window_bits=10; server_max_window_bits=9",
            f"{PMD}; server_max_window_bits=9; client_max_window_bits=10",
        ),
        (
            SETTINGS,
            f"{PMD}; client_max_window_bits=15; server_max_window_bits=15",
            f"{PMD}; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (SETTINGS, f"{PMD}; {S}", f"{PMD}; {S}; server_max_window_bits=12"),
        (SETTINGS, f"{PMD}; {C}", f"{PMD}; {C}; server_max_window_bits=12"),
        (FORGETFUL, PMD, f"{PMD}; {S}; {C}; server_max_window_bits=12"),
        (SETTINGS, f"{PMD}, {PMD}; {S}", f"{PMD}; server_max_window_bits=12"),
        (SETTINGS, f"{PMD}; unknown, {PMD}", f"{PMD}; server_max_window_bits=12"),
        (SETTINGS, f"x-other, {PMD}", f"{PMD}; server_max_window_bits=12"),
        (SETTINGS, "x-other", None),
        (SETTINGS, f"{PMD}; unknown", None),
        (SETTINGS, f"{PMD}; {S}; {S}", None),
        (SETTINGS, f"{PMD}; {S}=1", None),
        (SETTINGS, f"{PMD}; server_max_window_bits", None),
        (SETTINGS, f"{PMD}; server_max_window_bits=8", None),  # zlib cannot
        (SETTINGS, f"{PMD}; server_max_window_bits=16", None),
        (SETTINGS, f"{PMD}; client_max_window_bits=7", None),
        (SETTINGS, f"{PMD}; client_max_window_bits=012", None),
        (OFF, PMD, None),
    ],
)
def test_what_is_agreed_on(run: Any, settings: HttpConfig, offers: str, answer: str | None) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo()), settings) as running:
            _, head = await offer(running, offers)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert agreed(head) == answer

    run(main())


def test_an_offer_that_is_no_header_value_is_refused(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            _, head = await offer(running, f"{PMD}; =")
            assert head.startswith(b"HTTP/1.1 400 ")

    run(main())


def sample(size: int, seed: int) -> bytes:
    """Text with something to compress."""
    words = random.Random(seed)
    return b"".join(b"%d," % words.randrange(1000) for _ in range(size // 2))[:size]


@pytest.mark.parametrize("settings", [SETTINGS, FORGETFUL, OFF], ids=["on", "forgetful", "off"])
@pytest.mark.parametrize(
    "factory",
    [
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(client_max_window_bits=None),
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
        ClientPerMessageDeflateFactory(server_max_window_bits=15, client_max_window_bits=15),
        ClientPerMessageDeflateFactory(True, True),
    ],
    ids=["usual", "large window", "small windows", "both large", "no context"],
)
def test_messages_of_every_size_come_back_whole(
    run: Any, settings: HttpConfig, factory: ClientPerMessageDeflateFactory
) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo()), settings) as running:
            url = f"ws://127.0.0.1:{running.port}/echo"
            async with connect(url, compression=None, extensions=[factory]) as ws:
                assert bool(ws.protocol.extensions) is settings.websocket_compression
                for size in (0, 1, 16, 63, 64, 511, 512, 2043, 2048, 4096, 65536, 131072, 400_000):
                    data = sample(size, seed=size)
                    await ws.send(data)
                    assert await within(ws.recv()) == data
                    await ws.send([data[at : at + 1000].decode() for at in range(0, size, 1000)])
                    if size:
                        assert await within(ws.recv()) == data.decode()

    run(main(), seconds=120)


@pytest.mark.parametrize(
    ("settings", "size", "is_compressed"),
    [
        (SETTINGS, 63, False),
        (SETTINGS, 64, True),
        (FORGETFUL, 511, False),
        (FORGETFUL, 512, True),
        (SETTINGS, 256 * 1024, True),
        (SETTINGS, 256 * 1024 + 1, False),
    ],
)
def test_what_is_not_worth_it_is_not_compressed(
    run: Any, settings: HttpConfig, size: int, is_compressed: bool
) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo()), settings) as running:
            client, _ = await offer(running, PMD)
            client.send(frame(2, b"x" * size))  # a client need not compress either
            head = await within(client.reader.readexactly(1))
            assert head == (b"\xc2" if is_compressed else b"\x82")

    run(main())


BIG = b"x" * 3000
HALF = deflated(BIG)


@pytest.mark.parametrize(
    ("offers", "data", "code"),
    [
        (PMD, rsv1(frame(9, b"")), 1002),  # a control frame
        (PMD, rsv1(frame(8, b"")), 1002),
        (PMD, rsv1(frame(1, HALF, fin=False)) + rsv1(frame(0, b"")), 1002),
        (PMD, frame(1, b"a", fin=False) + rsv1(frame(0, b"b")), 1002),
        (PMD, bytes([0xA1]) + frame(1, b"")[1:], 1002),  # RSV2
        (PMD, rsv1(frame(1, b"\xff\xff\xff\xff")), 1002),  # no deflate
        (PMD, rsv1(frame(1, deflated(b"\xff" * 100))), 1007),
        ("x-other", rsv1(frame(1, HALF)), 1002),  # nothing is agreed on
    ],
)
def test_malformed_frames_close_with_their_code(
    run: Any, offers: str, data: bytes, code: int
) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            client, _ = await offer(running, offers)
            client.send(data)
            got = await client.read_all()
            assert got[:1] == b"\x88"
            assert int.from_bytes(got[2:4], "big") == code

    run(main())


def test_fragments_of_a_compressed_message_with_a_ping_between_them(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=Echo())) as running:
            client, _ = await offer(running, f"{PMD}; {S}")
            whole = deflated(BIG)
            cut = len(whole) // 2
            first = rsv1(frame(1, whole[:cut], fin=False))
            client.send(first + frame(9, b"p") + frame(0, b"", fin=False) + frame(0, whole[cut:]))
            assert await within(client.reader.readexactly(3)) == b"\x8a\x01p"
            head, length = await within(client.reader.readexactly(2))
            assert head == 0xC1
            data = await within(client.reader.readexactly(length)) + b"\0\0\xff\xff"
            assert zlib.decompressobj(-12).decompress(data) == BIG

    run(main())


LIMITED = replace(SETTINGS, websocket_max_message=1_000_000)
BOMB = deflated(bytes(100_000_000))  # 97 KB


def pieces(opcode: int, payload: bytes, size: int) -> bytes:
    """A compressed message in fragments of `size` bytes."""
    cuts = [payload[at : at + size] for at in range(0, len(payload), size)]
    frames = [frame(0, cut, fin=False) for cut in cuts]
    frames[0] = rsv1(frame(opcode, cuts[0], fin=False))
    frames[-1] = frame(0, cuts[-1])
    return b"".join(frames)


@pytest.mark.parametrize(
    "data",
    [rsv1(frame(2, BOMB)), pieces(2, BOMB, 900), pieces(2, BOMB, 7)],
    ids=["one frame", "fragments", "tiny fragments"],
)
def test_a_bomb_is_cut_off_while_it_is_inflated(run: Any, data: bytes) -> None:
    async def main() -> None:
        echo = Echo()
        async with serving(Routes(echo=echo), LIMITED) as running:
            client, _ = await offer(running, PMD)
            with bounded(6_000_000):
                client.send(data)
                got = await client.read_all()
            assert int.from_bytes(got[2:4], "big") == 1009
            await running.until(lambda: bool(echo.events))
            assert [e["type"] for e in echo.events] == ["websocket.disconnect"]

    run(main())


def test_a_message_is_measured_inflated(run: Any) -> None:
    async def main() -> None:
        echo = Echo()
        async with serving(Routes(echo=echo), LIMITED) as running:
            for size, is_taken in ((1_000_000, True), (1_000_001, False)):
                client, _ = await offer(running, PMD)
                client.send(rsv1(frame(2, deflated(bytes(size)))))
                got = await within(client.reader.readexactly(4))
                assert (got[:1] == b"\x82") is is_taken
                assert is_taken or int.from_bytes(got[2:4], "big") == 1009

    run(main())


def test_many_small_bombs_wait_for_the_application(run: Any) -> None:
    release = asyncio.Event()
    count = 300
    taken: list[int] = []

    async def lazy(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await release.wait()
        for _ in range(count):
            assert len((await receive())["bytes"]) == 500_000
        taken.append(count)
        await receive()

    async def main() -> None:
        async with serving(Routes(lazy=lazy), LIMITED) as running:
            client, _ = await offer(running, PMD, b"/lazy")
            with bounded(8_000_000):
                client.send(rsv1(frame(2, deflated(bytes(500_000)))) * count)
                client.send(frame(9, b""))
                left = -1
                while left != client.writer.transport.get_write_buffer_size():
                    left = client.writer.transport.get_write_buffer_size()
                    await asyncio.sleep(0.1)
                release.set()
                await running.until(lambda: bool(taken))

    run(main())


def test_a_denied_client_leaves_no_compressor_behind(run: Any) -> None:
    async def deny(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    async def main() -> None:
        async with serving(Routes(deny=deny)) as running:
            gc.disable()
            try:
                with bounded(4_000_000):
                    for _ in range(150):
                        client, head = await offer(running, PMD, b"/deny")
                        assert head.startswith(b"HTTP/1.1 403 ")
                        await client.read_all()
                        client.close()
                        await client.writer.wait_closed()
                        running.clients.clear()
            finally:
                gc.enable()

    run(main())
