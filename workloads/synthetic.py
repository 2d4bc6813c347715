"""Jobs on synthetic input: ``GET /cpu/{kernel}``."""

from __future__ import annotations

from typing import Any

import falcon

import hybrid
from workloads.jobs import REAL, SERVING, SYNTHETIC, WAITING, watched_sleep
from workloads.parameters import deadline, lane, number, whole
from workloads.progress import Report

KERNELS = (*SYNTHETIC, "sleep", *REAL)


async def run_synthetic(
    req: falcon.Request, kernel: str, report: Report | None = None
) -> dict[str, Any]:
    """Run a kernel as the query says; return the answer's fields.

    Args:
        req: its query chooses size, seed, lane and deadline.
        kernel: name of it.
        report: is told how far the job is.

    Raises:
        falcon.HTTPNotFound: there is no such kernel.
        falcon.HTTPMethodNotAllowed: it works on input that has to be posted.
        falcon.HTTPInvalidParam: a parameter is outside its range.
    """
    if kernel in REAL:
        raise falcon.HTTPMethodNotAllowed(
            ["POST"], description=f"{kernel} works on what you send: POST it to /cpu/{kernel}"
        )
    how: dict[str, Any] = {"lane": lane(req), "deadline": deadline(req), "on_progress": report}
    if kernel == "sleep":
        ms = number(req, "ms", 50.0, 0, 600_000)
        waiting = WAITING if report is None else watched_sleep
        job = SERVING if req.get_param_as_bool("permit") else waiting
        result = await hybrid.submit(job, ms, **how)
        fields: dict[str, Any] = {"ms": ms}
    else:
        spec = SYNTHETIC.get(kernel)
        if spec is None:
            raise unknown(kernel)
        n = whole(req, "n", spec.default, spec.least, spec.most)
        seed = whole(req, "seed", 0, 0, 2**31 - 1)
        result = await hybrid.submit(spec.job, n, seed, **how)
        fields = {"n": n, "seed": seed}
    worker = hybrid.current_view().topology().get("worker")
    return {
        "kernel": kernel,
        **fields,
        "lane": lane_taken(how["lane"]),
        "worker": worker,
        "result": result,
    }


def lane_taken(chosen: str | None) -> str:
    """Return the lane the last job of this request ran on."""
    times = hybrid.last_timing()
    return times.lane if times else (chosen or "inline")


def unknown(kernel: str) -> falcon.HTTPNotFound:
    """Return the 404 that lists what there is."""
    return falcon.HTTPNotFound(
        title="Unknown kernel",
        description=f"there is no kernel {kernel[:40]!r}; there are {', '.join(KERNELS)}",
    )
