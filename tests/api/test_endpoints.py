"""Every endpoint, and every kind of bad input: never a 500."""

from __future__ import annotations

import io
import struct
from typing import Any

import falcon.testing
import numpy as np
import pytest
from PIL import Image

from hybrid.api.npy import array_from_bytes, array_to_bytes
from workloads.app import create_app
from workloads.samples import sample

NPY = {"Content-Type": "application/x-npy"}


@pytest.fixture
def client() -> falcon.testing.TestClient:
    return falcon.testing.TestClient(create_app())


def post(client: falcon.testing.TestClient, kernel: str, body: bytes, **headers: str) -> Any:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return client.simulate_post(f"/cpu/{kernel}", body=body, headers=NPY | named)


def npy_claiming(shape: str, descr: str = "'<f8'", data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def assert_problem(result: Any, status: int, word: str = "") -> None:
    assert result.status_code == status, result.text
    assert result.headers["content-type"] == "application/problem+json"
    assert {"title", "status", "detail", "request_id"} <= set(result.json)
    assert word in result.text


def test_the_front_page_is_json_for_a_program_and_a_page_for_a_browser(client: Any) -> None:
    assert len(client.simulate_get("/").json["matrix"]) == 4
    page = client.simulate_get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "src=" not in page.text
    assert "http://" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/hello",
        "/io/wait?ms=1",
        "/io/fanout?n=3&ms=1",
        "/cpu",
        "/mixed?io_ms=2&kernel=sort&n=10",
        "/isolation/counter",
        "/state/counter",
        "/livez",
        "/readyz",
        "/healthz",
        "/status",
        "/cpu/sleep?ms=1",
    ],
)
def test_every_get_answers(client: Any, path: str) -> None:
    assert client.simulate_get(path).status_code == 200


def test_an_elevation_model_becomes_a_picture_an_array_or_json(client: Any) -> None:
    body = sample("elevation")
    picture = post(client, "hillshade", body, Accept="image/png")
    assert Image.open(io.BytesIO(picture.content)).size == (403, 344)
    array = array_from_bytes(post(client, "hillshade", body, Accept="application/x-npy").content)
    assert (array.shape, array.dtype) == ((344, 403), np.float32)
    assert len(post(client, "hillshade", body).json["result"]) == 344


def test_a_recording_becomes_a_picture(client: Any) -> None:
    headers = {"Content-Type": "audio/wav", "Accept": "image/png"}
    result = client.simulate_post("/cpu/spectrogram", body=sample("recording"), headers=headers)
    assert Image.open(io.BytesIO(result.content)).size[1] == 513


def test_a_table_becomes_components_and_queries_their_neighbours(client: Any) -> None:
    table = np.random.default_rng(1).standard_normal((50, 5))
    assert len(post(client, "pca", array_to_bytes(table)).json["result"]["components"]) == 3
    queries = np.random.default_rng(1).standard_normal((2, 64))
    assert len(post(client, "nearest", array_to_bytes(queries)).json["result"]["rows"]) == 2


def test_an_unknown_kernel_is_404_with_the_list(client: Any) -> None:
    assert_problem(client.simulate_get("/cpu/nope"), 404, "montecarlo")
    assert_problem(post(client, "nope", b""), 404, "montecarlo")


def test_the_wrong_method_says_which_one_is_right(client: Any) -> None:
    result = client.simulate_get("/cpu/hillshade")
    assert_problem(result, 405, "POST it")
    assert result.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/cpu/svd?n=0", "n"),
        ("/cpu/svd?n=1e99", "n"),
        ("/cpu/svd?n=ten", "n"),
        ("/cpu/svd?n=2.5", "n"),
        ("/cpu/svd?seed=-1", "seed"),
        ("/cpu/svd?n=10&lane=gpu", "lane"),
        ("/cpu/svd?n=10&deadline=-1", "deadline"),
        ("/cpu/sleep?ms=nan", "ms"),
        ("/io/wait?ms=-5", "ms"),
        ("/io/fanout?n=1000000", "n"),
    ],
)
def test_a_parameter_out_of_range_is_400_and_named(client: Any, path: str, name: str) -> None:
    assert_problem(client.simulate_get(path), 400, f'\\"{name}\\" parameter')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not npy",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
        npy_claiming("(1000000, 1000000)"),
        npy_claiming("(999999999999999999999999,)"),
        npy_claiming("(-1, 8)"),
        npy_claiming("(2, 2)", data=b"\0" * 31),
        npy_claiming("(2, 2)", data=b"\0" * 33),
        npy_claiming("(1,)", descr="'|O'", data=b"cos\nsystem\n(S'true'\ntR."),
        npy_claiming("(1,)", descr="[('a', '<f8')]", data=b"\0" * 8),
        npy_claiming("(1,)", descr="'<M8[s]'", data=b"\0" * 8),
        npy_claiming("(" + "1," * 60 + ")", data=b"\0" * 8),
        npy_claiming("__import__('os')"),
        npy_claiming("(" * 90 + ")" * 90),
    ],
)
def test_a_hostile_array_is_422_and_nothing_is_allocated_for_it(client: Any, body: bytes) -> None:
    assert_problem(post(client, "hillshade", body), 422)


def test_an_array_of_the_wrong_shape_is_422_with_the_kernels_own_words(client: Any) -> None:
    assert_problem(post(client, "hillshade", array_to_bytes(np.zeros(3))), 422, "two axes")
    assert_problem(post(client, "nearest", array_to_bytes(np.zeros((1, 3)))), 422, "64")
    assert_problem(post(client, "pca", array_to_bytes(np.full((3, 3), np.nan))), 422, "NaN")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "audio/wav"])
def test_a_body_of_another_kind_is_415_naming_the_right_one(client: Any, kind: str) -> None:
    assert_problem(post(client, "pca", b"{}", Content_Type=kind), 415, "application/x-npy")


def test_an_answer_of_no_possible_kind_is_406(client: Any) -> None:
    assert_problem(post(client, "pca", b"", Accept="video/mp4"), 406)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"RIFF\xff\xff\xff\xffWAVE",
        b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + b"\0" * 16,
        b"RIFF____WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\0\0\x80\x3e\0\0\x02\x00\x10\x00"
        b"data\xff\xff\xff\x7f",
        b"RIFF____WAVEfmt \x10\x00\x00\x00\x55\x00\x01\x00\x40\x1f\0\0\x80\x3e\0\0\x02\x00\x10\x00"
        b"data\x04\0\0\0abcd",
    ],
)
def test_a_recording_that_lies_is_422(client: Any, body: bytes) -> None:
    headers = {"Content-Type": "audio/wav"}
    result = client.simulate_post("/cpu/spectrogram", body=body, headers=headers)
    assert_problem(result, 422)


def test_chaos_does_not_exist_unless_asked_for(client: Any) -> None:
    for path in ("/ops/crash", "/ops/block", "/ops/leak"):
        assert_problem(client.simulate_post(path), 404, "--chaos")


def test_echo_gives_the_same_bytes_back(client: Any) -> None:
    result = client.simulate_post("/io/echo", body=b"\x00\xff", headers={"Content-Type": "a/b"})
    assert (result.content, result.headers["content-type"]) == (b"\x00\xff", "a/b")
