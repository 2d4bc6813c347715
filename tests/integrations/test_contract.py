"""One contract for every framework: what a job's end means for the request that waits for it.

A dash in the table is what the framework itself does not have; `MISSING` says why.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import aiohttp
import numpy as np
import psutil
import pytest

from hybrid.api.npy import array_to_bytes
from tests.cluster.conftest import PATIENCE, Server, refuses, wait_until

ROOT = Path(__file__).parents[2]
APPS = {
    "falcon": "falcon_app:app",
    "starlette": "starlette_app:app",
    "fastapi": "fastapi_app:app",
    "litestar": "litestar_app:app",
    "quart": "quart_app:app",
    "django": "django_app:app",
    "asgi": "plain_app:app",
    "falcon wsgi": "falcon_wsgi_app:app",
    "flask": "flask_app:app",
    "django wsgi": "django_app:wsgi",
}
WSGI = ("falcon wsgi", "flask", "django wsgi")
MISSING = {
    "websocket": {"django", *WSGI},  # not in Django without channels, not in WSGI
    "state": {"django", *WSGI},  # Django does not take lifespan events
    "background": {
        "falcon",  # starts the task and forgets it
        "django",  # has none, as has Falcon's WSGI half
        "falcon wsgi",
        "django wsgi",
    },
    # Litestar listens for the client's departure while it streams; Django reads the body first.
    "both ways": {"litestar", "django", "django wsgi"},
}
FLAGS = ("--io-workers", "1", "--cpu-pool", "1", "--cpu-queue", "1", "--cpu-kill-grace", "50ms")
EVERY = list(APPS)


def those_with(case: str) -> list[str]:
    return [name for name in EVERY if name not in MISSING[case]]


def start(framework: str) -> Server:
    target = f"tests.integrations.apps.{APPS[framework]}"
    return Server((target, *FLAGS), ROOT).wait_ready()


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Server]]:
    """One server per framework, started when it is first asked for."""
    running: dict[str, Server] = {}

    def server_of(framework: str) -> Server:
        if framework not in running:
            running[framework] = start(framework)
        return running[framework]

    yield server_of
    for server in running.values():
        server.end()


Servers = Callable[[str], Server]


def problem(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Return status and title of a problem answer, whose every part is there."""
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json", body
    document = json.loads(body)
    assert document["status"] == status
    assert document["request_id"] == headers.get("x-request-id", document["request_id"])
    return status, document["title"]


@pytest.mark.parametrize("framework", EVERY)
def test_a_result_and_where_the_time_went(servers: Servers, framework: str) -> None:
    status, headers, body = servers(framework).get("/square?n=7")
    assert (status, body) == (200, b"49")
    assert re.fullmatch(
        r"queue;dur=[\d.]+, run;dur=[\d.]+, total;dur=[\d.]+", headers["server-timing"]
    )


@pytest.mark.parametrize("framework", EVERY)
def test_an_exception_of_the_job_is_the_application_s_own(servers: Servers, framework: str) -> None:
    status, _, body = servers(framework).get("/fail")
    assert status == 500
    assert b"of the job" not in body


@pytest.mark.parametrize("framework", EVERY)
def test_a_late_job_is_504(servers: Servers, framework: str) -> None:
    answer = problem(servers(framework).get("/late"))
    assert answer == (504, "Job missed its deadline")


@pytest.mark.parametrize("framework", EVERY)
def test_a_killed_pool_process_is_500_and_the_next_job_runs(
    servers: Servers, framework: str
) -> None:
    assert problem(servers(framework).get("/die")) == (500, "Job failed")
    assert servers(framework).get("/square?n=3")[2] == b"9"


@pytest.mark.parametrize("framework", EVERY)
def test_a_full_pool_is_503_and_a_client_that_leaves_stops_its_job(
    servers: Servers, framework: str, tmp_path: Path
) -> None:
    """One slot and one place: of three requests one runs, one waits, one is refused."""
    server = servers(framework)
    clients = []
    for number in range(3):
        client = server.connection()
        client.request("GET", f"/hold?path={tmp_path}/{number}")
        clients.append(client)
    (refused,), _, _ = select.select([c.sock for c in clients], [], [], PATIENCE)
    (client,) = [c for c in clients if c.sock is refused]
    answer = client.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    assert problem((answer.status, headers, answer.read())) == (503, "Pool is full")
    assert int(headers["retry-after"]) >= 1

    (path,) = wait_until(lambda: [p for p in tmp_path.iterdir() if p.read_text()])
    process = psutil.Process(int(path.read_text()))
    for client in clients:
        client.close()
    wait_until(lambda: not process.is_running(), what="the job's process is killed")
    wait_until(lambda: server.get("/square?n=2")[0] == 200)


@pytest.mark.parametrize("framework", EVERY)
@pytest.mark.parametrize("count", [3, 200_000])
def test_an_array_goes_in_and_out(servers: Servers, framework: str, count: int) -> None:
    array = np.arange(count, dtype="f8")
    status, headers, body = servers(framework).request(
        "POST", "/npy", array_to_bytes(array), Content_Type="application/x-npy"
    )
    assert (status, headers["content-type"]) == (200, "application/x-npy"), body[:500]
    assert int(headers["content-length"]) == len(body)
    assert np.array_equal(np.load(io.BytesIO(body)), array * 2)


