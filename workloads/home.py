"""``GET /``: the decision matrix, as a page or as JSON. The page is ``home.html``."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import falcon

import hybrid

# The page brings everything along; nothing of it may come from, or go to, anywhere else.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class Approach:
    """One row of the decision matrix."""

    scenario: str
    recommended: str
    start: str
    why: str
    endpoints: tuple[str, ...]  # GET
    posts: tuple[str, ...] = ()


MATRIX = (
    Approach(
        "High I/O throughput (web server)",
        "clustering",
        "--io-workers N --cpu-pool 0",
        "While one request waits, its event loop serves others; more processes use more CPUs.",
        ("/io/wait?ms=20", "/io/fanout?n=5&ms=20", "/hello"),
        ("/io/echo",),
    ),
    Approach(
        "CPU-intensive tasks",
        "worker threads (a pool), per process",
        "--io-workers 1 --cpu-pool M",
        "The pool computes, the loop stays free. numpy releases the GIL, so threads are enough; "
        "pure Python holds it and gets a process. On lane=inline the loop computes itself.",
        (
            "/cpu/svd?n=200",
            "/cpu/primes?n=200000",
            "/cpu/primes?n=200000&lane=inline",
            "/cpu/sleep?ms=50",
        ),
        ("/cpu/spectrogram", "/cpu/hillshade", "/cpu/pca", "/cpu/nearest"),
    ),
    Approach(
        "Both",
        "clustering + worker threads",
        "--io-workers N --cpu-pool M",
        "Most real endpoints wait, compute and wait again.",
        ("/mixed?io_ms=20&kernel=svd",),
    ),
    Approach(
        "Simple scaling with restarts",
        "clustering + a process manager",
        "--io-workers N, HUP to reload",
        "A worker that dies is replaced and takes only its own requests with it. Its memory is "
        "its own: every worker counts for itself, unless the number lies in shared state.",
        ("/isolation/counter", "/state/counter", "/status", "/readyz"),
        ("/ops/crash", "/ops/block?ms=500", "/ops/leak?mb=10"),
    ),
)


class Home:
    """The front page of the demonstration application."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a page to a browser, JSON to a program."""
        topology = hybrid.current_view().topology()
        resp.set_header("Vary", "Accept")
        if req.client_prefers([falcon.MEDIA_JSON, falcon.MEDIA_HTML]) == falcon.MEDIA_HTML:
            resp.set_header("Content-Security-Policy", _POLICY)
            resp.content_type = falcon.MEDIA_HTML
            resp.text = _page(topology)
            return
        resp.media = {
            "matrix": [
                {
                    "scenario": row.scenario,
                    "recommended": row.recommended,
                    "start": row.start,
                    "why": row.why,
                    "endpoints": list(row.endpoints),
                    "posts": list(row.posts),
                    "this_server": row is _row_of(topology),
                }
                for row in MATRIX
            ],
            "topology": topology,
        }

    on_head = on_get


def _row_of(topology: dict[str, Any]) -> Approach:
    """Return the row that this server was started for."""
    io, cpu, both, _ = MATRIX
    if not topology["cpu_pool"]:
        return io
    return both if topology["io_workers"] > 1 else cpu


@cache
def _template() -> str:
    return files("workloads").joinpath("home.html").read_text(encoding="utf-8")


def _page(topology: dict[str, Any]) -> str:
    rows = "\n".join(_html_row(row, topology) for row in MATRIX)
    text = html.escape(_in_words(topology))
    return _template().replace("{{topology}}", text).replace("{{rows}}", rows)


def _in_words(topology: dict[str, Any]) -> str:
    n, m, limit = topology["io_workers"], topology["cpu_pool"], topology.get("cpu_limit")
    workers = f"{n} I/O worker{'s' if n != 1 else ''}"
    if m == 0 or topology["cpu_lane"] == "inline":
        return f"{workers}, no pool: a job blocks its worker's loop"
    slots = f"{workers} × {m} slot{'s' if m != 1 else ''}"
    if limit is None:
        return slots
    return f"{slots}, at most {limit} job{'s' if limit != 1 else ''} at once in all of them"


def _html_row(row: Approach, topology: dict[str, Any]) -> str:
    mark = ' <span class="here">this server</span>' if row is _row_of(topology) else ""
    items = [_link(path) for path in row.endpoints]
    items += [_post(path, bool(topology.get("chaos"))) for path in row.posts]
    return (
        f'<div class="card row"><div><h3>{html.escape(row.scenario)}{mark}</h3>'
        f"<p>{html.escape(row.recommended)}: <code>{html.escape(row.start)}</code></p>"
        f"<p>{html.escape(row.why)}</p></div>"
        f'<ul>{"".join(items)}</ul><div class="answers"></div></div>'
    )


def _link(path: str) -> str:
    """Return a GET endpoint; the page's script adds its buttons."""
    text = html.escape(path)
    return f'<li data-method="GET" data-path="{text}"><a href="{text}"><code>{text}</code></a></li>'


def _post(path: str, chaos: bool) -> str:
    """Return a POST endpoint; its button is off where an empty body makes no sense."""
    off = note = ""
    if path.startswith("/ops") and not chaos:
        off, note = " data-off", " needs --chaos"
    elif path.startswith("/cpu"):
        off, note = " data-off", " takes a file, see below"
    elif path == "/ops/crash":
        note = " may end several: a browser tries again"
    text = html.escape(path)
    return (
        f'<li data-method="POST" data-path="{text}"{off}><span><code>POST {text}</code>'
        f'<span class="soft">{note}</span></span></li>'
    )
