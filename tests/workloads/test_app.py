"""The demonstration application through ASGI, without a server: jobs run inline."""

from __future__ import annotations

import asyncio
import html
import io
import json
import os
import re

import numpy as np
import pytest
from falcon import testing
from PIL import Image

from hybrid.api.npy import array_from_bytes, array_to_bytes
from hybrid.api.view import SingleProcess, set_view
from hybrid.errors import DeadlineTooShort, JobTimeout, PoolBroken, QueueFull
from tests.workloads.test_wav import wav
from workloads.app import create_app
from workloads.kernels.nearest import vectors

NPY = "application/x-npy"
SYNTHETIC = ("matmul", "svd", "fft", "sort", "montecarlo", "primes")
REAL = ("spectrogram", "hillshade", "pca", "nearest")


@pytest.fixture
def client():
    return testing.TestClient(create_app())


class Chaotic(SingleProcess):
    def topology(self):
        return {**super().topology(), "chaos": True}


@pytest.fixture
def chaos():
    set_view(Chaotic())
    yield
    set_view(SingleProcess())


def post(client, kernel, body, kind=NPY, accept="*/*", **query):
    headers = {"Accept": accept}
    if kind:
        headers["Content-Type"] = kind
    return client.simulate_post(f"/cpu/{kernel}", body=body, headers=headers, params=query)


def assert_problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"]
    assert "Traceback" not in answer.text
    return problem["detail"]


HILLS = array_to_bytes(np.random.default_rng(2).integers(0, 900, (20, 30)).astype(np.int16))
SOUND = wav(np.random.default_rng(2).integers(-9999, 9999, 4000).astype("<i2").tobytes())
TABLE = array_to_bytes(np.random.default_rng(2).normal(size=(20, 4)))
QUERIES = array_to_bytes(vectors()[[5, 6]])
BODIES = {
    "hillshade": (HILLS, NPY),
    "spectrogram": (SOUND, "audio/wav"),
    "pca": (TABLE, NPY),
    "nearest": (QUERIES, NPY),
}


