"""A session as a handler sees it: a dictionary of JSON values that knows what was changed."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Protocol

import orjson

from hybrid.shared_state.contract import Version


class Session(MutableMapping[str, Any]):
    """The data of one client. What is changed within a value counts as well."""

    def __init__(self, data: dict[str, Any], created: float, key: str = "") -> None:
        """Begin a session, or go on with one that was read.

        Args:
            data: JSON values.
            created: Unix seconds.
            key: where it was read; empty: it is new.
        """
        self.created = created
        self.key = key
        self.version: Version = 0
        self.written = 0.0  # Unix seconds; 0: never
        self.wants_rotation = False
        self.is_ended = False
        self._data = data
        self._before = {name: _dumped(value) for name, value in data.items()}

    def rotate(self) -> None:
        """Give the session a new id with this answer; the old one is worth nothing then.

        To be called when a client logs in, so that nobody can have planted its id before.
        """
        self.wants_rotation = True

    def end(self) -> None:
        """Forget the session and its data: a logout."""
        self._data.clear()
        self.is_ended = True

    def changes(self) -> dict[str, Any]:
        """Return what was set since the session was read."""
        return {
            name: value
            for name, value in self._data.items()
            if self._before.get(name) != _dumped(value)
        }

    def removals(self) -> list[str]:
        """Return what was deleted since the session was read."""
        return [name for name in self._before if name not in self._data]

    @property
    def is_changed(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.removals() or self.changes())

    def as_json(self) -> dict[str, Any]:
        """Return the data."""
        return self._data

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._data[name] = value

    def __delitem__(self, name: str) -> None:
        del self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


class SessionKeeper(Protocol):
    """Where sessions are between two requests."""

    lifetime: float  # s that a cookie is worth something at most

    async def load(self, cookie: str | None) -> Session:
        """Return the session of a cookie; a new one if the cookie is worth nothing."""
        ...

    async def save(self, session: Session) -> str | None:
        """Write what was changed.

        Returns:
            The new cookie; empty: the cookie goes; None: it stays.
        """
        ...


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
