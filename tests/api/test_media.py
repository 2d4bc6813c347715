"""Bodies that are not what they say: told so, never believed, never unpickled."""

from __future__ import annotations

import asyncio
import io
import pickle
import struct
import tracemalloc

import falcon
import falcon.asgi
import falcon.testing
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import hybrid
from hybrid.api.media import JsonHandler
from hybrid.api.npy import array_from_bytes, array_from_stream, array_to_bytes, npy_body


def npy(header, data=b"", version=(1, 0)):
    text = header.encode() if isinstance(header, str) else header
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + data


def header(shape, descr="'<f8'", fortran=False):
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}\n"


def saved(array, **how):
    buffer = io.BytesIO()
    np.save(buffer, array, **how)
    return buffer.getvalue()


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


GOOD = saved(np.arange(12.0).reshape(3, 4))
BAD = {
    "empty": b"",
    "not npy": b"hello world, this is text",
    "only magic": b"\x93NUMPY",
    "truncated header": GOOD[:40],
    "truncated data": GOOD[:-1],
    "trailing rubbish": GOOD + b"x",
    "version 9": npy(header((1,)), bytes(8), version=(9, 0)),
    "10^12 elements": npy(header((10**12,))),
    "10^30 elements": npy(header((10**15, 10**15))),
    "zero times huge": npy(header((0, 10**30))),
    "a lone surrogate for a shape": npy(header("'\\ud800'")),
    "a lone surrogate for a dtype": npy(header((1,), "'\\ud800'"), bytes(8)),
    "hexadecimal shape": npy(header(f"(0x{'f' * 9000},)")),
    "hexadecimal dtype": npy(header((1,), f"0x{'f' * 9000}"), bytes(8)),
    "negative": npy(header((-1, -8)), bytes(64)),
    "bool for a size": npy(header("(True, 3)"), bytes(24)),
    "not a tuple": npy(header("[3]"), bytes(24)),
    "many axes": npy(header((1,) * 100), bytes(8)),
    "object": saved(np.array([Trap()], dtype=object), allow_pickle=True),
    "structured": saved(np.zeros(3, dtype=[("a", "f8"), ("b", "i4")])),
    "nested structured": npy(header((1,), "[('a', [('b', 'O')])]"), bytes(8)),
    "sub-array dtype": npy(header((1,), "('<f8', (3,))"), bytes(24)),
    "text": saved(np.array(["a"])),
    "void": saved(np.zeros(2, dtype="V8")),
    "datetime": saved(np.zeros(2, dtype="M8[s]")),
    "zero-size dtype": npy(header((10**12,), "'<U0'")),
    "unknown dtype": npy(header((1,), "'<q77'"), bytes(8)),
    "dtype bomb": npy(header((1,), "'" + "f8," * 2000 + "'"), bytes(8)),
    "no dict": npy("[1, 2, 3]\n"),
    "deep": npy("(" * 5000 + ")" * 5000),
    "long header": npy(" " * 60_000),
    "header of 4 GiB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "code": npy("__import__('os').system('true')\n"),
    "a bare pickle": pickle.dumps(Trap()),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
@pytest.mark.filterwarnings("ignore")  # the parser warns of odd headers; it must not matter
def test_a_hostile_array_is_refused_without_believing_it(body):
    tracemalloc.start()
    try:
        with pytest.raises(falcon.HTTPError) as caught:
            array_from_bytes(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.status_code == 422
    assert orjson.dumps(caught.value.description)
    assert peak < 4_000_000
    assert not Trap.sprung


def test_an_array_is_a_read_only_view_onto_the_body():
    array = array_from_bytes(GOOD)
    assert array.tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert not array.flags.writeable
    assert not array.flags.owndata


@settings(max_examples=60, deadline=None)
@given(
    npst.arrays(
        npst.integer_dtypes() | npst.floating_dtypes() | npst.complex_number_dtypes(),
        npst.array_shapes(min_dims=0, max_dims=4, max_side=5),
    ),
    st.booleans(),
)
def test_what_is_written_is_read_again(array, fortran):
    array = np.asfortranarray(array) if fortran else array
    back = array_from_bytes(array_to_bytes(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=12))
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_refused_or_read_never_a_crash(at, damage):
    body = GOOD[:at] + damage + GOOD[at + len(damage) :]
    try:
        array = array_from_bytes(body)
    except falcon.HTTPUnprocessableEntity:
        return
    assert array.nbytes <= len(body)


def streamed(body, cut, length="right"):
    """Read `body` as it would arrive, `cut` bytes at a time."""

    async def stream():
        for at in range(0, len(body), cut):
            yield body[at : at + cut]

    length = len(body) if length == "right" else length
    return asyncio.run(array_from_stream(stream(), length))


LARGE = np.random.default_rng(4).normal(size=(130, 100))


@pytest.mark.parametrize("cut", [1, 7, 127, 128, 129, 65_536, 10**6])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("length", ["right", None])
def test_a_body_may_arrive_in_any_pieces(cut, order, length):
    array = streamed(saved(np.asarray(LARGE, order=order)), cut, length)
    np.testing.assert_array_equal(array, LARGE)
    assert not array.flags.writeable
    assert array.flags.f_contiguous == (order == "F")


@pytest.mark.parametrize("cut", [1, 50, 10**6])
@pytest.mark.parametrize("missing", [1, 60_000, 104_128 - 20])
def test_a_body_that_ends_early_is_refused(cut, missing):
    body = saved(LARGE)
    with pytest.raises(falcon.HTTPUnprocessableEntity):
        streamed(body[: len(body) - missing], cut, length=len(body))


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_hostile_array_is_refused_while_it_arrives(body):
    body = body + bytes(70_000)
    tracemalloc.start()
    with pytest.raises(falcon.HTTPUnprocessableEntity):
        streamed(body, 1000)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert not Trap.sprung


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(
        npst.integer_dtypes() | npst.floating_dtypes() | npst.complex_number_dtypes(),
        st.sampled_from([(300, 310), (93_000,), (1, 93_000), (2, 3, 15_500)]),
    ),
    st.sampled_from(["C", "F", "strided"]),
)
def test_a_large_answer_is_written_from_where_it_lies(array, order):
    if order == "strided":
        array = np.repeat(array, 2, axis=0)[::2]
    else:
        array = np.asarray(array, order=order)

    body = npy_body(array)

    pieces = list(body.pieces())
    written = b"".join(bytes(piece) for piece in pieces)
    # Of a view that can be written the server makes a copy.
    assert {memoryview(piece).readonly for piece in pieces} == {True}
    assert written == saved(array) or order == "strided"
    assert len(written) == body.size
    np.testing.assert_array_equal(array_from_bytes(written), array)
    if order != "strided":
        assert np.shares_memory(np.frombuffer(body.raw, np.uint8), array)


@pytest.mark.parametrize(
    "array", [np.zeros(10), np.zeros(9000, dtype=[("a", "f8")]), np.full(9000, None)]
)
def test_small_and_odd_arrays_are_no_stream(array):
    assert npy_body(array) is None


@pytest.mark.parametrize(("length", "status"), [(2, None), (None, None), (4, 400)])
def test_the_beginning_of_a_json_body_is_not_taken_for_all_of_it(length, status):
    async def arrived():
        stream = io.BytesIO(b"12")  # of 1234

        class Stream:
            async def read(self):
                return stream.read()

        return await JsonHandler().deserialize_async(Stream(), "application/json", length)

    if status is None:
        assert asyncio.run(arrived()) == 12
    else:
        with pytest.raises(falcon.HTTPError) as caught:
            asyncio.run(arrived())
        assert caught.value.status_code == status


def test_a_problem_is_told_though_its_text_is_no_unicode():
    class Refusing:
        async def on_get(self, req, resp):
            raise falcon.HTTPBadRequest(description="not \ud800")

        async def on_post(self, req, resp):
            raise hybrid.JobError("not \ud800")

    app = falcon.asgi.App()
    hybrid.install(app)
    app.add_route("/", Refusing())
    client = falcon.testing.TestClient(app)
    assert client.simulate_get("/").json["detail"] == "not \\ud800"
    failed = client.simulate_post("/")
    assert (failed.status_code, failed.json["detail"]) == (500, "not \\ud800")