def streamed(kernel, query):
    """Return head and (event, data) pairs of an event stream whose client stays until the end."""
    sent, heard = [], [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return heard.pop() if heard else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = testing.create_scope(path=f"/cpu/{kernel}", query_string="stream=1&" + query)
    asyncio.run(create_app()(scope, receive, send))
    head, *body = sent
    found = []
    for block in b"".join(m.get("body", b"") for m in body).decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return head, found


# -- The rows of the matrix


def test_hello_names_its_process(client):
    assert client.simulate_get("/hello").text.strip() == f"Hello from worker {os.getpid()}"


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_the_front_page_is_json_for_a_program_and_a_page_for_a_browser(client):
    answer = client.simulate_get("/")
    assert len(answer.json["matrix"]) == 4
    assert {"scenario", "recommended", "endpoints"} <= set(answer.json["matrix"][0])
    assert "topology" in answer.json
    page = client.simulate_get("/", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    for row in answer.json["matrix"]:
        for endpoint in (*row["endpoints"], *row["posts"]):
            assert f'data-path="{endpoint.replace("&", "&amp;")}"' in page.text
    assert "{{" not in page.text


def test_the_page_fetches_nothing_from_the_network(client):
    page = client.simulate_get("/", headers=BROWSER)
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page.text)
    assert not re.search(r"@import|url\(|<script[^>]+src|https?://", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_page_works_on_elements_that_it_has(client):
    page = client.simulate_get("/", headers=BROWSER).text
    wanted = re.findall(r'\bat\("(\w+)"\)', page)
    assert wanted
    assert all(f'id="{name}"' in page for name in wanted)


@pytest.mark.parametrize(
    ("io_workers", "cpu_pool", "scenario"),
    [(8, 0, "High I/O"), (1, 4, "CPU-intensive"), (8, 4, "Both"), (1, 0, "High I/O")],
)
def test_the_front_page_marks_the_row_this_server_was_started_for(
    client, io_workers, cpu_pool, scenario
):
    class Other(SingleProcess):
        def topology(self):
            shape = {"io_workers": io_workers, "cpu_pool": cpu_pool, "cpu_lane": "auto"}
            return {**super().topology(), **shape}

    set_view(Other())
    try:
        rows = client.simulate_get("/").json["matrix"]
        page = client.simulate_get("/", headers=BROWSER).text
    finally:
        set_view(SingleProcess())
    (marked,) = [row["scenario"] for row in rows if row["this_server"]]
    assert marked.startswith(scenario)
    assert f'{html.escape(marked)} <span class="here">' in page
    assert ("no pool" in page) == (cpu_pool == 0)


def test_ops_are_offered_by_the_page_with_chaos_only(client, chaos):
    assert "needs --chaos" not in client.simulate_get("/", headers=BROWSER).text
    set_view(SingleProcess())
    assert "needs --chaos" in client.simulate_get("/", headers=BROWSER).text


def test_every_endpoint_of_the_page_answers(client):
    for row in client.simulate_get("/").json["matrix"]:
        for endpoint in row["endpoints"]:
            path, _, query = endpoint.partition("?")
            assert client.simulate_get(path, query_string=query).status_code == 200, endpoint


def test_io_waits_as_long_as_asked(client):
    assert client.simulate_get("/io/wait", params={"ms": 5}).json["waited_ms"] >= 5
    answer = client.simulate_get("/io/fanout", params={"n": 50, "ms": 5}).json
    assert 5 <= answer["waited_ms"] < 50 * 5  # at the same time, not one after the other


def test_echo_gives_the_same_bytes_back(client):
    body = bytes(range(256))
    answer = client.simulate_post("/io/echo", body=body, headers={"Content-Type": "image/x-y"})
    assert (answer.content, answer.headers["content-type"]) == (body, "image/x-y")


@pytest.mark.parametrize("kernel", SYNTHETIC)
def test_a_synthetic_kernel_answers_the_promised_fields(client, kernel):
    answer = client.simulate_get(f"/cpu/{kernel}", params={"n": 40, "seed": 3}).json
    assert list(answer) == ["kernel", "n", "seed", "lane", "worker", "result"]
    assert (answer["kernel"], answer["n"], answer["seed"]) == (kernel, 40, 3)
    assert answer["lane"] == "inline"


@pytest.mark.parametrize("permit", ["0", "1"])
def test_sleep_takes_milliseconds(client, permit):
    answer = client.simulate_get("/cpu/sleep", params={"ms": 1, "permit": permit}).json
    assert (answer["kernel"], answer["result"]) == ("sleep", {"ms": 1.0})


def test_mixed_waits_and_computes(client):
    answer = client.simulate_get("/mixed", params={"io_ms": 2, "kernel": "fft", "n": 64}).json
    assert (answer["io_ms"], answer["kernel"], answer["n"]) == (2, "fft", 64)


def test_the_counter_counts_in_this_process(client):
    first, second = (client.simulate_get("/isolation/counter").json for _ in range(2))
    assert second["counter"] == first["counter"] + 1
    assert second["pid"] == os.getpid()


@pytest.mark.parametrize("path", ["/", "/hello", "/livez", "/readyz", "/status"])
def test_probes_and_pages_answer_head_without_a_body(client, path):
    answer = client.simulate_head(path)
    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/status"])
def test_health_answers(client, path):
    assert client.simulate_get(path).status_code == 200


def test_readyz_verbose_shows_every_worker(client):
    answer = client.simulate_get("/readyz", query_string="verbose").json
    assert answer == {"status": "ready", "worker": 0, "workers": {"0": "ready"}}
    assert client.simulate_get("/readyz", query_string="verbose=0").json == {"status": "ready"}


def test_readyz_says_so_while_draining(client):
    class Draining(SingleProcess):
        def ready(self):
            return False

    set_view(Draining())
    try:
        assert client.simulate_get("/readyz").status_code == 503
        assert client.simulate_get("/livez").status_code == 200
    finally:
        set_view(SingleProcess())


@pytest.mark.parametrize("path", ["/ops/crash", "/ops/block", "/ops/leak"])
def test_ops_do_not_exist_without_chaos(client, path):
    assert_problem(client.simulate_post(path), 404)


@pytest.mark.usefixtures("chaos")
def test_ops_block_and_leak_with_chaos(client):
    assert client.simulate_post("/ops/block", params={"ms": 1}).json["blocked_ms"] == 1
    assert client.simulate_post("/ops/leak", params={"mb": 1}).json["kept_mb"] == 1


def test_job_answers_carry_server_timing(client):
    answer = client.simulate_get("/cpu/fft", params={"n": 64})
    assert re.fullmatch(
        r"queue;dur=[\d.]+, run;dur=[\d.]+, total;dur=[\d.]+", answer.headers["server-timing"]
    )
    assert "server-timing" not in client.simulate_get("/hello").headers


# -- Real input


@pytest.mark.parametrize("kernel", REAL)
def test_a_real_kernel_answers_json_by_default(client, kernel):
    answer = post(client, kernel, *BODIES[kernel])
    assert answer.status_code == 200, answer.text
    assert {"kernel", "lane", "worker", "result"} <= set(answer.json)


@pytest.mark.parametrize("kernel", ["hillshade", "spectrogram"])
def test_a_picture_is_answered_as_png(client, kernel):
    answer = post(client, kernel, *BODIES[kernel], accept="image/png")
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as picture:
        picture.load()
        assert picture.format == "PNG"
        if kernel == "hillshade":
            assert picture.size == (30, 20)


@pytest.mark.parametrize("kernel", REAL)
def test_every_real_kernel_answers_npy(client, kernel):
    answer = post(client, kernel, *BODIES[kernel], accept=NPY)
    assert answer.headers["content-type"] == NPY, answer.text
    assert array_from_bytes(answer.content).size


def test_nearest_finds_the_rows_that_were_sent(client):
    result = post(client, "nearest", QUERIES).json["result"]
    assert [row[0] for row in result["rows"]] == [5, 6]


@pytest.mark.parametrize("kernel", ["pca", "nearest"])
def test_what_is_no_picture_is_not_acceptable_as_png(client, kernel):
    detail = assert_problem(post(client, kernel, *BODIES[kernel], accept="image/png"), 406)
    assert "application/json" in detail


# -- Bad input


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_kernel_is_404_with_the_list(client, method):
    detail = assert_problem(client.simulate_request(method, "/cpu/nope"), 404)
    for kernel in (*SYNTHETIC, "sleep", *REAL):
        assert kernel in detail


def test_the_wrong_method_says_which_is_right(client):
    answer = client.simulate_get("/cpu/hillshade")
    assert answer.headers["allow"] == "POST"
    assert "POST" in assert_problem(answer, 405)
    answer = client.simulate_post("/cpu/svd")
    assert answer.headers["allow"] == "GET"
    assert "GET" in assert_problem(answer, 405)


@pytest.mark.parametrize(
    ("path", "query", "name", "bound"),
    [
        ("/cpu/svd", "n=0", "n", "1"),
        ("/cpu/svd", "n=100000000000", "n", "1000"),
        ("/cpu/svd", "n=many", "n", "1000"),
        ("/cpu/svd", "n=1.5", "n", "1000"),
        ("/cpu/svd", "n=nan", "n", "1000"),
        ("/cpu/svd", "n=inf", "n", "1000"),
        ("/cpu/svd", "n=", "n", "1000"),
        ("/cpu/svd", "n=9&n=99999", "n", "1000"),
        ("/cpu/svd", "n=9&seed=-1", "seed", "0"),
        ("/cpu/svd", "n=9&lane=fast", "lane", "thread"),
        ("/cpu/svd", "n=9&deadline=0", "deadline", "3600"),
        ("/cpu/svd", "n=9&deadline=x", "deadline", "3600"),
        ("/cpu/sleep", "ms=-1", "ms", "0"),
        ("/cpu/sleep", "ms=1&permit=maybe", "permit", ""),
        ("/io/wait", "ms=1e99", "ms", "60000"),
        ("/io/fanout", "n=0", "n", "1000"),
        ("/io/fanout", "n=2.5", "n", "1000"),
        ("/mixed", "io_ms=-5", "io_ms", "60000"),
    ],
)
def test_a_parameter_out_of_range_is_named_with_its_range(client, path, query, name, bound):
    detail = assert_problem(client.simulate_get(path, query_string=query), 400)
    assert re.search(rf'\b"?{name}"?\b', detail)
    assert bound in detail


@pytest.mark.parametrize("kernel", REAL)
@pytest.mark.parametrize("kind", ["text/plain", "application/json", None])
def test_another_content_type_is_415_naming_what_is_taken(client, kernel, kind):
    detail = assert_problem(post(client, kernel, b"{}", kind=kind), 415)
    assert BODIES[kernel][1] in detail


@pytest.mark.parametrize("kernel", REAL)
@pytest.mark.parametrize("body", [b"", b"rubbish", b"\x93NUMPY", b"RIFF\xff\xff\xff\xffWAVE"])
def test_a_body_that_is_not_what_it_says_is_unprocessable(client, kernel, body):
    assert_problem(post(client, kernel, body, kind=BODIES[kernel][1]), 422)


@pytest.mark.parametrize(
    ("kernel", "array"),
    [
        ("hillshade", np.zeros(5)),
        ("hillshade", np.zeros((0, 5))),
        ("hillshade", np.zeros((2, 2), complex)),
        ("pca", np.zeros((1, 5))),
        ("pca", np.zeros((5, 0))),
        ("pca", np.zeros(())),
        ("pca", np.full((4, 4), np.nan)),
        ("nearest", np.zeros((3, 5))),
        ("nearest", np.full((3, 64), 1e300)),
    ],
)
def test_an_array_that_the_kernel_cannot_use_is_unprocessable(client, kernel, array):
    assert_problem(post(client, kernel, array_to_bytes(array)), 422)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e308])
