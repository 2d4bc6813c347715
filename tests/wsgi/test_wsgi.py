"""A WSGI application behind the server: PEP 3333, as h11 and wsgiref.validate see it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from hybrid.config import HttpConfig
from hybrid.http.request.refusal import ClientGone
from tests.http.conftest import HELLO, PATIENCE, judge, within
from tests.wsgi.conftest import serving_wsgi

MB = 2**20


class Environs:
    """An application that keeps the environs it got."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]


def echo(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def answering(status: str, body: Any, *headers: tuple[str, str]) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return body

    return app


def test_wsgiref_finds_nothing_wrong(run: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(100)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        return [body[:3].ljust(3)]

    async def main() -> None:
        async with serving_wsgi(validator(app), HttpConfig(root_path="/below")) as server:
            client = await server.connect()
            for request in (
                HELLO,
                b"GET /caf%E9?a=%20b HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"2\r\nab\r\n0\r\n\r\n",
                b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            ):
                client.send(request)
                assert (await client.read_answer()).status == 200, request

    run(main())


def test_the_environ(run: Any) -> None:
    app = Environs()

    async def main() -> None:
        async with serving_wsgi(app, HttpConfig(root_path="/below")) as server:
            await server.talk(
                b"GET /caf%E9/a%2Fb%C3%BC?a=1&b=%20 HTTP/1.1\r\nHost: a\r\nX-Twice: 1\r\n"
                b"Cookie: a=1\r\nX-Twice: 2\r\nCookie: b=2\r\nX_Twice: 3\r\n"
                b"Content-Type: text/x\r\nX-Request-ID: the-id\r\n\r\n"
            )
            environ = app.seen[0]
            assert environ["PATH_INFO"].encode("latin-1") == b"/caf\xe9/a/b\xc3\xbc"
            assert environ["REQUEST_URI"] == "/caf%E9/a%2Fb%C3%BC?a=1&b=%20"
            assert environ["SCRIPT_NAME"] == "/below"
            assert environ["QUERY_STRING"] == "a=1&b=%20"
            assert environ["HTTP_X_TWICE"] == "1,2"
            assert environ["HTTP_COOKIE"] == "a=1; b=2"
            assert environ["CONTENT_TYPE"] == "text/x"
            assert environ["SERVER_PORT"] == str(server.port)
            assert environ["REMOTE_ADDR"] == "127.0.0.1"
            assert environ["wsgi.input_terminated"] is True
            assert environ["hybrid.request_id"] == "the-id"

    run(main())


def test_header_order_and_duplicates_are_kept(run: Any) -> None:
    cookies = (("Set-Cookie", "b=2"), ("X-A", "1"), ("Set-Cookie", "a=\xe9"), ("X-A", "0"))

    async def main() -> None:
        async with serving_wsgi(answering("200 OK", [b"x"], *cookies)) as server:
            answer = judge(await server.talk(HELLO), "GET")[0]
            own = [pair for pair in answer.all_headers if pair[0] in ("set-cookie", "x-a")]
            assert own == [(name.lower(), value) for name, value in cookies]

    run(main())


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body(run: Any, status: str) -> None:
    async def main() -> None:
        async with serving_wsgi(answering(status, [])) as server:
            answers = judge(await server.talk(HELLO + HELLO), "GET", "GET")
            assert [(a.status, a.body) for a in answers] == [(int(status[:3]), b"")] * 2

    run(main())


def test_head_has_the_length_of_get_and_no_body(run: Any) -> None:
    async def main() -> None:
        async with serving_wsgi(Environs()) as server:
            head = HELLO.replace(b"GET", b"HEAD")
            first, second = judge(await server.talk(head + HELLO), "HEAD", "GET")
            assert first.headers["content-length"] == second.headers["content-length"] == "5"
            assert (first.body, second.body) == (b"", b"hello")

    run(main())


@pytest.mark.parametrize("status", ["101 Switching Protocols", "100 Continue", "abc", ""])
def test_a_status_that_is_no_answer_is_500(run: Any, status: str) -> None:
    async def main() -> None:
        async with serving_wsgi(answering(status, [b"x"])) as server:
            assert judge(await server.talk(HELLO), "GET")[0].status == 500

    run(main())


def test_a_short_iterable_has_a_content_length(run: Any) -> None:
    """What is complete when the loop looks leaves as one answer."""

    def pieces() -> Any:
        yield b"ab"
        yield b""
        yield b"cd"

    async def main() -> None:
        async with serving_wsgi(answering("200 OK", [b"ab", b"", b"cd"])) as server:
            answer = judge(await server.talk(HELLO), "GET")[0]
            assert (answer.body, answer.headers["content-length"]) == (b"abcd", "4")
        async with serving_wsgi(answering("200 OK", pieces())) as server:
            assert judge(await server.talk(HELLO), "GET")[0].body == b"abcd"

    run(main())


def test_a_piece_leaves_before_the_next_one_is_made(run: Any) -> None:
    has_arrived = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"first"
        assert has_arrived.wait(PATIENCE)
        yield b"second"

    async def main() -> None:
        async with serving_wsgi(app) as server:
            client = await server.connect()
            client.send(HELLO)
            await client.read_head()
            assert await client.reader.readuntil(b"first\r\n")
            has_arrived.set()
            assert (await client.reader.readuntil(b"0\r\n\r\n")).count(b"second") == 1

    run(main())


def test_write_and_the_iterable_come_in_order(run: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        write(b"b")
        return [b"c"]

    async def main() -> None:
        async with serving_wsgi(app) as server:
            assert judge(await server.talk(HELLO), "GET")[0].body == b"abc"

    run(main())


def test_an_error_page_replaces_what_was_not_sent(run: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-First", "1")])
        try:
            raising(environ, start_response)
        except ValueError:
            start_response("502 Oops", [("X-Second", "1")], sys.exc_info())
        return [b"the error page"]

    async def main() -> None:
        async with serving_wsgi(app) as server:
            answer = judge(await server.talk(HELLO), "GET")[0]
            assert (answer.status, answer.body) == (502, b"the error page")
            assert "x-first" not in answer.headers

    run(main())


def test_an_error_page_that_comes_too_late_is_an_error(run: Any, caplog: Any) -> None:
    has_arrived = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"a part"
        assert has_arrived.wait(PATIENCE)
        try:
            raising(environ, start_response)
        except ValueError:
            start_response("502 Oops", [], sys.exc_info())
        yield b"never"

    async def main() -> None:
        async with serving_wsgi(app) as server:
            client = await server.connect()
            client.send(HELLO)
            await asyncio.wait_for(client.reader.readuntil(b"a part\r\n"), PATIENCE)
            has_arrived.set()
            data = await client.read_all()
            assert b"never" not in data
            assert not data.endswith(b"0\r\n\r\n")

    run(main())
    assert "ValueError: of the application" in caplog.text


def without_start(environ: Any, start_response: Any) -> list[bytes]:
    return [b"x"]


def twice(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return [b"x"]


def text(environ: Any, start_response: Any) -> list[str]:
    start_response("200 OK", [])
    return ["text"]


def raising(environ: Any, start_response: Any) -> list[bytes]:
    raise ValueError("of the application")


def too_long(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "1")])
    return [b"xx"]


def splitting(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("X-A", "a\r\nX-B: b")])
    return [b"x"]


@pytest.mark.parametrize(
    ("app", "logged"),
    [
        (without_start, "before start_response"),
        (twice, "again without exc_info"),
        (text, "made of bytes, not str"),
        (raising, "ValueError: of the application"),
        (too_long, "with a Content-Length of 1"),
        (splitting, "control character"),
    ],
)
def test_a_broken_application_is_500_and_its_traceback(
    run: Any, caplog: Any, app: Any, logged: str
) -> None:
    async def main() -> None:
        async with serving_wsgi(app) as server:
            assert judge(await server.talk(HELLO), "GET")[0].status == 500

    run(main())
    assert logged in caplog.text


def test_the_iterable_is_closed_once_and_its_error_logged(run: Any, caplog: Any) -> None:
    closed = []

    class Result:
        def __iter__(self) -> Any:
            return iter([b"body"])

        def close(self) -> None:
            closed.append(1)
            raise ValueError("of close")

    async def main() -> None:
        async with serving_wsgi(answering("200 OK", Result())) as server:
            assert judge(await server.talk(HELLO), "GET")[0].body == b"body"

    run(main())
    assert closed == [1]
    assert "of close" in caplog.text


# -- bodies ---------------------------------------------------------------------------


def test_the_input_is_a_file_that_ends(run: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        parts = [body.readline(), body.readline(2), body.read(3), *body, body.read()]
        start_response("200 OK", [])
        return [repr(parts).encode()]

    expected = repr([b"one\n", b"tw", b"o\nt", b"hree\n", b"four", b""]).encode()
    body = b"one\ntwo\nthree\nfour"

    async def main() -> None:
        async with serving_wsgi(app) as server:
            whole = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\n" + body
            chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            answers = judge(await server.talk(whole + head + chunks + b"0\r\n\r\n"), "POST", "POST")
            assert [answer.body for answer in answers] == [expected] * 2

    run(main())


def test_an_upload_streams_and_the_answer_with_it(run: Any) -> None:
    """Both ways at once: each piece is answered before the next one is sent."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        while line := environ["wsgi.input"].readline():
            yield line.upper()

    async def main() -> None:
        async with serving_wsgi(app) as server:
            client = await server.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for word in (b"one\n", b"two\n"):
                client.send(b"4\r\n%b\r\n" % word)
                await asyncio.wait_for(client.reader.readuntil(word.upper()), PATIENCE)
            client.send(b"0\r\n\r\n")
            await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)

    run(main())


def test_100_continue_is_said_when_the_application_reads(run: Any) -> None:
    may_read = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert may_read.wait(PATIENCE)
        return echo(environ, start_response)

    async def main() -> None:
        async with serving_wsgi(app) as server:
            client = await server.connect()
            client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
            )
            may_read.set()
            assert await client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"abcd")
            assert (await client.read_answer()).body == b"abcd"

    run(main())


def test_an_unread_body_does_not_ask_for_100(run: Any) -> None:
    async def main() -> None:
        async with serving_wsgi(answering("413 Too Large", [b"no"])) as server:
            client = await server.connect()
            client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (await client.read_answer()).status == 413

    run(main())


def test_a_cut_upload_is_not_an_upload(run: Any) -> None:
    heard: list[BaseException] = []
    has_begun, is_over = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        has_begun.set()
        try:
            return echo(environ, start_response)
        except BaseException as ex:
            heard.append(ex)
            raise
        finally:
            is_over.set()

    async def main() -> None:
        async with serving_wsgi(app) as server:
            client = await server.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 9)
            await server.until(has_begun.is_set)
            client.close()
            await asyncio.to_thread(is_over.wait, PATIENCE)

    run(main())
    assert [type(ex) for ex in heard] == [ClientGone]


def test_a_slow_short_upload_holds_no_thread(run: Any) -> None:
    async def main() -> None:
        async with serving_wsgi(echo, threads=1) as server:
            slow = await server.connect()
            slow.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            other = await server.connect()
            assert (await other.get()).status == 200
            slow.send(b"cd")
            assert (await slow.read_answer()).body == b"abcd"

    run(main())


def test_a_fast_application_waits_for_a_slow_client(run: Any) -> None:
    read, ahead = 0, 0

    def app(environ: Any, start_response: Any) -> Any:
        nonlocal ahead
        start_response("200 OK", [])
        for number in range(64):
            ahead = max(ahead, number * MB - read)
            yield bytes(MB)

    async def main() -> None:
        async with serving_wsgi(app, HttpConfig(write_buffer=MB)) as server:
            nonlocal read
            client = await server.connect(limit=65536, receive_buffer=65536)
            client.send(HELLO)
            await client.read_head()
            (connection,) = server.server._shared.connections
            await server.until(lambda: connection.is_write_paused)
            while read < 64 * MB:
                read += len(await within(client.reader.read(MB)))
            assert ahead < 24 * MB, "the answer is in memory for a client that does not read"

    run(main())


def test_the_last_piece_frees_the_thread(run: Any) -> None:
    """One thread, and a client that does not read its 16 MB: the next one is served."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [bytes(16 * MB) if environ["PATH_INFO"] == "/big" else b"hello"]

    async def main() -> None:
        async with serving_wsgi(app, threads=1) as server:
            slow = await server.connect(limit=1024, receive_buffer=4096)
            slow.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
            await slow.read_head()
            assert (await (await server.connect()).get("/hello")).body == b"hello"

    run(main())


def test_a_client_that_leaves_closes_the_iterable(run: Any) -> None:
    is_closed = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(1000)
        finally:
            is_closed.set()

    async def main() -> None:
        async with serving_wsgi(app) as server:
            client = await server.connect()
            client.send(HELLO)
            await client.read_head()
            client.reset()
            assert await asyncio.to_thread(is_closed.wait, PATIENCE)

    run(main())


# -- files ----------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [0, 5])
@pytest.mark.parametrize("size", [100, MB])
def test_a_file_is_sent_from_where_it_stands(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, skip: int
) -> None:
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    by_kernel: list[int] = []
    sendfile = os.sendfile

    def counted(out: int, source: int, offset: int, count: int) -> int:
        sent = sendfile(out, source, offset, count)
        by_kernel.append(sent)
        return sent

    monkeypatch.setattr(os, "sendfile", counted)
    opened = []

    def app(environ: Any, start_response: Any) -> Any:
        file = path.open("rb")
        opened.append(file)
        file.seek(skip)
        path.unlink(missing_ok=True)
        start_response("200 OK", [("Content-Type", "application/x")])
        return environ["wsgi.file_wrapper"](file)

    async def main() -> None:
        async with serving_wsgi(app) as server:
            answer = judge(await server.talk(HELLO), "GET")[0]
            assert answer.body == content[skip:]

    run(main())
    assert opened[0].closed
    assert sum(by_kernel) == (size if size == MB and not skip else 0)


# -- threads --------------------------------------------------------------------------


def test_requests_run_at_once_then_wait_then_are_refused(run: Any) -> None:
    go = threading.Event()
    entered = threading.Semaphore(0)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        entered.release()
        assert go.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"done"]

    async def main() -> None:
        async with serving_wsgi(app, threads=2, queue=1) as server:
            clients = [await server.connect() for _ in range(3)]
            for client in clients:
                client.send(HELLO)
            for _ in range(2):
                assert await asyncio.to_thread(entered.acquire, timeout=PATIENCE)
            await server.until(lambda: server.server.statistics().requests_active == 3)
            refused = await (await server.connect()).get()
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert b"--wsgi-queue" in refused.body
            go.set()
            answers = [await client.read_answer() for client in clients]
            assert [answer.body for answer in answers] == [b"done"] * 3

    run(main())


def test_a_request_whose_client_left_in_the_line_is_not_run(run: Any) -> None:
    go, ran = threading.Event(), []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        ran.append(environ["PATH_INFO"])
        assert go.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"done"]

    async def main() -> None:
        async with serving_wsgi(app, threads=1) as server:
            first, second = await server.connect(), await server.connect()
            first.send(HELLO)
            await server.until(lambda: ran)
            second.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.until(lambda: server.server.statistics().requests_active == 2)
            second.close()
            await server.until(lambda: server.server.statistics().connections == 1)
            go.set()
            assert (await first.read_answer()).body == b"done"

    run(main())
    assert ran == ["/hello"]


def test_a_websocket_is_refused(run: Any) -> None:
    async def main() -> None:
        async with serving_wsgi(Environs()) as server:
            client = await server.connect()
            client.send(
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (await client.read_answer()).status == 403

    run(main())
