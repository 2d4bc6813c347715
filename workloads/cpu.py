"""``/cpu``: jobs on synthetic input (GET) and on real input (POST)."""

from __future__ import annotations

from functools import partial
from typing import Any

import falcon
import numpy as np

import hybrid
from workloads.jobs import REAL, SYNTHETIC
from workloads.parameters import deadline, lane
from workloads.progress import events
from workloads.synthetic import KERNELS, lane_taken, run_synthetic, unknown

NPY = "application/x-npy"
_WAV = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
_PNG = "image/png"


class Kernels:
    """What there is to compute."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the kernels."""
        resp.media = {"synthetic": [*SYNTHETIC, "sleep"], "real": list(REAL)}


class Kernel:
    """One kernel."""

    async def on_get(self, req: Any, resp: Any, kernel: str) -> None:
        """Run it on synthetic input; with ``stream=1`` report its progress."""
        if req.get_param_as_bool("stream"):
            resp.sse = await events(partial(run_synthetic, req, kernel))
        else:
            resp.media = await run_synthetic(req, kernel)

    async def on_post(self, req: Any, resp: falcon.Response, kernel: str) -> None:
        """Run it on the body; answer JSON, npy or PNG, as Accept says."""
        if kernel not in REAL:
            if kernel not in KERNELS:
                raise unknown(kernel)
            raise falcon.HTTPMethodNotAllowed(
                ["GET"], description=f"{kernel} makes its own input: GET /cpu/{kernel}?n=…"
            )
        kind = _preferred(req, kernel)
        array = await _input(req, kernel)
        chosen, real = lane(req), REAL[kernel]
        job = real.picture if kind == _PNG and real.picture else real.job
        try:
            result = await hybrid.submit(job, array, deadline=deadline(req), lane=chosen)
        except ValueError as ex:  # the kernel says what is wrong with its input
            raise falcon.HTTPUnprocessableEntity(
                title="Unusable input", description=str(ex)
            ) from ex
        if kind == _PNG:
            resp.data, resp.content_type = result, _PNG
        elif kind == NPY:
            resp.media = result if real.array is None else result[real.array]
            resp.content_type = NPY
        else:
            worker = hybrid.current_view().topology().get("worker")
            taken = lane_taken(chosen)
            resp.media = {"kernel": kernel, "lane": taken, "worker": worker, "result": result}


def _preferred(req: falcon.Request, kernel: str) -> str:
    kinds = [falcon.MEDIA_JSON, NPY]
    if REAL[kernel].picture:
        kinds.append(_PNG)
    kind = req.client_prefers(kinds)
    if kind is None:
        raise falcon.HTTPNotAcceptable(description=f"{kernel} answers {', '.join(kinds)}")
    return kind


async def _input(req: Any, kernel: str) -> Any:
    """Return the body as an array; a recording as its bytes, which the job decodes."""
    accepted = _WAV if kernel == "spectrogram" else (NPY,)
    got = (req.content_type or "").split(";")[0].strip().lower()
    if got not in accepted:
        raise falcon.HTTPUnsupportedMediaType(description=f"{kernel} takes {accepted[0]}")
    if kernel == "spectrogram":
        return np.frombuffer(await req.stream.read(), np.uint8)
    return await req.get_media()
