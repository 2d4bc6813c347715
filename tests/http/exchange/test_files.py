"""``http.response.pathsend``: whole files by sendfile, over TLS by copying."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hybrid.config import HttpConfig
from tests.http.conftest import HELLO, PATIENCE, Routes, judge, serving, within

GET = HELLO.replace(b"/hello", b"/file")


def sends(path: Path, length: int | None = None) -> Routes:
    async def file(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.pathsend" in scope["extensions"]
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": str(path)})

    return Routes(file=file)


@pytest.mark.parametrize("size", [0, 1, 300_000, 20_000_000])
def test_a_file_arrives_whole_and_the_connection_goes_on(
    run: Any, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1000) * (size // 1000) + b"y" * (size % 1000))

    async def main() -> None:
        async with serving(sends(path)) as running:
            client = await running.connect(limit=2**25)
            client.send(GET + HELLO)
            got = await client.read_answer()
            assert got.headers["content-length"] == str(size)
            assert got.body == path.read_bytes()
            assert (await client.read_answer()).body == b"hello"
            head = judge(await running.talk(GET.replace(b"GET", b"HEAD")), "HEAD")[0]
            assert (head.headers["content-length"], head.body) == (str(size), b"")

    run(main())


@pytest.mark.parametrize("fault", ["missing", "other length", "pipe", "folder", "device"])
def test_a_file_that_is_not_as_said_is_a_500(run: Any, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "file"
    if fault == "pipe":
        os.mkfifo(path)
    elif fault == "folder":
        path.mkdir()
    elif fault == "device":
        path.symlink_to("/dev/zero")
    elif fault == "other length":
        path.write_bytes(b"abc")

    async def main() -> None:
        async with serving(sends(path, 4)) as running:
            assert judge(await running.talk(GET), "GET")[0].status == 500

    # Whoever waits for a writer to the pipe blocks the loop, and this test: until there is one.
    rescue = threading.Timer(PATIENCE, lambda: os.close(os.open(path, os.O_RDWR)))
    if fault == "pipe":
        rescue.start()
    try:
        run(main())
    finally:
        rescue.cancel()


@pytest.mark.parametrize("how", ["leaves", "closes", "stalls"])
def test_a_client_that_does_not_take_its_file_costs_nothing(
    run: Any, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 30_000_000)

    async def main() -> None:
        settings = replace(HttpConfig(), body_timeout=0.3)
        async with serving(Routes()) as running:  # what a loop opens once is open after that
            await (await running.connect()).get()
        before = len(os.listdir("/proc/self/fd"))
        async with serving(sends(path), settings) as running:
            client = await running.connect(limit=1000, receive_buffer=4096)
            client.send(GET)
            await client.read_head()
            if how == "leaves":
                client.reset()
            elif how == "closes":
                client.half_close()
            await running.until(lambda: running.server.statistics().connections == 0)
            await running.until_applications_end()
        await running.until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(main())


def test_a_slow_reader_gets_its_whole_file(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(6_000_000))

    async def main() -> None:
        async with serving(sends(path)) as running:
            client = await running.connect(limit=1000, receive_buffer=8192)
            client.send(GET)
            await client.read_head()
            body = b""
            while len(body) < 6_000_000:
                body += await within(client.reader.read(100_000))
            assert body == path.read_bytes()

    run(main())
