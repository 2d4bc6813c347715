"""The embedded store: one SQLite file for all workers of this host. Needs no server."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from hybrid.errors import NotACounter
from hybrid.shared_state.cluster_topics import LARGEST_MESSAGE, cluster_topics
from hybrid.shared_state.contract import (
    LARGEST_NUMBER,
    Capabilities,
    Condition,
    Deliver,
    Feature,
    Version,
    Versioned,
    new_version,
    whole_number,
)
from hybrid.shared_state.stores.sqlite_thread import SqliteThread

_NEVER = 9e15  # s; later than every time to live ends
_SWEEP_EVERY = 10.0  # s between two looks for what has expired
_SWEPT_AT_ONCE = 500  # rows; the write lock is held for a few milliseconds
_PAGE = 500  # keys that scan reads at once
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"}

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS state (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, expires REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS state_expires ON state (expires) WHERE expires < {_NEVER};
"""
_UPSERT = """
INSERT INTO state VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET value = excluded.value, version = excluded.version, expires = excluded.expires
"""


class SqliteStore:
    """A `Store` in a file. Event-loop side; what runs in the thread is below."""

    capabilities = Capabilities(
        store="SQLite",
        features=frozenset({Feature.SCAN, Feature.LOCK, Feature.COUNT_DOWN}),
        largest_value=64 * 2**20,
        largest_message=LARGEST_MESSAGE,
        smallest_ttl=0.001,
        ttl_error=0.0,
    )
    away: tuple[type[Exception], ...] = (sqlite3.OperationalError, OSError)
    refused: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Callable[[], str], timeout: float) -> None:
        """Use the file that `path` returns; asked for with the first call, and then created."""
        self._thread = SqliteThread(path, timeout, _prepare, Sweeper().look)

    async def get(self, key: bytes) -> bytes | None:
        """Return a value."""
        found = await self._thread.call(_get, key, is_write=False)
        return None if found is None else found.value

    async def get_versioned(self, key: bytes) -> Versioned | None:
        """Return a value and its version."""
        return await self._thread.call(_get, key, is_write=False)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, all of one moment."""
        return await self._thread.call(_get_many, keys, is_write=False)

    async def set(self, key: bytes, value: bytes, ttl: float | None, when: Condition) -> bool:
        """Write; return whether the condition held."""
        return await self._thread.call(_set, key, value, ttl, when)

    async def compare_and_set(
        self, key: bytes, value: bytes, version: Version, ttl: float | None
    ) -> bool:
        """Write if the value is still that version."""
        return await self._thread.call(_compare_and_set, key, value, version, ttl)

    async def delete(self, key: bytes, version: Version | None) -> bool:
        """Delete, if it is still that version."""
        return await self._thread.call(_delete, key, version)

    async def touch(self, key: bytes, ttl: float | None) -> bool:
        """Give a key a new time to live."""
        return await self._thread.call(_touch, key, ttl)

    async def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """Add to a number and return the sum."""
        return await self._thread.call(_incr, key, by, ttl)

    async def scan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """Yield keys; no key is UTF-8 and begins with 0xff, so that is the end of any prefix."""
        after = prefix
        while True:
            page = await self._thread.call(_scan, after, prefix + b"\xff", is_write=False)
            for key in page:
                yield key
            if len(page) < _PAGE:
                return
            after = page[-1] + b"\0"

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to the workers of this cluster."""
        await cluster_topics.publish(topic, message)

    async def listen(self, deliver: Deliver, ready: Callable[[], None]) -> None:
        """Hear what the workers of this cluster publish."""
        await cluster_topics.listen(deliver, ready)

    async def ping(self) -> None:
        """Return if the file can be read."""
        await self._thread.call(_get, b"", is_write=False)

    async def close(self) -> None:
        """Close the file."""
        await self._thread.close()


# -- on the thread, within a transaction -----------------------------------------------


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    if path != ":memory:":
        _refuse_network(path)
        # The file may hold sessions: not for other users of this host.
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)