def test_an_impossible_height_is_a_dark_cell_not_an_error(client, odd):
    hills = np.full((4, 4), 9.0)
    hills[1, 1] = odd
    for accept in ("application/json", "image/png", NPY):
        answer = post(client, "hillshade", array_to_bytes(hills), accept=accept)
        assert answer.status_code == 200


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" * 500 + b"]" * 500, b"1" * 100_000])
def test_a_json_bomb_is_echoed_or_refused(client, body):
    answer = client.simulate_post(
        "/io/echo", body=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (200, 400)


def test_an_unknown_path_or_method_is_a_problem_too_and_says_what_is_there(client):
    answer = client.simulate_get("/nowhere/{0}")
    assert "/nowhere/{0}" in assert_problem(answer, 404)
    assert answer.json["title"] == "Not Found"
    answer = client.simulate_delete("/hello")
    assert "GET" in assert_problem(answer, 405)
    assert "GET" in answer.headers["allow"]


def test_the_request_id_of_the_client_is_in_the_problem(client):
    answer = client.simulate_get("/nowhere", headers={"X-Request-ID": "abc-1"})
    assert answer.json["request_id"] == "abc-1"
    evil = {"X-Request-ID": "a b<script>"}
    assert client.simulate_get("/nowhere", headers=evil).json["request_id"] != "a b<script>"


# -- Jobs without a result


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (QueueFull(64, 64, 2.4), 503, "64 of 64 places"),
        (DeadlineTooShort(9, 0, 2.4), 503, "9 jobs wait"),
        (JobTimeout("svd", 2.0, "running"), 504, "svd"),
        (PoolBroken("the pool process of svd died"), 500, "svd"),
        (RuntimeError("the secret password"), 500, ""),
    ],
)
def test_a_job_without_a_result_has_its_status(client, monkeypatch, error, status, says):
    async def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("workloads.synthetic.hybrid.submit", fail)
    answer = client.simulate_get("/cpu/svd")
    assert says in assert_problem(answer, status)
    assert "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("3" if status == 503 else None)


