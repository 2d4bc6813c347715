"""The endpoints of the row "shared state": what all workers see alike."""

from __future__ import annotations

import os
from typing import Any

import falcon

import hybrid

state = hybrid.state("demonstration")
sessions = hybrid.FalconSessions(hybrid.StoredSessions(idle=1800.0))


class SharedCounter:
    """A number in shared state: all workers count together."""

    async def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Count this request."""
        slot = hybrid.current_view().topology().get("worker")
        count = await state.incr("counter")
        resp.media = {"counter": count, "pid": os.getpid(), "worker": slot}


# Hooks, and not middleware of the whole application: its other endpoints measure themselves.
@falcon.before(sessions.load)
@falcon.after(sessions.save)
class Login:
    """A name becomes a session; there is no password in a demonstration."""

    async def on_post(self, req: Any, resp: falcon.Response) -> None:
        """Log in as ``?name=``."""
        session: hybrid.Session = req.context.session
        session["name"] = req.get_param("name", required=True)[:100]
        session["visits"] = 0
        session.rotate()
        resp.media = {"name": session["name"]}


@falcon.before(sessions.load)
@falcon.after(sessions.save)
class Logout:
    """The end of a session."""

    async def on_post(self, req: Any, resp: falcon.Response) -> None:
        """Forget it."""
        req.context.session.end()
        resp.status = falcon.HTTP_204


@falcon.before(sessions.load)
@falcon.after(sessions.save)
class Me:
    """Who is logged in, from any worker."""

    async def on_get(self, req: Any, resp: falcon.Response) -> None:
        """Count a visit, and tell."""
        session: hybrid.Session = req.context.session
        if "name" not in session:
            raise falcon.HTTPUnauthorized(description="POST /session/login?name=… first")
        session["visits"] += 1
        slot = hybrid.current_view().topology().get("worker")
        resp.media = {**session, "worker": slot}
