"""One line per request, in blocks, that no client can forge."""

from __future__ import annotations

import sys
from io import StringIO
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from hybrid.config import HttpConfig, LogConfig
from hybrid.http import server as server_module
from hybrid.http.access_log import AccessLog
from hybrid.http.request.refusal import Refused
from tests.http.conftest import HELLO, Routes, answer, serving


def logged(run: Any, monkeypatch: Any, log_format: str, data: bytes, app: Any = None) -> list[str]:
    written: list[str] = []

    def make(chosen: str, worker: str) -> AccessLog:
        return AccessLog(chosen, worker, written.append)

    monkeypatch.setattr(server_module, "AccessLog", make)

    async def main() -> None:
        options = {"log": LogConfig(format=log_format), "headers": [(b"x-worker", b"3")]}
        async with serving(app or Routes(), HttpConfig(), **options) as running:
            await running.talk(data)

    run(main())
    return "".join(written).splitlines()


def test_a_json_line_has_every_field(run: Any, monkeypatch: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        times = SimpleNamespace(queue_s=0.002, run_s=0.005)
        scope["extensions"]["hybrid.departure"].book().extend([times, times])
        await Routes()(scope, receive, send)

    data = (
        b"GET /hello?x=%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: t\xe9st\r\nReferer: r\r\n"
        b"X-Request-ID: my-id\r\n\r\n"
    )
    (line,) = logged(run, monkeypatch, "json", data, app)

    fields = orjson.loads(line)
    expected = {
        "worker": "3",
        "request_id": "my-id",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/hello?x=%22",
        "status": 200,
        "bytes": 5,
        "queue_ms": 4.0,
        "cpu_ms": 10.0,
        "referer": "r",
    }
    assert {name: fields[name] for name in expected} == expected
    assert fields["dt_ms"] > 0


def test_a_text_line_is_the_combined_format_and_more(run: Any, monkeypatch: Any) -> None:
    (line,) = logged(run, monkeypatch, "text", HELLO)

    assert line.startswith("127.0.0.1 - - [")
    assert '"GET /hello HTTP/1.1" 200 5 "-" "-" ' in line
    assert line.endswith(" 3")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_header_of_a_client_makes_a_second_field_or_line(
    run: Any, monkeypatch: Any, log_format: str
) -> None:
    data = b'GET /a"b HTTP/1.1\r\nHost: a\r\nUser-Agent: x" 200 0 "\x85\xff\\\r\n\r\n'
    (line,) = logged(run, monkeypatch, log_format, data)

    assert line.isascii() or log_format == "json"
    if log_format == "text":
        assert line.count('"') == 6
    else:
        assert orjson.loads(line)["status"] == 200


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_the_application_does_to_its_scope_is_not_logged_and_hangs_no_client(
    run: Any, monkeypatch: Any, log_format: str
) -> None:
    async def spoiling(scope: Any, receive: Any, send: Any) -> None:
        scope["headers"][:] = [None, ("referer", "forged"), (b"user-agent", "\nforged")]
        scope["extensions"].clear()
        scope["client"] = ("1.1.1.1\nforged", 1)
        if scope["path"] == "/empty":
            scope.clear()
        await answer(send, b"hello")

    data = HELLO.replace(b"\r\n\r\n", b"\r\nUser-Agent: mine\r\n\r\n")
    lines = logged(
        run, monkeypatch, log_format, data + data.replace(b"/hello", b"/empty") + data, spoiling
    )

    assert len(lines) == 3
    for line, path in zip(lines, ("/hello", "/empty", "/hello"), strict=True):
        assert "forged" not in line
        assert "127.0.0.1" in line
        assert "mine" in line
        assert path in line


def test_refusals_and_departures_are_logged_and_probes_are_not(run: Any, monkeypatch: Any) -> None:
    probe = HELLO.replace(b"/hello", b"/livez")
    lines = logged(run, monkeypatch, "text", probe + HELLO + b"BAD\r\n\r\n")

    assert len(lines) == 2
    assert " 200 5 " in lines[0]
    assert " 400 " in lines[1]


def test_a_gone_reader_of_stdout_ends_nobody(monkeypatch: Any) -> None:
    class Broken:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Broken())
    log = AccessLog("text", "1")
    log.write_refusal(Refused(400, "malformed"), "id", None, None, 0)
    log.flush()
    monkeypatch.setattr("sys.stdout", StringIO())
    log.flush()
    assert sys.stdout.getvalue() == ""  # the line is lost, and written to no one later
