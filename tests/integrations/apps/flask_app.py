from __future__ import annotations

from typing import Any

from flask import Flask, Response, request

import hybrid
from hybrid.integrations.flask import npy_array, npy_response
from tests.integrations.apps import jobs

app = Flask(__name__)
hybrid.install(app)


@app.get("/square")
def square() -> Any:
    return str(hybrid.run(jobs.square, int(request.args["n"])))


@app.get("/fail")
def fail() -> Any:
    hybrid.run(jobs.fail)


@app.get("/late")
def late() -> Any:
    hybrid.run(jobs.square, 2, deadline=0.0)


@app.get("/hold")
def hold() -> Any:
    hybrid.run(jobs.hold, request.args["path"])


@app.get("/die")
def die() -> Any:
    hybrid.run(jobs.die)


@app.post("/npy")
def npy() -> Any:
    return npy_response(hybrid.run(jobs.double, npy_array()))


@app.get("/events")
def events() -> Any:
    return Response(jobs.events_of_a_thread(), content_type="text/event-stream")


@app.get("/background")
def background() -> Any:
    path = request.args["path"]
    response = Response("accepted")
    response.call_on_close(lambda: jobs.finish_later_in_a_thread(path))
    return response


@app.post("/stream")
def stream() -> Any:
    lines = request.stream

    def pieces() -> Any:
        while piece := lines.readline():
            yield piece.upper()

    return Response(pieces(), content_type="text/plain")
