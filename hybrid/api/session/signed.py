"""Sessions without a store: the data is the cookie, signed so that a client cannot change it.

A client can read it, and it cannot be taken back before it expires: a copy of an
old cookie is as good as the newest one. Requests at the same time overwrite each other.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hybrid.api.session.session import Session
from hybrid.errors import ConfigError, ValueTooLarge

if TYPE_CHECKING:
    from itsdangerous import URLSafeTimedSerializer

_LONGEST = 3800  # bytes; browsers drop cookies of more than 4096 with name and attributes


class SignedSessions:
    """A `SessionKeeper` that keeps nothing. Needs itsdangerous (``hybrid-server[sessions]``)."""

    def __init__(self, secret: str | Sequence[str], *, absolute: float = 86400.0) -> None:
        """Sign with the last secret, and accept all of them.

        Raises:
            ConfigError: the secret is short, or itsdangerous is not installed.
        """
        secrets = [secret] if isinstance(secret, str) else list(secret)
        if not secrets or min(map(len, secrets)) < 16:
            raise ConfigError("a secret has at least 16 characters")
        self.lifetime = absolute
        self._signer = _signer(secrets)

    async def load(self, cookie: str | None) -> Session:
        """Return the session of a cookie; a new one if its signature or age is not right."""
        from itsdangerous import BadData

        try:
            record: Any = self._signer.loads(cookie or "", max_age=int(self.lifetime))
            session = Session(dict(record["data"]), float(record["created"]), "signed")
        except (BadData, KeyError, TypeError, ValueError):
            return Session({}, time.time())
        # Each new cookie has a new signature time; this one says when the session began.
        if time.time() - session.created > self.lifetime:
            return Session({}, time.time())
        return session

    async def save(self, session: Session) -> str | None:
        """Return the cookie if something was changed."""
        if session.is_ended:
            return ""
        if not (session.is_changed or session.wants_rotation):
            return None
        cookie = self._signer.dumps({"data": session.as_json(), "created": session.created})
        if len(cookie) > _LONGEST:
            raise ValueTooLarge(len(cookie), _LONGEST, "a cookie")
        return str(cookie)


def _signer(secrets: list[str]) -> URLSafeTimedSerializer:
    try:
        from itsdangerous import URLSafeTimedSerializer
    except ImportError as ex:
        raise ConfigError("SignedSessions needs: pip install 'hybrid-server[sessions]'") from ex
    return URLSafeTimedSerializer(secrets, salt="hybrid.session")
