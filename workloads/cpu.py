"""``/cpu``: jobs on synthetic input (GET) and on real input (POST)."""

from __future__ import annotations

from typing import Any

import falcon

import hybrid
from hybrid.api.media import NPY, array_to_bytes
from hybrid.api.view import current_view
from workloads.jobs import REAL, SYNTHETIC, picture_job
from workloads.parameters import deadline, lane
from workloads.synthetic import KERNELS, lane_taken, run_synthetic, unknown
from workloads.wav import samples_from_wav

_WAV = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
_PNG = "image/png"
_RANGES = {"spectrogram": (-100.0, 0.0, True), "hillshade": (0.0, 1.0, False)}  # of a picture


class Kernels:
    """What there is to compute."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the kernels."""
        resp.media = {"synthetic": [*SYNTHETIC, "sleep"], "real": list(REAL)}


class Kernel:
    """One kernel."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response, kernel: str) -> None:
        """Run it on synthetic input."""
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
        chosen, seconds = lane(req), deadline(req)
        try:
            result = await hybrid.submit(REAL[kernel], array, deadline=seconds, lane=chosen)
        except ValueError as ex:  # the kernel says what is wrong with its input
            raise falcon.HTTPUnprocessableEntity(
                title="Unusable input", description=str(ex)
            ) from ex
        await _answer(resp, kernel, kind, result, chosen)


def _preferred(req: falcon.Request, kernel: str) -> str:
    kinds = [falcon.MEDIA_JSON]
    if kernel in _RANGES:
        kinds += [_PNG, NPY]
    kind = req.client_prefers(kinds)
    if kind is None:
        raise falcon.HTTPNotAcceptable(description=f"{kernel} answers {', '.join(kinds)}")
    return kind


async def _input(req: Any, kernel: str) -> Any:
    accepted = _WAV if kernel == "spectrogram" else (NPY,)
    got = (req.content_type or "").split(";")[0].strip().lower()
    if got not in accepted:
        raise falcon.HTTPUnsupportedMediaType(description=f"{kernel} takes {accepted[0]}")
    if kernel != "spectrogram":
        return await req.get_media()
    try:
        return samples_from_wav(await req.stream.read())[0]
    except ValueError as ex:
        raise falcon.HTTPUnprocessableEntity(
            title="Unusable recording", description=str(ex)
        ) from ex


async def _answer(
    resp: falcon.Response, kernel: str, kind: str, result: Any, chosen: str | None
) -> None:
    taken = lane_taken(chosen)
    if kind == _PNG:
        low, high, flip = _RANGES[kernel]
        resp.data = await hybrid.submit(picture_job, result, low, high, flip)
        resp.content_type = _PNG
    elif kind == NPY:
        resp.data, resp.content_type = array_to_bytes(result), NPY
    else:
        worker = current_view().topology().get("worker")
        resp.media = {"kernel": kernel, "lane": taken, "worker": worker, "result": result}
