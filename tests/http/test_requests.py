"""Requests and answers on a real socket, judged by h11."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from array import array
from dataclasses import replace
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest

from hybrid.config import HttpConfig
from hybrid.core.histogram import quantile
from tests.http.conftest import HELLO, Routes, answer, echo, judge, read_body, serving, within

SETTINGS = HttpConfig()
FOUR_BYTES = [(b"content-length", b"4")]
CLOSING = HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def test_keep_alive_then_close_on_request(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes()) as running:
            client = await running.connect()
            for _ in range(3):
                got = await client.get()
                assert (got.status, got.body) == (200, b"hello")
                assert got.headers["content-length"] == "5"
                assert "date" in got.headers
                assert "connection" not in got.headers
            client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            last = judge(await client.read_all(), "GET")[0]
            assert last.headers["connection"] == "close"
            assert running.server.statistics().requests_total == 4

    run(main())


def test_pipelined_requests_are_answered_in_order_however_many(run: Any) -> None:
    async def name(scope: Any, receive: Any, send: Any) -> None:
        if scope["query_string"].endswith(b"7"):
            await asyncio.sleep(0)
        await answer(send, scope["query_string"])

    async def main() -> None:
        async with serving(Routes(name=name)) as running:
            count = 3000
            flood = b"".join(b"GET /name?%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(count))
            answers = judge(await running.talk(flood), *(["GET"] * count))
            assert [got.body for got in answers] == [b"%d" % n for n in range(count)]

    run(main())


def test_http_1_0_closes_unless_asked_and_is_never_chunked(run: Any) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    async def main() -> None:
        async with serving(Routes(stream=stream)) as running:
            client = await running.connect()
            client.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.read_answer()).headers["connection"] == "keep-alive"
            client.send(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            data = await client.read_all()
            assert b"chunked" not in data
            assert judge(data, "GET")[0].body == b"onetwo"
            data = await running.talk(b"GET /hello HTTP/1.0\r\n\r\n")
            assert judge(data, "GET")[0].headers["connection"] == "close"

    run(main())


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_come_back_as_they_were_sent(run: Any, size: int, chunked: bool) -> None:
    body = bytes(n % 251 for n in range(size))

    async def main() -> None:
        async with serving(Routes(echo=echo)) as running:
            client = await running.connect(limit=2**24)
            head = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            if chunked:
                pieces = [body[n : n + 9973] for n in range(0, size, 9973)]
                coded = b"".join(b"%x;e=1\r\n%b\r\n" % (len(p), p) for p in pieces)
                client.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + coded)
                client.send(b"0\r\nTrailer: ignored\r\n\r\n")
            else:
                client.send(head + b"Content-Length: %d\r\n\r\n" % size + body)
            assert judge(await client.read_all(), "POST")[0].body == body

    run(main())


def test_a_streamed_answer_is_chunked_and_judged_complete(run: Any) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for size in (3, 0, 100_000, 1):
            await send({"type": "http.response.body", "body": b"x" * size, "more_body": True})
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(Routes(stream=stream)) as running:
            data = await running.talk(HELLO.replace(b"/hello", b"/stream") + HELLO)
            streamed, after = judge(data, "GET", "GET")
            assert streamed.headers["transfer-encoding"] == "chunked"
            assert streamed.body == b"x" * 100_004
            assert after.body == b"hello"

    run(main())


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 205), ("GET", 304), ("HEAD", 404)]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_answers_that_may_have_no_body_have_none(
    run: Any, method: str, status: int, streamed: bool
) -> None:
    async def route(scope: Any, receive: Any, send: Any) -> None:
        if not streamed:
            await answer(send, b"body", status)
            return
        start = {"type": "http.response.start", "status": status, "headers": FOUR_BYTES}
        await send(start)
        await send({"type": "http.response.body", "body": b"bo", "more_body": True})
        await send({"type": "http.response.body", "body": b"dy"})

    async def main() -> None:
        async with serving(Routes(route=route)) as running:
            request = b"%b /route HTTP/1.1\r\nHost: a\r\n\r\n" % method.encode()
            data = await running.talk(request + HELLO)
            first, second = judge(data, method, "GET")
            assert (first.status, first.body) == (status, b"")
            if method == "HEAD":
                assert first.headers["content-length"] == "4"
            elif status == 204:
                assert "content-length" not in first.headers
            elif status == 205:
                assert first.headers["content-length"] == "0"
            assert second.body == b"hello"

    run(main())


def test_targets_are_decoded_as_asgi_says(run: Any) -> None:
    async def main() -> None:
        routes = Routes()
        async with serving(routes, replace(SETTINGS, root_path="/api")) as running:
            await running.talk(
                b"GET /a%20b%2Fc?x=%20&y HTTP/1.1\r\nHost: a\r\n\r\n"
                b"GET http://other:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n"
                b"GET http://other?q HTTP/1.1\r\nHost: a\r\n\r\n"
                b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
                b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n"
            )
        found = [(s["path"], s["raw_path"], s["query_string"]) for s in routes.scopes]
        assert found == [
            ("/api/a b/c", b"/a%20b%2Fc", b"x=%20&y"),
            ("/api/p", b"/p", b"q"),
            ("/api/", b"/", b"q"),
            ("/api*", b"*", b""),
            ("/api/\ufffd", b"/%ff", b""),
        ]
        assert routes.scopes[1]["headers"] == [(b"host", b"other:81")]

    run(main())


def test_100_continue_is_said_when_the_body_is_asked_for(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=echo)) as running:
            client = await running.connect()
            client.send(
                b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert await client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"abc")
            assert (await client.read_answer("POST")).body == b"abc"
            # Not asked for: the final answer comes at once, and the connection cannot go on.
            client.send(
                b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            got = await client.read_answer("POST")
            assert (got.status, got.headers["connection"]) == (200, "close")
            assert await client.is_closed()

    run(main())


def test_an_unread_body_is_swallowed_if_short_else_the_connection_ends(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes()) as running:
            client = await running.connect()
            client.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
            assert (await client.read_answer("POST")).status == 200
            client.send(b"cde" + HELLO)
            assert (await client.read_answer()).body == b"hello"
            client.send(b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\nab")
            assert (await client.read_answer("POST")).headers["connection"] == "close"

    run(main())


@pytest.mark.parametrize(
    "fault",
    ["raise", "nothing", "start only", "too short", "too long", "bad header", "bad status"],
)
def test_a_failing_application_is_a_500_or_a_cut_connection(
    run: Any, fault: str, caplog: Any
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"5")] if fault.startswith("too") else []
        if fault == "bad header":
            headers = [(b"x-evil", b"a\r\nset-cookie: b=c")]
        if fault == "raise":
            raise KeyError("secret")
        if fault != "nothing":
            status = 99 if fault == "bad status" else 200
            await send({"type": "http.response.start", "status": status, "headers": headers})
        if fault.startswith(("too", "bad")):
            body = b"x" * (4 if fault == "too short" else 6)
            await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        async with serving(Routes(broken=broken)) as running:
            data = await running.talk(HELLO.replace(b"/hello", b"/broken"))
            got = judge(data, "GET")[0]
            assert got.status == 500
            assert got.headers["content-type"] == "application/problem+json"
            assert b"secret" not in data
            assert b"set-cookie" not in data
        assert len([r for r in caplog.records if "request_id=" in r.getMessage()]) == 1

    run(main())


@pytest.mark.parametrize("status", [HTTPStatus.GONE, 410.0, Decimal(410)])
def test_a_status_of_another_type_is_counted_as_its_number(run: Any, status: Any) -> None:
    async def made(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"", status)

    async def main() -> None:
        async with serving(Routes(made=made)) as running:
            client = await running.connect()
            assert (await client.get("/made")).status == 410
            assert (await client.get("/hello")).status == 200
            assert running.server.statistics().responses_4xx == 1

    run(main())


@pytest.mark.parametrize("announced", [False, True])
def test_an_application_that_fails_after_the_head_cuts_the_connection(
    run: Any, announced: bool
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"3")] if announced else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        if not announced:
            raise ValueError
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(Routes(broken=broken)) as running:
            client = await running.connect()
            client.send(HELLO.replace(b"/hello", b"/broken"))
            with contextlib.suppress(ConnectionError):
                assert not (await client.read_all()).endswith(b"0\r\n\r\n")

    run(main())


def test_request_ids_are_taken_if_harmless_and_echoed(run: Any) -> None:
    async def main() -> None:
        routes = Routes()
        async with serving(routes, headers=[(b"x-worker", b"7")]) as running:
            client = await running.connect()
            ids = []
            for given in ("abc-1.2_3", "x" * 129, "a b", ""):
                client.send(
                    b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-ID: %b\r\n\r\n" % given.encode()
                )
                got = await client.read_answer()
                ids.append(got.headers["x-request-id"])
                assert got.headers["x-worker"] == "7"
            assert ids[0] == "abc-1.2_3"
            assert len({*ids}) == 4
            assert [s["state"]["request_id"] for s in routes.scopes] == ids

    run(main())


def test_a_slow_reader_costs_bounded_memory(run: Any) -> None:
    produced = 0

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        nonlocal produced
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            produced += 100_000
        await send({"type": "http.response.body"})

    async def main() -> None:
        settings = replace(SETTINGS, write_buffer=100_000)
        async with serving(Routes(flood=flood), settings) as running:
            client = await running.connect(limit=1000, receive_buffer=4096)
            client.send(HELLO.replace(b"/hello", b"/flood"))
            await client.read_head()
            before = -1
            while before != produced:  # until it stands still
                before = produced
                await asyncio.sleep(0.1)
            # The kernel's send buffer (up to 4 MB here) and the limit, no more.
            assert produced < 8_000_000
            body = 0
            while body < 100_000_000:
                piece = await within(client.reader.read(2**20))
                assert piece
                body += len(piece)

    run(main())


def test_a_slow_application_makes_the_client_wait(run: Any) -> None:
    async def lazy(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.wait_for(stalled.wait(), 10)
        await read_body(receive)
        await answer(send, b"read")

    stalled = asyncio.Event()

    async def main() -> None:
        async with serving(Routes(lazy=lazy)) as running:
            client = await running.connect()
            size = 20_000_000
            client.send(b"POST /lazy HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            client.send(b"x" * size)
            left = -1
            while left != client.writer.transport.get_write_buffer_size():
                left = client.writer.transport.get_write_buffer_size()
                await asyncio.sleep(0.1)
            assert left > 8_000_000  # what neither the kernel nor the server took
            stalled.set()
            assert (await client.read_answer("POST")).body == b"read"

    run(main())


def test_statistics_count_answers_and_time_them(run: Any) -> None:
    async def missing(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"", 404)

    async def main() -> None:
        async with serving(Routes(missing=missing)) as running:
            data = HELLO * 3 + HELLO.replace(b"/hello", b"/missing") + b"BAD\r\n\r\n"
            assert [got.status for got in judge(await running.talk(data), *["GET"] * 5)] == [
                200,
                200,
                200,
                404,
                400,
            ]
            found = running.server.statistics()
            assert (found.accepted, found.requests_total) == (1, 4)
            assert (
                found.responses_4xx == 2
            )  # the 404, and the 400 of what the application never saw
            assert sum(found.latency) == 4
            median = quantile(found.latency, 0.5)
            assert median is not None
            assert 0 < median < 1

    run(main())


def test_shed_connections_close_after_their_next_answer(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes()) as running:
            clients = [await running.connect() for _ in range(4)]
            for client in clients:
                assert "connection" not in (await client.get()).headers
            running.server.shed_keepalive(9)
            running.server.shed_keepalive(2)
            said = [(await client.get()).headers.get("connection") for client in clients]
            assert said == ["close", "close", None, None]

    run(main())


def test_an_adopted_socket_is_served_with_what_was_read_from_it(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes()) as running:
            with socket.create_server(("127.0.0.1", 0)) as elsewhere:
                there = socket.create_connection(elsewhere.getsockname())
                here, _ = elsewhere.accept()
            there.setblocking(False)
            running.server.adopt(here, HELLO[:20])
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(there, HELLO[20:])
            assert b"hello" in await within(loop.sock_recv(there, 65536))
            assert here.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            there.close()

    run(main())


def test_who_has_left_gets_no_further_answers(run: Any, caplog: Any) -> None:
    """asyncio warns of every write to a lost connection; the rest of a pipeline is not answered."""

    async def main() -> None:
        gone = socket.socket()

        async def leave(scope: Any, receive: Any, send: Any) -> None:
            gone.close()  # with SO_LINGER 0: a reset, which is there when this returns
            await answer(send)

        async with serving(Routes(leave=leave)) as running:
            gone.setblocking(False)
            loop = asyncio.get_running_loop()
            await within(loop.sock_connect(gone, ("127.0.0.1", running.port)))
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await within(loop.sock_sendall(gone, HELLO.replace(b"/hello", b"/leave") + HELLO * 20))
            await running.until(lambda: gone.fileno() == -1)
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())
    assert not [record for record in caplog.records if record.name == "asyncio"]


NUMBERS = array("i", range(10))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (memoryview(NUMBERS), NUMBERS.tobytes()),
        (memoryview(NUMBERS).toreadonly(), NUMBERS.tobytes()),
        (memoryview(b"abcdef")[::2], b"ace"),
        (memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
        (memoryview(b""), b""),
        (bytearray(b"abc"), b"abc"),
        (NUMBERS, NUMBERS.tobytes()),
    ],
    ids=["numbers", "read-only numbers", "strided", "table", "empty", "bytearray", "array"],
)
@pytest.mark.parametrize("announced", [False, True])
def test_a_body_is_counted_in_bytes_not_in_items(
    run: Any, body: Any, expected: bytes, announced: bool
) -> None:
    async def whole(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % len(expected))] if announced else []
        await answer(send, body, headers=tuple(headers))

    async def pieces(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        async with serving(Routes(whole=whole, pieces=pieces)) as running:
            client = await running.connect()
            assert (await client.get("/whole")).body == expected
            assert (await client.get("/pieces")).body == expected * 2
            assert (await client.get("/hello")).body == b"hello"

    run(main())


@pytest.mark.parametrize("body", ["text", 5, None, [1, 2]])
@pytest.mark.parametrize("more", [False, True])
def test_a_body_that_is_no_bytes_is_the_application_s_failure(
    run: Any, body: Any, more: bool
) -> None:
    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def main() -> None:
        async with serving(Routes(wrong=wrong)) as running:
            client = await running.connect()
            assert (await client.get("/wrong")).status == 500
            assert (await client.get("/hello")).body == b"hello"

    run(main())


def test_a_buffer_that_the_application_uses_again_reaches_the_client_as_it_was(run: Any) -> None:
    size, count = 100_000, 40

    async def reusing(scope: Any, receive: Any, send: Any) -> None:
        buffer = bytearray(size)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(count):
            buffer[:] = bytes([number]) * size
            body = buffer if number % 2 else memoryview(buffer)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            buffer[:] = b"\xff" * size
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(Routes(reusing=reusing)) as running:
            client = await running.connect(receive_buffer=2**12)
            client.send(CLOSING.replace(b"/hello", b"/reusing"))
            (got,) = judge(await client.read_all(), "GET")
        assert got.body == b"".join(bytes([number]) * size for number in range(count))

    run(main())
