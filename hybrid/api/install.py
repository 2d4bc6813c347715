"""``hybrid.install(app)``: media, errors and timing for a Falcon application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

import falcon
import falcon.asgi
import numpy as np

from hybrid.api.job_answers import server_timing
from hybrid.api.media import JsonHandler, NpyHandler
from hybrid.api.npy import NPY, NpyBody, npy_body
from hybrid.api.problems import (
    handle_job_error,
    handle_uncaught,
    log_uncaught,
    serialize_http_error,
)
from hybrid.api.state_problems import (
    handle_rate_limited,
    handle_session_conflict,
    handle_state_unavailable,
)
from hybrid.core.departure import Departure, current_departure
from hybrid.errors import JobError, RateLimited, SessionConflict, StateUnavailable


def install(app: falcon.asgi.App[Any, Any]) -> None:
    """Add hybrid's media handlers, error handlers and middleware to a Falcon ASGI application.

    * ``application/x-npy`` bodies are ndarrays, JSON goes through orjson; a large array
      is read into the arena and written from where it lies;
    * a job without a result becomes its HTTP status (503, 504, 500, 507); shared state that is
      away becomes 503, a rate limit 429;
    * every error is ``application/problem+json`` with the request's id;
    * a WebSocket is closed with the code that Falcon gives the error: 3000 and the HTTP status,
      or ``ws_options.error_close_code``;
    * answers of requests that ran jobs carry ``Server-Timing``: queue, run, total.

    No route is added: which resources of `hybrid.api.resources` it has, the application decides.
    """
    handlers = {NPY: NpyHandler(), falcon.MEDIA_JSON: JsonHandler()}
    app.req_options.media_handlers.update(handlers)
    app.resp_options.media_handlers.update(handlers)
    app.set_error_serializer(serialize_http_error)
    app.add_error_handler(Exception, _uncaught_handler(app.ws_options))
    app.add_error_handler(falcon.HTTPError, _compose_http_error)
    app.add_error_handler(falcon.HTTPStatus, _compose_http_status)
    app.add_error_handler(JobError, handle_job_error)
    app.add_error_handler(StateUnavailable, handle_state_unavailable)
    app.add_error_handler(SessionConflict, handle_session_conflict)
    app.add_error_handler(RateLimited, handle_rate_limited)
    app.add_middleware([ServerTiming(), ArraysUncopied()])


class ServerTiming:
    """Falcon middleware: the times of a request's jobs as ``Server-Timing``, in milliseconds."""

    async def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Note the time; set a departure to collect job times, unless hybrid's server has."""
        req.context.hybrid_began = perf_counter()
        if current_departure.get() is None:
            current_departure.set(Departure())  # under another server it is never triggered

    async def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Add the header when the request has run a job."""
        departure = current_departure.get()
        times = departure.times if departure is not None else None
        began: float | None = getattr(req.context, "hybrid_began", None)
        if times and began is not None:
            resp.set_header("Server-Timing", server_timing(times, perf_counter() - began))


class ArraysUncopied:
    """Falcon middleware: a large array in ``resp.media`` is written without a copy."""

    async def process_response(
        self, req: Any, resp: Any, resource: object, req_succeeded: bool
    ) -> None:
        """Replace the array by a stream of its pieces, with Content-Length."""
        array = resp.media
        if not isinstance(array, np.ndarray) or resp.content_type != NPY:
            return
        body = npy_body(array)
        if body is not None:
            resp.media = None
            resp.set_stream(_pieces(body, own_server=_is_ours(req)), body.size)


async def _pieces(body: NpyBody, own_server: bool) -> AsyncIterator[memoryview | bytes]:
    # ASGI asks for bytes. hybrid's own server also takes views of memory, which saves a copy.
    for piece in body.pieces():
        yield piece if own_server else bytes(piece)


def _is_ours(req: Any) -> bool:
    return "hybrid.departure" in (req.scope.get("extensions") or ())


# A WebSocket has no response: handlers get None. Falcon turns what they raise then into a close
# code.


async def _compose_http_error(
    req: falcon.Request, resp: falcon.Response | None, ex: falcon.HTTPError, params: Any, **_: Any
) -> None:
    if resp is None:
        raise ex
    if ex.headers is not None:
        resp.set_headers(ex.headers)
    serialize_http_error(req, resp, ex)


async def _compose_http_status(
    req: falcon.Request, resp: falcon.Response | None, ex: falcon.HTTPStatus, params: Any, **_: Any
) -> None:
    if resp is None:
        raise ex
    resp.status = ex.status
    if ex.headers is not None:
        resp.set_headers(ex.headers)
    resp.text = ex.text


def _uncaught_handler(options: falcon.asgi.WebSocketOptions) -> Any:
    async def handle(
        req: falcon.Request,
        resp: falcon.Response | None,
        ex: Exception,
        params: dict[str, Any],
        ws: falcon.asgi.WebSocket | None = None,
    ) -> None:
        if resp is not None:
            await handle_uncaught(req, resp, ex, params)
        elif ws is not None:
            log_uncaught(req, ex)
            await ws.close(options.error_close_code)

    return handle
