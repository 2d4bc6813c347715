"""Real clients, and the other ways in: TLS, Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from hybrid.config import HttpConfig, LogConfig
from hybrid.errors import ConfigError
from hybrid.http.server import HttpServer
from hybrid.http.tls import server_context
from tests.http.conftest import HELLO, Client, Routes, echo, judge, serving, within
from tests.programs import need


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", str(key), "-out", str(path), "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


def test_httpx_keeps_its_connection_and_streams_both_ways(run: Any) -> None:
    async def main() -> None:
        async with serving(Routes(echo=echo)) as running:
            async with httpx.AsyncClient(base_url=running.url, timeout=10) as client:
                for _ in range(5):
                    assert (await client.get("/hello")).text == "hello"

                async def pieces() -> Any:
                    for n in range(100):
                        yield b"%d," % n

                answer = await client.post("/echo", content=pieces())
                assert answer.text == "".join(f"{n}," for n in range(100))
            assert running.server.statistics().accepted == 1

    run(main())


def test_aiohttp_posts_json_and_talks_websocket(run: Any) -> None:
    async def talk(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"].upper()})
        await send({"type": "websocket.close"})

    async def main() -> None:
        async with (
            serving(Routes(echo=echo, talk=talk)) as running,
            aiohttp.ClientSession() as session,
        ):
            url = f"{running.url}/echo"
            async with session.post(url, json={"a": [1, 2]}, expect100=True) as answer:
                assert json.loads(await answer.read()) == {"a": [1, 2]}
            async with session.ws_connect(f"{running.url}/talk") as ws:
                await ws.send_str("word")
                assert (await ws.receive()).data == "WORD"
                assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE

    run(main())


def test_curl_asks_for_everything(run: Any, tmp_path: Path) -> None:
    uploaded = tmp_path / "file"
    uploaded.write_text("uploaded")

    async def curl(*args: str) -> str:
        process = await asyncio.create_subprocess_exec(
            need("curl"), "-s", "-S", "-m", "20", *args, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await within(process.communicate(), 30)
        assert process.returncode == 0
        return str(out.decode())

    async def main() -> None:
        async with serving(Routes(echo=echo)) as running:
            url = running.url
            assert await curl(f"{url}/hello", f"{url}/hello") == "hellohello"
            assert "content-length: 5" in await curl("-I", f"{url}/hello")
            head = await curl("-H", "Expect: 100-continue", "-d", "abc", f"{url}/echo")
            assert head == "abc"
            assert await curl("-0", "-d", "abc", f"{url}/echo") == "abc"
            assert await curl("-T", str(uploaded), f"{url}/echo") == "uploaded"

    run(main())


def test_tls_serves_the_same_protocol(run: Any, certificate: Path) -> None:
    async def main() -> None:
        routes = Routes(echo=echo)
        async with serving(routes, ssl=server_context(certificate)) as running:
            trust = ssl.create_default_context(cafile=certificate)
            async with httpx.AsyncClient(verify=trust, timeout=10) as client:
                url = f"https://localhost:{running.port}"
                assert (await client.get(f"{url}/hello")).text == "hello"
                body = b"y" * 3_000_000
                assert (await client.post(f"{url}/echo", content=body)).content == body
            assert [s["scheme"] for s in routes.scopes] == ["https", "https"]
            plain = await running.connect()
            plain.send(HELLO)
            assert await plain.is_closed()
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


@pytest.mark.parametrize("half_close", [False, True])
def test_a_tls_client_that_leaves_is_noticed(run: Any, certificate: Path, half_close: bool) -> None:
    """TLS has no half-closed state: its end is departure in any case."""
    heard: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])

    async def main() -> None:
        settings = HttpConfig(half_close=half_close)
        async with serving(Routes(slow=slow), settings, ssl=server_context(certificate)) as running:
            trust = ssl.create_default_context(cafile=certificate)
            client = Client(*await asyncio.open_connection("localhost", running.port, ssl=trust))
            client.send(HELLO.replace(b"/hello", b"/slow"))
            await running.until(lambda: heard)
            client.close()  # with close_notify
            await running.until(lambda: heard == ["http.request", "http.disconnect"])
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


def test_a_failed_handshake_gives_its_place_to_the_next_client(run: Any, certificate: Path) -> None:
    settings = HttpConfig(limit_connections=1)

    async def main() -> None:
        async with serving(Routes(), settings, ssl=server_context(certificate)) as running:
            plain = await running.connect()
            plain.send(HELLO)  # no TLS record begins like this
            with contextlib.suppress(ConnectionError):
                await plain.read_all()  # an alert, or nothing
            trust = ssl.create_default_context(cafile=certificate)
            client = Client(
                *await within(asyncio.open_connection("localhost", running.port, ssl=trust))
            )
            assert (await client.get()).status == 200
            client.close()
            await running.until(lambda: running.server.statistics().connections == 0)

    run(main())


def test_tls_refuses_the_old_versions_and_a_foreign_key(certificate: Path, tmp_path: Path) -> None:
    context = server_context(certificate)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    with pytest.raises(ConfigError, match="--certfile"):
        server_context(tmp_path / "missing.pem")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError, match="--certfile"):
        server_context(certificate, tmp_path / "empty.pem")


def test_a_unix_socket_stays_plain_beside_tls(run: Any, certificate: Path, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        routes = Routes()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        server = HttpServer(
            routes,
            HttpConfig(),
            state={"shared": 1},
            ssl=server_context(certificate),
            log=LogConfig(access=False),
        )
        server.start_accepting([listener])
        client = Client(*await asyncio.open_unix_connection(path))
        client.send(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert judge(await client.read_all(), "GET")[0].body == b"hello"
        assert routes.scopes[0]["client"] is None
        assert routes.scopes[0]["server"] == (path, None)
        assert routes.scopes[0]["state"]["shared"] == 1
        client.close()
        await server.drain(2)
        listener.close()

    run(main())
