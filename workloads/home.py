"""``GET /``: the decision matrix, as a page or as JSON."""

from __future__ import annotations

import html
from typing import Any

import falcon

import hybrid

MATRIX = (
    (
        "High I/O throughput (web server)",
        "clustering",
        "--io-workers N --cpu-pool 0",
        ("/io/wait?ms=20", "/io/fanout?n=5&ms=20", "/hello"),
    ),
    (
        "CPU-intensive tasks",
        "worker threads (a pool), per process",
        "--io-workers 1 --cpu-pool M",
        ("/cpu/svd?n=200", "/cpu/primes?n=200000", "/cpu/sleep?ms=50"),
    ),
    (
        "Both",
        "clustering + worker threads",
        "--io-workers N --cpu-pool M",
        ("/mixed?io_ms=20&kernel=svd",),
    ),
    (
        "Simple scaling with restarts",
        "clustering + a process manager",
        "--io-workers N, HUP to reload",
        ("/status", "/isolation/counter", "/readyz"),
    ),
)

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>hybrid</title>
<style>
:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1.2rem}}
h1{{font-size:1.9rem;margin:0}}
p{{margin:.4rem 0 1.4rem;opacity:.8}}
table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;vertical-align:top}}
th,td{{padding:.7rem .8rem .7rem 0;border-bottom:1px solid #8884}}
th{{font-weight:600}} code{{font:.88em ui-monospace,monospace}} a{{display:block}}
</style>
<h1>hybrid</h1><p>{topology}</p>
<table><tr><th>Scenario</th><th>Recommended</th><th>Start it so</th><th>Measure it</th></tr>
{rows}</table></html>
"""


class Home:
    """The front page of the demonstration application."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a page to a browser, JSON to a program."""
        topology = hybrid.current_view().topology()
        resp.set_header("Vary", "Accept")
        if req.client_prefers([falcon.MEDIA_JSON, falcon.MEDIA_HTML]) == falcon.MEDIA_HTML:
            resp.content_type = falcon.MEDIA_HTML
            resp.text = _page(topology)
            return
        resp.media = {
            "matrix": [
                {"scenario": s, "recommended": r, "start": f, "endpoints": list(e)}
                for s, r, f, e in MATRIX
            ],
            "topology": topology,
        }

    on_head = on_get


def _page(topology: dict[str, Any]) -> str:
    rows = []
    for scenario, recommended, flags, endpoints in MATRIX:
        links = "".join(
            f'<a href="{html.escape(e)}"><code>{html.escape(e)}</code></a>' for e in endpoints
        )
        cells = (scenario, recommended)
        rows.append(
            "<tr>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + f"<td><code>{html.escape(flags)}</code></td><td>{links}</td></tr>"
        )
    here = (
        f"{topology.get('io_workers')} I/O workers × {topology.get('cpu_pool')} slots; "
        f"this page came from worker {topology.get('worker')}"
    )
    return _PAGE.format(topology=html.escape(here), rows="\n".join(rows))
