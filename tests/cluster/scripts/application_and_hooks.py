from __future__ import annotations

import sys

import falcon.asgi

from hybrid import cluster
from tests.cluster.scripts.common import say


class Resource:
    async def on_get(self, req, resp):
        resp.text = "falcon"


class Lifespan:
    async def process_startup(self, scope, event):
        say("startup")

    async def process_shutdown(self, scope, event):
        say("shutdown")


app = falcon.asgi.App(middleware=[Lifespan()])
app.add_route("/", Resource())
cluster.on_start(lambda: say("start"))
cluster.on_exit(lambda reason: say("exit hook", reason))

primary = cluster.Primary("127.0.0.1:0")


@primary.on("ready")
def next_one(worker):
    if worker.program.args == (app,):
        say(primary.address)


@primary.on("exit")
def last(worker, code, signal):
    primary.fork(cluster.serve, "workloads.app:app") if worker.id == 1 else primary.disconnect()


@primary.on("listening")
def named(worker, address):
    if worker.id == 2:
        say("named")


primary.fork(cluster.serve, app)
sys.exit(primary.run())
