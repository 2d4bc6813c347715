"""Malformed requests on a real socket: 400, close, and nothing behind them is ever answered."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.config import HttpConfig
from hybrid.errors import ConfigError
from hybrid.http.answer.answer import Answer
from hybrid.http.answer.heads import BadAnswer, Heads, status_line
from hybrid.http.loops import new_event_loop
from hybrid.http.request.forwarded import TrustedPeers, scheme_of
from tests.http.conftest import HELLO, Routes, echo, judge, serving
from tests.http.request.test_reader import MALFORMED, streams

SETTINGS = HttpConfig()
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("cut", ["whole", "by byte", "behind a good one"])
def test_nothing_behind_a_malformed_request_is_answered(run: Any, cut: str) -> None:
    async def main() -> None:
        routes = Routes()
        routes.routes["/"] = echo
        async with serving(routes) as running:
            for case, stream in MALFORMED.items():
                client = await running.connect()
                if cut == "by byte":
                    for n in range(len(stream)):
                        client.send(stream[n : n + 1])
                        await asyncio.sleep(0)
                    client.send(SMUGGLED)
                else:
                    client.send((HELLO if cut != "whole" else b"") + stream + SMUGGLED)
                methods = ["GET", "GET"] if cut == "behind a good one" else ["GET"]
                answers = judge(await client.read_all(), *methods)
                assert answers[-1].status == 400, case
                assert answers[-1].headers["connection"] == "close", case
            assert not [s for s in routes.scopes if s["path"] == "/smuggled"]

    run(main())


async def _survives(data: bytes) -> None:
    """Send `data`; whatever comes back is answers, nothing hangs, nothing is left."""
    routes = Routes(echo=echo)
    limits = replace(SETTINGS, header_timeout=0.05, body_timeout=0.05, keep_alive=0.05)
    async with serving(routes, limits) as running:
        client = await running.connect()
        client.send(data)
        got = await client.read_all()
        client.close()
        assert got == b"" or got.startswith(b"HTTP/1.1 ")
        await running.until(lambda: running.server.statistics().connections == 0)


@given(streams, st.data())
@settings(max_examples=60, deadline=None)
def test_a_mutated_stream_never_hangs_nor_leaks_a_connection(stream: bytes, data: Any) -> None:
    at = data.draw(st.integers(0, len(stream) - 1))
    length = data.draw(st.integers(0, 4))
    mutated = stream[:at] + data.draw(st.binary(max_size=4)) + stream[at + length :]
    loop = new_event_loop("auto")
    try:
        loop.run_until_complete(asyncio.wait_for(_survives(mutated), 30))
    finally:
        loop.close()


@given(streams, st.sampled_from(sorted(MALFORMED)), streams)
@settings(max_examples=60, deadline=None)
def test_no_2xx_for_bytes_behind_a_malformed_request(
    before: bytes, case: str, after: bytes
) -> None:
    async def main() -> None:
        routes = Routes()
        async with serving(routes) as running:
            client = await running.connect()
            client.send(before)
            asked = before.count(b"HTTP/1.1\r\n")
            client.send(MALFORMED[case] + after.replace(b" /", b" /behind/"))
            got = await client.read_all()
            assert got.count(b"HTTP/1.1 200") <= asked
            assert b"HTTP/1.1 400" in got
            assert not [s for s in routes.scopes if s["path"].startswith("/behind")]

    loop = new_event_loop("auto")
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 30))
    finally:
        loop.close()


# -- what the application may say ----------------------------------------------------


def rendered(*headers: tuple[Any, Any], status: int = 200) -> bytes:
    heads = Heads([(b"x-worker", b"1")], server_header=True)
    answer = Answer(status, headers, "id-1", to="GET")
    return answer.first(heads, b"", False)[0]


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nb: c"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x", b"\r\n\r\nHTTP/1.1 200 OK"),
        (b"x", b"\x1b[31m"),
        (b"x", b"a\x01"),
        (b"x", b"\x0b"),
        (b"x", b"\x7f"),
        (b"a b", b"c"),
        (b"a:", b"c"),
        (b"", b"c"),
        (b"a\r\nb", b"c"),
        ("text", b"c"),
        (b"content-length", b"-1"),
        (b"content-length", b"1, 1"),
        (b"content-length", b""),
    ],
)
def test_an_answer_cannot_be_split(header: tuple[Any, Any]) -> None:
    with pytest.raises(BadAnswer):
        rendered((b"a", b"b"), header)
    heads = Heads([(b"x-worker", b"1")], server_header=True)
    heads.lines(status_line(200), [(b"x", b"known")], "id")
    assert heads.whole(200, [header], "id", b"") is None  # the other way for usual answers


def test_a_value_may_have_tabs_and_any_byte_above_ascii() -> None:
    header = (b"x", bytes((9, *range(32, 127), *range(128, 256))))
    heads = Heads([], server_header=False)
    assert b"\r\nx: %b\r\n" % header[1] in rendered(header)
    heads.lines(status_line(200), [header], "id")
    assert heads.whole(200, [header], "id", b"") is not None


def test_only_the_word_close_in_connection_closes() -> None:
    for value in (b"close", b"Close", b"x, close\t", b"x,close"):
        assert rendered((b"Connection", value)).count(b"connection: close\r\n") == 1
    for value in (b"closed-not", b"disclose", b"keep-alive", b""):
        assert b"onnection" not in rendered((b"Connection", value))


def test_framing_is_the_server_s_business_and_doubles_are_dropped() -> None:
    head = rendered(
        (b"Transfer-Encoding", b"chunked"),
        (b"Keep-Alive", b"x"),
        (b"Date", b"mine"),
        (b"server", b"mine"),
        (b"X-Request-ID", b"mine"),
    )

    assert b"chunked" not in head
    assert b"eep-" not in head
    assert head.lower().count(b"date: ") == 1
    assert head.lower().count(b"server: ") == 1
    assert head.lower().count(b"x-request-id: ") == 1
    assert b"x-worker: 1\r\n" in head


def test_two_content_lengths_of_the_application_must_agree() -> None:
    with pytest.raises(BadAnswer):
        rendered((b"content-length", b"0"), (b"content-length", b"1"))
    head = rendered((b"content-length", b"0"), (b"content-length", b"0"))
    assert head.count(b"content-length") == 1


# -- who may speak for others ---------------------------------------------------------


def forwarded(peers: str, header: bytes, proto: bytes = b"https") -> tuple[Any, str]:
    """The client and scheme that the application sees for a request from 127.0.0.1."""
    routes = Routes()

    async def main() -> None:
        trusted = tuple(p for p in peers.split(",") if p)
        async with serving(routes, replace(SETTINGS, forwarded_allow_ips=trusted)) as running:
            await running.talk(
                b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %b\r\n"
                b"X-Forwarded-Proto: %b\r\n\r\n" % (header, proto)
            )

    loop = new_event_loop("auto")
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 30))
    finally:
        loop.close()
    client, scheme = routes.scopes[0]["client"], routes.scopes[0]["scheme"]
    return (client[0] if client[1] == 0 else "the peer"), scheme


@pytest.mark.parametrize(
    ("peers", "header", "expected"),
    [
        ("127.0.0.1", b"9.9.9.9", ("9.9.9.9", "https")),
        ("127.0.0.0/8", b"9.9.9.9", ("9.9.9.9", "https")),
        ("10.0.0.1", b"9.9.9.9", ("the peer", "http")),
        ("", b"9.9.9.9", ("the peer", "http")),
        ("127.0.0.1,10.0.0.0/8", b"6.6.6.6, 9.9.9.9, 10.1.2.3", ("9.9.9.9", "https")),
        ("127.0.0.1", b"6.6.6.6, 9.9.9.9", ("9.9.9.9", "https")),
        ("127.0.0.1", b"6.6.6.6, nonsense", ("the peer", "https")),
        ("*", b"6.6.6.6, 9.9.9.9", ("6.6.6.6", "https")),
        ("127.0.0.1", b"[2001:db8::1]:443", ("2001:db8::1", "https")),
        ("127.0.0.1", b"9.9.9.9:1234", ("9.9.9.9", "https")),
        ("127.0.0.1", b'fe80::1%a" 200 5 "x y', ("fe80::1", "https")),
        ("127.0.0.1", b"fe80::1%\x85forged", ("fe80::1", "https")),
        ("127.0.0.1", b"[fe80::1%eth0]:80", ("fe80::1", "https")),
        ("127.0.0.1,fe80::1", b"9.9.9.9, fe80::1%eth0", ("9.9.9.9", "https")),
        ("127.0.0.1", b"9.9.9.9%eth0", ("the peer", "https")),
    ],
)
def test_forwarded_headers_are_believed_of_named_peers_only(
    peers: str, header: bytes, expected: tuple[str, str]
) -> None:
    assert forwarded(peers, header) == expected


def test_trusted_peers_are_addresses_or_networks() -> None:
    with pytest.raises(ConfigError):
        TrustedPeers(["proxy.example"])
    peers = TrustedPeers(["10.0.0.0/8", "2001:db8::/32"])
    assert peers.trusts("10.1.2.3")
    assert peers.trusts(str(ipaddress.ip_address("2001:db8::5")))
    assert peers.trusts("::ffff:10.1.2.3")
    assert not peers.trusts("11.1.2.3")
    assert not peers.trusts("no address")
    assert peers.trusts(None)  # a Unix socket
    assert scheme_of(b"javascript", "http") == "http"
