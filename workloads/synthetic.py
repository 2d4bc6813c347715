"""Jobs on synthetic input: ``GET /cpu/{kernel}``."""

from __future__ import annotations

from typing import Any

import falcon

import hybrid
from hybrid.api.view import current_view
from workloads.jobs import REAL, SERVING, SYNTHETIC, WAITING
from workloads.parameters import deadline, lane, number, whole

KERNELS = (*SYNTHETIC, "sleep", *REAL)


async def run_synthetic(req: falcon.Request, kernel: str) -> dict[str, Any]:
    """Run a kernel as the query says; return the answer's fields.

    Raises:
        falcon.HTTPNotFound: there is no such kernel.
        falcon.HTTPMethodNotAllowed: it works on input that has to be posted.
        falcon.HTTPInvalidParam: a parameter is outside its range.
    """
    if kernel in REAL:
        raise falcon.HTTPMethodNotAllowed(
            ["POST"], description=f"{kernel} works on what you send: POST it to /cpu/{kernel}"
        )
    chosen, seconds = lane(req), deadline(req)
    if kernel == "sleep":
        ms = number(req, "ms", 50.0, 0, 600_000)
        job = SERVING if req.get_param_as_bool("permit") else WAITING
        result = await hybrid.submit(job, ms, deadline=seconds, lane=chosen)
        fields: dict[str, Any] = {"ms": ms}
    else:
        spec = SYNTHETIC.get(kernel)
        if spec is None:
            raise unknown(kernel)
        n = whole(req, "n", spec.default, spec.least, spec.most)
        seed = whole(req, "seed", 0, 0, 2**31 - 1)
        result = await hybrid.submit(spec.job, n, seed, deadline=seconds, lane=chosen)
        fields = {"n": n, "seed": seed}
    worker = current_view().topology().get("worker")
    return {
        "kernel": kernel,
        **fields,
        "lane": lane_taken(chosen),
        "worker": worker,
        "result": result,
    }


def lane_taken(chosen: str | None) -> str:
    """Return the lane the last job of this request ran on."""
    from hybrid.pool.submit import job_times

    times = job_times.get()
    return times[-1].lane if times else (chosen or "inline")


def unknown(kernel: str) -> falcon.HTTPNotFound:
    """Return the 404 that lists what there is."""
    return falcon.HTTPNotFound(
        title="Unknown kernel",
        description=f"there is no kernel {kernel[:40]!r}; there are {', '.join(KERNELS)}",
    )