# -- Progress


@pytest.mark.parametrize(
    ("kernel", "query"), [("montecarlo", "n=1000000"), ("primes", "n=50000"), ("sleep", "ms=250")]
)
def test_a_stream_tells_how_far_the_job_is_then_its_result(client, kernel, query):
    head, (*steps, (last, result)) = streamed(kernel, query)

    assert (b"content-type", b"text/event-stream") in head["headers"]
    fractions = [step["fraction"] for kind, step in steps if kind == "progress"]
    assert len(fractions) == len(steps) >= 1
    assert fractions == sorted(fractions)
    assert last == "result"
    assert result == client.simulate_get(f"/cpu/{kernel}", query_string=query).json


def test_a_job_without_reports_streams_its_result():
    assert [kind for kind, _ in streamed("fft", "n=1000")[1]] == ["result"]


def test_a_job_that_fails_ends_its_stream_with_the_problem(monkeypatch):
    async def broken(*args, **kwargs):
        await asyncio.sleep(0.01)
        raise PoolBroken("pool process 7 died while it ran job svd")

    monkeypatch.setattr("hybrid.submit", broken)
    detail = "pool process 7 died while it ran job svd"
    assert streamed("svd", "n=10")[1] == [("problem", {"title": "PoolBroken", "detail": detail})]


@pytest.mark.parametrize(("query", "status"), [("n=0", 400), ("n=10&lane=gpu", 400), ("n=10", 503)])
def test_what_is_refused_before_it_is_in_line_is_no_stream(client, monkeypatch, query, status):
    async def full(*args, **kwargs):
        raise QueueFull(64, 64, 1.5)

    monkeypatch.setattr("hybrid.submit", full)
    answer = client.simulate_get("/cpu/svd", query_string="stream=1&" + query)
    assert_problem(answer, status)
