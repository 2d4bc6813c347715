"""``hybrid serve`` and ``hybrid check`` with a WSGI application."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Run, Server, refuses, wait_until

Serve = Callable[..., Server]
FALCON = """
import falcon


class Hello:
    def on_get(self, req, resp):
        resp.text = "hello"


app = falcon.App()
app.add_route("/hello", Hello())
"""
BROKEN = """
import shop2
async def coroutine(request): ...
async def factory(): ...
def wsgi(environ, start_response): ...
class Class: ...
text = "text"
"""


def test_a_wsgi_application_is_served_and_the_banner_says_so(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FALCON)
    server = serve("shop:app", "--io-workers", "2", "--wsgi-threads", "3", cwd=tmp_path)
    assert "shop:app: WSGI on 3 threads a worker; 2 I/O workers" in server.log
    for _ in range(5):
        status, headers, body = server.get("/hello")
        assert (status, body, headers["content-length"]) == (200, b"hello", "5")
        assert headers["x-worker"] in "12"
    server.process.terminate()
    assert server.wait_exit() == 0


def test_a_script_s_worker_serves_a_wsgi_application(run: Run) -> None:
    script = run("wsgi.py")
    status, _, body = script.get("/hello")
    assert (status, body) == (200, b"/hello")
    script.process.terminate()
    assert script.wait_exit() == 0


def test_a_request_in_its_thread_is_finished_by_the_drain(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "def app(environ, start_response):\n"
        "    pathlib.Path('entered').touch()\n"
        "    while not pathlib.Path('go').exists():\n"
        "        time.sleep(0.01)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'finished']\n"
    )
    server = serve("slow:app", "--io-workers", "1", "--cpu-pool", "0", cwd=tmp_path)
    request = server.in_background("GET", "/")
    wait_until((tmp_path / "entered").exists)
    server.process.terminate()
    wait_until(lambda: refuses(server), what="the worker drains")
    (tmp_path / "go").touch()
    assert server.wait_exit() == 0
    result = request.join().result
    assert result is not None
    assert (result[0], result[2]) == (200, b"finished")


def test_an_asgi_application_says_nothing_of_wsgi(serve: Serve) -> None:
    assert "WSGI" not in serve("--io-workers", "1", "--cpu-pool", "0").log


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["broken:shop2"], "is a module: name the application in it, as shop2:app"),
        (["broken:Class"], "is a class"),
        (["broken:text"], "is a str, which cannot be called"),
        (["broken:coroutine"], "is a coroutine function, but takes other arguments"),
        (["broken:factory", "--factory"], "is async"),
        (["broken:wsgi", "--interface", "asgi"], "leave it out, or say --interface wsgi"),
    ],
)
def test_what_cannot_be_served_ends_with_4(
    serve: Serve, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "shop2.py").write_text("app = print")
    check = subprocess.run(
        [sys.executable, "-m", "hybrid", "check", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (check.returncode, sentence in check.stderr) == (4, True), check.stderr
    assert "Traceback" not in check.stderr
    server = serve(*arguments, ready=False, cwd=tmp_path)
    assert server.wait_exit() == 4
    assert sentence in server.log
    assert "listening on" not in server.log
