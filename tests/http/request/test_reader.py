"""Bytes to requests, without a socket: any cut of a stream gives the same requests."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.config import HttpConfig
from hybrid.http.request.message import Request, names_a_host
from hybrid.http.request.reader import RequestReader
from hybrid.http.request.refusal import Refused

LIMITS = HttpConfig()
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


def read(*pieces: bytes, limits: HttpConfig = LIMITS) -> tuple[list[Any], Refused | None]:
    """Feed the pieces; return the complete requests and the refusal, if any."""
    reader = RequestReader(limits)
    seen: list[Request] = []
    refusal = None
    try:
        for piece in pieces:
            reader.parse(piece)
            while reader.ready:
                seen.append(reader.ready.pop(0))
                reader.parse(b"")
    except Refused as ex:
        refusal = ex
        seen += reader.ready
    facts = [
        (r.method, r.target, r.http_version, r.keep_alive, tuple(r.headers), r.take_body())
        for r in seen
        if r.ended
    ]
    return facts, refusal


names = st.sampled_from([b"X-A", b"Accept", b"Cookie", b"x-request-id", b"User-Agent"])
values = st.text("abc /;=,\t", max_size=20).map(lambda text: text.strip().encode())
targets = st.sampled_from([b"/", b"/a/b?c=d", b"/%41%20", b"http://h:1/x", b"/" + b"y" * 300])
bodies = st.binary(max_size=200)


@st.composite
def requests(draw: Any) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"]))
    lines = [b"%b %b HTTP/1.1" % (method, draw(targets)), b"Host: a"]
    pairs = draw(st.lists(st.tuples(names, values), max_size=4))
    lines += [b"%b: %b" % pair for pair in pairs]
    body = draw(bodies)
    if draw(st.booleans()):
        chunks = [body[i : i + 7] for i in range(0, len(body), 7)]
        coded = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(c), c) for c in chunks)
        trailer = draw(st.sampled_from([b"", b"X-Trailer: t\r\n"]))
        lines.append(b"Transfer-Encoding: chunked")
        return b"\r\n".join(lines) + b"\r\n\r\n" + coded + b"0\r\n" + trailer + b"\r\n"
    if body or draw(st.booleans()):
        lines.append(b"Content-Length: %d" % len(body))
    else:
        body = b""
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


streams = st.lists(requests(), min_size=1, max_size=4).map(b"".join)


@given(streams, st.lists(st.integers(0, 3000), max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_cut_of_a_valid_stream_gives_the_same_requests(stream: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]

    whole, refusal = read(stream)

    assert refusal is None
    assert read(*pieces) == (whole, None)
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == (whole, None)


@given(streams, st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_stream_is_read_or_refused_and_nothing_else(stream: bytes, data: Any) -> None:
    at = data.draw(st.integers(0, len(stream) - 1))
    length = data.draw(st.integers(0, 4))
    mutated = stream[:at] + data.draw(st.binary(max_size=4)) + stream[at + length :]

    _, refusal = read(mutated)

    assert refusal is None or 400 <= refusal.status < 600


def head(*lines: bytes, start: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: a", *lines)) + b"\r\n\r\n"


CHUNKED = head(b"Transfer-Encoding: chunked")
MALFORMED = {
    "bare LF in the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF behind a header": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "bare LF first": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare CR first": b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
    "NUL in a value": head(b"X: a\0b"),
    "control character in a value": head(b"X: a\x01b"),
    "obs-fold": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "space before the first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "invalid header name": head(b"X(y): z"),
    "empty header name": head(b": z"),
    "header without colon": head(b"X"),
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": head(b"Host: b"),
    "no host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "user in the Host": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "path in the Host of 1.0": b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n",
    "two hosts in the authority": b"GET http://a,b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "port of the authority too high": b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment in the authority": b"GET http://a#b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute-form with a bad Host": b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n",
    "two Content-Types": head(b"Content-Type: a/b", b"content-type: c/d"),
    "equal Content-Types": head(b"Content-Type: a/b", b"X: y", b"Content-Type: a/b"),
    "two Authorizations": head(b"Authorization: Basic a", b"Authorization: Basic b"),
    "two Origins": head(b"Origin: http://a", b"Origin: http://b"),
    "two Content-Ranges": head(b"Content-Range: bytes 0-0/1", b"Content-Range: bytes 0-1/2"),
    "two preconditions": head(b"If-Unmodified-Since: a", b"If-Unmodified-Since: b"),
    "equal Content-Lengths": head(b"Content-Length: 3", b"Content-Length: 3") + b"abc",
    "conflicting Content-Lengths": head(b"Content-Length: 3", b"Content-Length: 4") + b"abc",
    "Content-Length list": head(b"Content-Length: 3, 3") + b"abc",
    "Content-Length with sign": head(b"Content-Length: +3") + b"abc",
    "negative Content-Length": head(b"Content-Length: -3") + b"abc",
    "empty Content-Length": head(b"Content-Length:") + b"abc",
    "Content-Length overflow": head(b"Content-Length: 99999999999999999999") + b"abc",
    "Content-Length of too many digits": head(b"Content-Length: %b3" % (b"0" * 5000)) + b"abc",
    "Content-Length and chunked": head(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    "chunked and Content-Length": head(b"Transfer-Encoding: chunked", b"Content-Length: 3"),
    "unknown transfer coding": head(b"Transfer-Encoding: gzip"),
    "coding before chunked": head(b"Transfer-Encoding: gzip, chunked"),
    "chunked not last": head(b"Transfer-Encoding: chunked, gzip"),
    "chunked twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "identity": head(b"Transfer-Encoding: identity"),
    "xchunked": head(b"Transfer-Encoding: xchunked"),
    "empty transfer coding": head(b"Transfer-Encoding:"),
    "transfer coding in 1.0": head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"),
    "chunk size no number": CHUNKED + b"zz\r\nabc\r\n",
    "chunk size 0x": CHUNKED + b"0x3\r\nabc\r\n",
    "chunk size negative": CHUNKED + b"-3\r\nabc\r\n",
    "chunk size with space": CHUNKED + b" 3\r\nabc\r\n",
    "chunk size overflow": CHUNKED + b"fffffffffffffffff\r\nabc\r\n",
    "chunk size empty": CHUNKED + b"\r\nabc\r\n",
    "chunk size ends with LF": CHUNKED + b"3\nabc\r\n",
    "chunk longer than its size": CHUNKED + b"3\r\nabcd\r\n",
    "chunk data ends with LF": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "LF in a chunk extension": CHUNKED + b"3;a\nb\r\nabc\r\n",
    "fold in a trailer": CHUNKED + b"0\r\nT: x\r\n y\r\n\r\n",
    "fragment in the target": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "high byte in the target": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "target that is no path": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "target * of a GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no authority": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    "user in the authority": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "RTSP": b"DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n",
    "RTSP with a method of HTTP": b"GET / RTSP/1.1\r\nHost: a\r\n\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces behind the target": b"GET /  HTTP/1.0\r\nHost: a\r\n\r\n",
    "unknown method": b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case method": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "version 1.10": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_streams_are_refused_with_400_whole_or_byte_by_byte(case: str) -> None:
    stream = MALFORMED[case] + NEXT

    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        seen, refusal = read(*pieces)
        assert refusal is not None
        assert refusal.status == 400
        assert b"/next" not in [target for _, target, *_ in seen]


HOSTS = b"a  a:  a:80  a:65535  a_b.c  xn--a  127.0.0.1:8000  [::1]  [::1]:80  [::ffff:1.2.3.4]"
HOSTS += b"  a%41  a-b.example.  !$&'()*+;=~  " + b"x" * 255
NO_HOSTS = b"|a b|u@a|u:p@a|a/b|a,b|a?b|a#b|a\\b|http://a|\xff|a\xc3\xa9|a'\"b|<a>|a;\tb|:80|a:b"
NO_HOSTS += (
    b"|a:99999|a:65536|a:-1|a:+1|a:1:2|::1|[::1|[]|[1.2]|[v1.a]|[::1%25e]|[::1]80|%|a%4|a%zz"
)
NO_HOSTS += b"|" + b"x" * 256


def test_headers_that_are_lists_or_only_inform_may_come_twice() -> None:
    names = (b"Accept", b"Cookie", b"If-Match", b"If-None-Match", b"User-Agent", b"Referer")
    twice = [b"%b: a" % name for name in names] * 2
    once = [b"Content-Type: a/b", b"Authorization: a", b"Origin: null", b"Range: bytes=0-"]

    seen, refusal = read(head(*once, *twice) + head(*once, *twice))

    assert refusal is None
    assert [len(headers) for *_, headers, _ in seen] == [17, 17]


@pytest.mark.parametrize("host", HOSTS.split(b"  "))
def test_these_are_hosts(host: bytes) -> None:
    assert names_a_host(host)
    seen, refusal = read(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert refusal is None
    assert len(seen) == 1


@pytest.mark.parametrize("host", NO_HOSTS.split(b"|"))
def test_these_are_no_hosts(host: bytes) -> None:
    assert not names_a_host(host)
    seen, refusal = read(NEXT + b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert len(seen) == 1
    assert refusal is not None
    assert refusal.status == 400


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"X: a ", b"a"),
        (b"X:a\t", b"a"),
        (b"X: \t a \t b \t ", b"a \t b"),
        (b"X:  ", b""),
        (b"X:\t", b""),
        (b"X: \xa0", b"\xa0"),  # no blank of HTTP's
        (b"Expect: 100-continue\t ", b"100-continue"),
        (b"Content-Length: 0 \t", b"0"),
        (b"Transfer-Encoding: chunked  ", b"chunked"),
    ],
)
def test_blanks_around_a_value_are_not_part_of_it(line: bytes, expected: bytes) -> None:
    body = b"0\r\n\r\n" if b"chunked" in line else b""
    stream = head(line) + body + NEXT

    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        seen, refusal = read(*pieces)
        assert refusal is None
        assert [headers[-1][1] for *_, headers, _ in seen] == [expected, b"a"]


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (head(b"Expect: magic"), 417),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (head(b"X: " + b"x" * 70_000), 431),
        (head(*(b"X: y" for _ in range(101))), 431),
        (head(b"Content-Length: 67108865"), 413),
    ],
)
def test_limits_and_unsupported_features_have_a_status_of_their_own(
    stream: bytes, status: int
) -> None:
    seen, refusal = read(stream, NEXT)

    assert refusal is not None
    assert refusal.status == status
    assert not seen


def test_limits_are_exact() -> None:
    limits = replace(LIMITS, max_headers=3, max_body=10, max_header_bytes=60)

    assert read(head(b"A: b", b"Content-Length: 10") + b"x" * 10, limits=limits)[1] is None
    for status, stream in (
        (431, head(b"A: b", b"C: d", b"E: f")),
        (413, head(b"Content-Length: 11") + b"x" * 11),
        (413, CHUNKED + b"6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n"),
        (431, head(b"A: " + b"b" * 50)),
    ):
        refusal = read(stream, limits=limits)[1]
        assert refusal is not None
        assert refusal.status == status


@pytest.mark.parametrize("cut", [4000, 8200, 9000])
def test_a_long_first_header_in_pieces_is_no_long_request_line(cut: int) -> None:
    stream = b"GET / HTTP/1.1\r\nAuthorization: " + b"x" * 9000 + b"\r\nHost: a\r\n\r\n"

    seen, refusal = read(stream[:cut], stream[cut:])

    assert refusal is None
    assert len(seen) == 1


def test_nothing_behind_connection_close_is_a_request() -> None:
    seen, refusal = read(head(b"Connection: close", b"Content-Length: 1") + b"x" + NEXT)

    assert refusal is None
    assert [target for _, target, *_ in seen] == [b"/"]


@pytest.mark.parametrize(
    "body", [(b"", b""), (b"Content-Length: 3", b"abc"), (b"Transfer-Encoding: chunked", b"")]
)
def test_an_upgrade_nobody_speaks_is_ignored_and_the_body_is_read(
    body: tuple[bytes, bytes],
) -> None:
    framing, data = body
    coded = b"3\r\nabc\r\n0\r\n\r\n" if b"chunked" in framing else data
    lines = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAA"]
    stream = head(*lines, *([framing] if framing else [])) + coded + NEXT

    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        seen, refusal = read(*pieces)
        assert refusal is None
        assert [(t, b) for _, t, _, _, _, b in seen] == [
            (b"/", b"abc" if framing else b""),
            (b"/next", b""),
        ]


def test_a_slice_full_of_upgrades_is_read_without_recursion() -> None:
    one = b"GET / HTTP/1.1\r\nHost:a\r\nUpgrade:a\r\nConnection:upgrade\r\n\r\n"

    seen, refusal = read(one * (16_000 // len(one)))

    assert refusal is None
    assert len(seen) == 16_000 // len(one)


def test_empty_lines_before_a_request_are_skipped() -> None:
    seen, refusal = read(b"\r\n\r", b"\n", b"\r", b"\n" + NEXT + b"\r\n" + NEXT)

    assert refusal is None
    assert len(seen) == 2


def test_a_flood_of_pipelined_requests_costs_bytes_not_objects() -> None:
    reader = RequestReader(LIMITS)

    reader.parse(NEXT * 10_000)

    assert len(reader.ready) < 1000
    assert len(reader.rest) > 200_000


@pytest.mark.parametrize(
    "body",
    [
        b"1;" + b"x" * 65_536 + b"\r\na\r\n0\r\n\r\n",
        b"1\r\na\r\n0;" + b"x" * 65_536 + b"\r\n\r\n",
        b"".join(b"1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n" for _ in range(2000))
        + b"0\r\n\r\n",
        b"1\r\na\r\n0\r\n" + b"T: x\r\n" * 5000 + b"\r\n",
    ],
)
def test_chunk_framing_is_bounded_whether_or_not_the_body_comes_at_once(body: bytes) -> None:
    stream = CHUNKED + body + NEXT

    for size in (len(stream), 30_000, 1000):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        seen, refusal = read(*pieces)
        assert refusal is not None
        assert refusal.status in (400, 431)
        assert not seen


@pytest.mark.parametrize("upgrade", [(), (b"Upgrade: h2c", b"Connection: Upgrade")])
def test_a_large_head_is_no_chunk_framing(upgrade: tuple[bytes, ...]) -> None:
    large = b"Cookie: " + b"x" * 20_000
    stream = head(large, b"Transfer-Encoding: chunked", *upgrade) + b"3\r\nabc\r\n0\r\n\r\n" + NEXT

    for size in (len(stream), 5000):
        seen, refusal = read(*(stream[at : at + size] for at in range(0, len(stream), size)))
        assert refusal is None
        assert [body for *_, body in seen] == [b"abc", b""]


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"x" * 100,
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
        b"GET / HTTP/1.1\r\nHost: a\r\nX",
        CHUNKED + b"1;",
        CHUNKED + b"0\r\nT: ",
        CHUNKED + b"1\r\na\r\n" + b"1;" + b"y" * 1000,
    ],
)
def test_an_endless_head_extension_or_trailer_is_cut_off(endless: bytes) -> None:
    reader = RequestReader(LIMITS)
    reader.parse(endless)

    def feed() -> None:
        for _ in range(1000):
            reader.parse(b"x" * 1000)

    with pytest.raises(Refused):
        feed()
