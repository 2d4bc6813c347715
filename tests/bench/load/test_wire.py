from __future__ import annotations

import pytest

from hybrid.bench.load.plan import Stream
from hybrid.bench.load.wire import MalformedAnswer, Partial, ReceivedAnswer, encode, parse

WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Worker: 3\r\n"
    b"Server-Timing: queue;dur=1.5, run;dur=20.25\r\n\r\nhello"
)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def test_an_answer_gives_status_worker_and_job_times() -> None:
    found = parse(WHOLE)

    assert found == ReceivedAnswer(200, len(WHOLE), worker=3, queue=1.5, run=20.25)


@pytest.mark.parametrize("whole", [WHOLE, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE])
def test_an_answer_in_any_pieces_is_partial_until_its_last_byte(whole: bytes) -> None:
    for cut in range(1, len(whole)):
        assert isinstance(parse(whole[:cut]), Partial), cut

    found = parse(whole)
    assert isinstance(found, ReceivedAnswer)
    assert found.size == len(whole)


def test_a_body_without_length_ends_with_the_connection() -> None:
    data = b"HTTP/1.0 200 OK\r\n\r\nwhatever"

    assert isinstance(parse(data), Partial)
    found = parse(data, eof=True)
    assert isinstance(found, ReceivedAnswer)
    assert found.closing


def test_connection_close_is_noticed() -> None:
    found = parse(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    assert isinstance(found, ReceivedAnswer)
    assert found.closing


def test_something_else_is_refused() -> None:
    with pytest.raises(MalformedAnswer):
        parse(b"SSH-2.0-x\r\n")


def test_a_request_is_encoded_once_with_its_length() -> None:
    found = encode(Stream("a", "/x", method="POST", headers=(("Accept", "*/*"),)), "h", 80)

    assert found == b"POST /x HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n"


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert b"\r\nHost: [::1]:80\r\n" in encode(Stream("a", "/x"), "::1", 80)
