"""Sessions for any ASGI application (`Sessions`) and for Falcon's responders (`FalconSessions`)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal

import falcon

from hybrid.api.session.session import Session, SessionKeeper
from hybrid.api.session.stored import StoredSessions
from hybrid.errors import SessionConflict, StateUnavailable

SameSite = Literal["Lax", "Strict", "None"]
Send = Callable[[Any], Awaitable[None]]


class SessionCookie:
    """The cookie: HttpOnly always, Secure wherever the client speaks TLS."""

    def __init__(self, name: str, same_site: SameSite, lifetime: float) -> None:
        self.name = name
        self._attributes = f"Path=/; HttpOnly; SameSite={same_site}"
        self._must_be_secure = same_site == "None"  # or browsers refuse it
        self._lifetime = int(lifetime)

    def value_in(self, header: str | None) -> str | None:
        """Return the value that a Cookie header has for it."""
        if header is None or self.name not in header:
            return None
        try:
            found = SimpleCookie(header).get(self.name)
        except CookieError:
            return None
        return None if found is None else found.value

    def header(self, value: str, scheme: str) -> str:
        """Return a Set-Cookie header; an empty value takes the cookie away.

        `scheme` is the client's: a trusted proxy has said so, or the listener speaks TLS.
        """
        age = self._lifetime if value else 0
        secure = "; Secure" if scheme in ("https", "wss") or self._must_be_secure else ""
        return f"{self.name}={value}; Max-Age={age}; {self._attributes}{secure}"


class Sessions:
    """ASGI middleware: ``scope["session"]`` is the client's `Session`.

    It is written before the head of the answer goes out; what is changed later is lost.
    A WebSocket has the session of its handshake, to read.
    """

    def __init__(
        self,
        app: Any,
        keeper: SessionKeeper | None = None,
        *,
        cookie: str = "session",
        same_site: SameSite = "Lax",
    ) -> None:
        self._app, self._keeper = app, keeper or StoredSessions()
        self._cookie = SessionCookie(cookie, same_site, self._keeper.lifetime)

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Serve one request with its session."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sent = [value for name, value in scope["headers"] if name == b"cookie"]
        header = b"; ".join(sent).decode("latin-1") if sent else None
        try:
            session = await self._keeper.load(self._cookie.value_in(header))
        except StateUnavailable as ex:
            await _refuse(scope, send, 503, ex.retry_after)
            return
        scope["session"] = session
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Saving(self._keeper, self._cookie, session, scope, send))


class _Saving:
    """The `send` of one request: saves the session before the answer begins."""

    def __init__(
        self, keeper: SessionKeeper, cookie: SessionCookie, session: Session, scope: Any, send: Send
    ) -> None:
        self._keeper, self._cookie, self._session = keeper, cookie, session
        self._scope, self._send = scope, send
        self._is_refused = False

    async def __call__(self, message: Any) -> None:
        if self._is_refused:
            return  # what the application says goes nowhere: the client has its answer
        if message["type"] == "http.response.start":
            try:
                value = await self._keeper.save(self._session)
            except (StateUnavailable, SessionConflict) as ex:
                self._is_refused = True
                status = 409 if isinstance(ex, SessionConflict) else 503
                await _refuse(self._scope, self._send, status, getattr(ex, "retry_after", 1.0))
                return
            if value is not None:
                line = self._cookie.header(value, self._scope.get("scheme", "http"))
                headers = [*message.get("headers", ()), (b"set-cookie", line.encode())]
                message = {**message, "headers": headers}
        await self._send(message)


async def _refuse(scope: Any, send: Send, status: int, retry_after: float) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013})
        return
    body = b"the session is not available; try again later\n"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(max(1, math.ceil(retry_after))).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class FalconSessions:
    """Falcon middleware: ``req.context.session`` is the client's `Session`.

    For some resources only, its methods are hooks: ``@falcon.before(sessions.load)``
    and ``@falcon.after(sessions.save)``.
    """

    def __init__(
        self,
        keeper: SessionKeeper | None = None,
        *,
        cookie: str = "session",
        same_site: SameSite = "Lax",
    ) -> None:
        self._keeper = keeper or StoredSessions()
        self._cookie = SessionCookie(cookie, same_site, self._keeper.lifetime)

    async def load(
        self, req: falcon.Request, resp: falcon.Response, *resource_and_params: Any
    ) -> None:
        """Read the session of the request's cookie."""
        value = self._cookie.value_in(req.get_header("Cookie"))
        req.context.session = await self._keeper.load(value)

    async def save(self, req: falcon.Request, resp: falcon.Response, *resource: Any) -> None:
        """Write it, if it was changed, and set the cookie if that is another one."""
        session = getattr(req.context, "session", None)
        value = None if session is None else await self._keeper.save(session)
        if value is not None:
            resp.append_header("Set-Cookie", self._cookie.header(value, req.scheme))

    async def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Load, for Falcon."""
        await self.load(req, resp)

    async def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Save, for Falcon; an answer that is an error changes no session."""
        if req_succeeded:
            await self.save(req, resp)
