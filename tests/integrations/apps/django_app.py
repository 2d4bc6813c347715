"""Django, as an ASGI application (``app``) and as a WSGI application (``wsgi``)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

import hybrid
from hybrid.integrations.django import npy_array, npy_response
from tests.integrations.apps import jobs

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    MIDDLEWARE=["hybrid.integrations.django.JobMiddleware"],
    LOGGING_CONFIG=None,
)


async def square(request: Any) -> Any:
    return HttpResponse(str(await hybrid.submit(jobs.square, int(request.GET["n"]))))


async def fail(request: Any) -> Any:
    await hybrid.submit(jobs.fail)


async def late(request: Any) -> Any:
    await hybrid.submit(jobs.square, 2, deadline=0.0)


async def hold(request: Any) -> Any:
    await hybrid.submit(jobs.hold, request.GET["path"])


async def die(request: Any) -> Any:
    await hybrid.submit(jobs.die)


async def npy(request: Any) -> Any:
    return npy_response(await hybrid.submit(jobs.double, npy_array(request)))


async def events(request: Any) -> Any:
    return StreamingHttpResponse(jobs.events(), content_type="text/event-stream")


async def stream(request: Any) -> Any:
    body = request.read()

    async def pieces() -> Any:
        yield body.upper()

    return StreamingHttpResponse(pieces(), content_type="text/plain")


def square_of_a_thread(request: Any) -> Any:
    return HttpResponse(str(hybrid.run(jobs.square, int(request.GET["n"]))))


def fail_in_a_thread(request: Any) -> Any:
    hybrid.run(jobs.fail)


def late_in_a_thread(request: Any) -> Any:
    hybrid.run(jobs.square, 2, deadline=0.0)


def hold_in_a_thread(request: Any) -> Any:
    hybrid.run(jobs.hold, request.GET["path"])


def die_in_a_thread(request: Any) -> Any:
    hybrid.run(jobs.die)


def npy_in_a_thread(request: Any) -> Any:
    return npy_response(hybrid.run(jobs.double, npy_array(request)))


def events_of_a_thread(request: Any) -> Any:
    return StreamingHttpResponse(jobs.events_of_a_thread(), content_type="text/event-stream")


def stream_in_a_thread(request: Any) -> Any:
    body = request.read()
    return StreamingHttpResponse(iter([body.upper()]), content_type="text/plain")


urlpatterns = [
    *(path(each.__name__, each) for each in (square, fail, late, hold, die, npy, events, stream)),
    path("threads/square", square_of_a_thread),
    path("threads/fail", fail_in_a_thread),
    path("threads/late", late_in_a_thread),
    path("threads/hold", hold_in_a_thread),
    path("threads/die", die_in_a_thread),
    path("threads/npy", npy_in_a_thread),
    path("threads/events", events_of_a_thread),
    path("threads/stream", stream_in_a_thread),
]
app = get_asgi_application()
wsgi_handler = get_wsgi_application()


def wsgi(environ: Any, start_response: Any) -> Any:
    environ["PATH_INFO"] = "/threads" + environ["PATH_INFO"]
    return wsgi_handler(environ, start_response)