@pytest.mark.parametrize("framework", [name for name in EVERY if name != "asgi"])
def test_what_is_no_array_is_422(servers: Servers, framework: str) -> None:
    answer = servers(framework).request("POST", "/npy", b"x" * 20, Content_Type="application/x-npy")
    assert problem(answer) == (422, "Unusable array")


@pytest.mark.parametrize("framework", EVERY)
def test_progress_as_server_sent_events(servers: Servers, framework: str) -> None:
    status, headers, body = servers(framework).get("/events")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert body.endswith(b"data: whole\n\ndata: done\n\n")


@pytest.mark.parametrize("framework", EVERY)
def test_a_streamed_upload_and_a_streamed_answer(servers: Servers, framework: str) -> None:
    """Without a length; Django knows no such bodies under WSGI."""
    client = servers(framework).connection()
    pieces = [b"a" * 1000 + b"\n"] * 300
    if framework == "django wsgi":
        client.request("POST", "/stream", b"".join(pieces))
    else:
        client.request("POST", "/stream", iter(pieces), encode_chunked=True)
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (200, b"".join(pieces).upper())
    client.close()


@pytest.mark.parametrize("framework", those_with("both ways"))
def test_both_ways_at_once(servers: Servers, framework: str) -> None:
    address = ("127.0.0.1", servers(framework).port)
    with socket.create_connection(address, PATIENCE) as sock:
        sock.sendall(b"POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        heard = b""
        for word in (b"one\n", b"two\n"):
            sock.sendall(b"4\r\n%b\r\n" % word)
            while word.upper() not in heard:
                piece = sock.recv(4096)
                assert piece, heard
                heard += piece
        sock.sendall(b"0\r\n\r\n")
        while not heard.endswith(b"0\r\n\r\n"):
            heard += sock.recv(4096)


@pytest.mark.parametrize("framework", those_with("state"))
def test_what_the_start_has_left_is_there(servers: Servers, framework: str) -> None:
    assert servers(framework).get("/state")[2] == b"hello"


@pytest.mark.parametrize("framework", those_with("websocket"))
def test_a_websocket_echoes_and_a_job_error_closes_it(servers: Servers, framework: str) -> None:
    async def main() -> int | None:
        url = f"http://127.0.0.1:{servers(framework).port}/echo"
        timeout = aiohttp.ClientTimeout(PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.ws_connect(url) as ws:
            await ws.send_str("hello")
            assert (await ws.receive_str()) == "HELLO"
            await ws.send_str("late")
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
            return ws.close_code

    litestar_s_own = 4500
    assert asyncio.run(main()) == (litestar_s_own if framework == "litestar" else 3504)


@pytest.mark.parametrize("framework", those_with("background"))
def test_work_behind_the_answer_is_finished_by_the_drain(framework: str, tmp_path: Path) -> None:
    server = start(framework)
    try:
        path = tmp_path / "done"
        assert server.get(f"/background?path={path}")[2] == b"accepted"
        server.signal(signal.SIGTERM)
        wait_until(lambda: refuses(server), what="the worker drains")
        (tmp_path / "done.go").touch()
        assert server.wait_exit() == 0
        assert path.read_text() == "finished"
    finally:
        server.end()


# -- under another server -------------------------------------------------------------


class Elsewhere:
    """An application under another server: jobs run inline there."""

    def __init__(self, port: int) -> None:
        self._port = port

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        client.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = client.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        body = answer.read()
        client.close()
        return answer.status, found, body


@pytest.fixture
def elsewhere() -> Iterator[Callable[[str], Elsewhere]]:
    """Serve ASGI applications by uvicorn, WSGI applications by the standard library's server."""
    ends: list[Callable[[], object]] = []

    def serve(framework: str) -> Elsewhere:
        target = f"tests.integrations.apps.{APPS[framework]}"
        if framework in WSGI:
            return Elsewhere(_with_wsgiref(target, ends))
        return Elsewhere(_with_uvicorn(target, ends))

    yield serve
    for end in ends:
        end()


def _with_uvicorn(target: str, ends: list[Any]) -> int:
    command = [sys.executable, "-m", "uvicorn", target, "--port", "0", "--ws", "none"]
    server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    ends.append(lambda: (server.kill(), server.communicate(timeout=PATIENCE)))
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    pytest.fail("uvicorn did not start")


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None: ...


def _with_wsgiref(target: str, ends: list[Any]) -> int:
    module, _, name = target.partition(":")
    __import__(module)
    server = WSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(getattr(sys.modules[module], name))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    ends.append(lambda: (server.shutdown(), thread.join(PATIENCE), server.server_close()))
    return int(server.server_port)


@pytest.mark.parametrize("framework", EVERY)
def test_the_same_application_under_another_server(
    elsewhere: Callable[[str], Elsewhere], framework: str
) -> None:
    server = elsewhere(framework)
    for _ in range(2):  # the times of the first request are not those of the second
        status, headers, body = server.request("GET", "/square?n=7")
        assert (status, body) == (200, b"49")
        assert "run;dur=" in headers["server-timing"]
    assert problem(server.request("GET", "/late", X_Request_ID="mine"))[0] == 504
    array = np.arange(200_000, dtype="f8")
    body = array_to_bytes(array)
    status, headers, body = server.request("POST", "/npy", body, Content_Type="application/x-npy")
    assert status == 200, body
    assert np.array_equal(np.load(io.BytesIO(body)), array * 2)
    assert "server-timing" in headers
