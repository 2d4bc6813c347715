"""Sessions whose data lies in shared state; the cookie is a random number and says nothing."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Literal

import orjson

from hybrid.api.session.session import Session
from hybrid.errors import SessionConflict
from hybrid.shared_state.state import State

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_REFRESH = 0.1  # of the idle time; a session that is only read is written so often
_TURNS = 20  # attempts to write a session that other requests write at the same time


class StoredSessions:
    """A `SessionKeeper` over `hybrid.state`.

    One read for each request with a cookie, one write only if something was
    changed (and now and then to keep the session alive). Requests of one session
    at the same time are merged: the last one to set a name wins that name. With
    ``conflicts="refuse"`` all but the first are refused with `SessionConflict`.
    """

    def __init__(
        self,
        *,
        idle: float = 3600.0,
        absolute: float = 7 * 86400.0,
        conflicts: Literal["merge", "refuse"] = "merge",
        namespace: str = "session",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep sessions for some time.

        Args:
            idle: seconds without a request after which a session is gone.
            absolute: seconds after which it is gone in any case.
            conflicts: what becomes of changes that meet those of another request.
            namespace: of the shared state.
            clock: Unix seconds.
        """
        self.lifetime = absolute
        self._idle, self._refuse = idle, conflicts == "refuse"
        self._state = State(namespace)
        self._clock = clock

    async def load(self, cookie: str | None) -> Session:
        """Return the session of a cookie; an unknown id is never taken over."""
        if cookie is not None and _COOKIE.fullmatch(cookie):
            found = await self._read(_key(cookie))
            if found is not None:
                return found
        return Session({}, self._clock())

    async def _read(self, key: str) -> Session | None:
        found = await self._state.get_versioned(key)
        if found is None:
            return None
        record = orjson.loads(found.value)
        session = Session(record["data"], record["created"], key)
        session.version, session.written = found.version, record["written"]
        return session if self._left(session) > 0 else None

    async def save(self, session: Session) -> str | None:
        """Write what was changed; return the cookie if it is another one."""
        if session.is_ended:
            if session.key:
                await self._state.delete(session.key)
            return ""
        if not session.key or session.wants_rotation:
            return await self._create(session) if session.key or len(session) else None
        is_old = self._clock() - session.written > _REFRESH * self._idle
        if session.is_changed or is_old:
            await self._merge(session)
        return None

    async def _create(self, session: Session) -> str | None:
        """Write under a new id; what other requests have changed since goes along."""
        while session.key:
            newest = await self._read(session.key)
            if newest is None:
                return ""  # another request has ended or rotated it
            if await self._state.delete(newest.key, version=newest.version):
                session = _merged(newest, session)
                break
        cookie = secrets.token_urlsafe(32)
        await self._state.set(_key(cookie), self._record(session), ttl=self._left(session))
        return cookie

    async def _merge(self, session: Session) -> None:
        newest: Session | None = session
        for _ in range(_TURNS):
            assert newest is not None
            record = self._record(newest)
            if await self._state.compare_and_set(
                newest.key, record, newest.version, ttl=self._left(newest)
            ):
                return
            if self._refuse and session.is_changed:
                raise SessionConflict("another request of this session has changed it")
            newest = await self._read(session.key)
            if newest is None:
                return  # it was ended meanwhile, and must not come back
            newest = _merged(newest, session)
        raise SessionConflict(f"the session was changed {_TURNS} times meanwhile")

    def _record(self, session: Session) -> bytes:
        data = {"data": session.as_json(), "created": session.created, "written": self._clock()}
        return orjson.dumps(data)

    def _left(self, session: Session) -> float:
        return min(self._idle, session.created + self.lifetime - self._clock())


def _key(cookie: str) -> str:
    """Return where a session lies: who can read the store must not get cookies out of it."""
    return sha256(cookie.encode()).hexdigest()


def _merged(newest: Session, mine: Session) -> Session:
    data: dict[str, Any] = {**newest.as_json(), **mine.changes()}
    for name in mine.removals():
        data.pop(name, None)
    merged = Session(data, newest.created, newest.key)
    merged.version, merged.written = newest.version, newest.written
    return merged