def _refuse_network(path: str) -> None:
    """Raise OSError for a network file system: WAL needs memory that all processes share."""
    kind, longest = "", 0
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return  # not Linux
    here = str(Path(path).resolve())
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = point == "/" or here == point or here.startswith(point + "/")
        if inside and len(point) >= longest:
            kind, longest = right.split()[0], len(point)
    if kind in _NETWORK:
        raise OSError(f"{path} lies on a network file system ({kind}), which SQLite cannot share")


def _expires(ttl: float | None) -> float:
    return _NEVER if ttl is None else time.time() + ttl


def _get(connection: sqlite3.Connection, key: bytes) -> Versioned | None:
    query = "SELECT value, version FROM state WHERE key = ? AND expires > ?"
    row = connection.execute(query, (key, time.time())).fetchone()
    return None if row is None else Versioned(*row)


def _get_many(connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[bytes | None]:
    found = (_get(connection, key) for key in keys)
    return [None if each is None else each.value for each in found]


def _set(
    connection: sqlite3.Connection, key: bytes, value: bytes, ttl: float | None, when: Condition
) -> bool:
    row = (key, value, new_version(), _expires(ttl))
    if when is Condition.PRESENT:
        query = "UPDATE state SET value = ?, version = ?, expires = ? WHERE key = ? AND expires > ?"
        return connection.execute(query, (*row[1:], key, time.time())).rowcount == 1
    if when is Condition.ALWAYS:
        connection.execute(_UPSERT, row)
        return True
    query = f"{_UPSERT} WHERE state.expires <= ?"
    return connection.execute(query, (*row, time.time())).rowcount == 1


def _compare_and_set(
    connection: sqlite3.Connection, key: bytes, value: bytes, version: int, ttl: float | None
) -> bool:
    query = """UPDATE state SET value = ?, version = ?, expires = ?
               WHERE key = ? AND version = ? AND expires > ?"""
    row = (value, new_version(), _expires(ttl), key, version, time.time())
    return connection.execute(query, row).rowcount == 1


def _delete(connection: sqlite3.Connection, key: bytes, version: int | None) -> bool:
    query = "DELETE FROM state WHERE key = ? AND expires > ? AND (version = ? OR ? IS NULL)"
    return connection.execute(query, (key, time.time(), version, version)).rowcount == 1


def _touch(connection: sqlite3.Connection, key: bytes, ttl: float | None) -> bool:
    query = "UPDATE state SET expires = ? WHERE key = ? AND expires > ?"
    return connection.execute(query, (_expires(ttl), key, time.time())).rowcount == 1


def _incr(connection: sqlite3.Connection, key: bytes, by: int, ttl: float | None) -> int:
    found = _get(connection, key)
    if found is None:
        connection.execute(_UPSERT, (key, str(by).encode(), new_version(), _expires(ttl)))
        return by
    number = whole_number(found.value)
    if number is None or abs(number + by) > LARGEST_NUMBER:
        raise NotACounter("the value is not a whole number, or would leave 64 bits")
    query = "UPDATE state SET value = ?, version = ? WHERE key = ?"
    connection.execute(query, (str(number + by).encode(), new_version(), key))
    return number + by


def _scan(connection: sqlite3.Connection, first: bytes, end: bytes) -> list[bytes]:
    query = "SELECT key FROM state WHERE key >= ? AND key < ? AND expires > ? ORDER BY key LIMIT ?"
    return [row[0] for row in connection.execute(query, (first, end, time.time(), _PAGE))]


class Sweeper:
    """Removes what has expired, a little with some of the writes."""

    def __init__(self) -> None:
        self._due = 0.0

    def look(self, connection: sqlite3.Connection) -> None:
        """Remove some rows if it is time; soon again if there may be more."""
        now = time.monotonic()
        if now < self._due:
            return
        query = "DELETE FROM state WHERE key IN (SELECT key FROM state WHERE expires <= ? LIMIT ?)"
        swept = connection.execute(query, (time.time(), _SWEPT_AT_ONCE)).rowcount
        self._due = now + (_SWEEP_EVERY if swept < _SWEPT_AT_ONCE else 0.1)
