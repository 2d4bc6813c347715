"""PostgreSQL: one table, ``hybrid_state``, made with the first call. Times are the server's."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection

from hybrid.errors import NotACounter
from hybrid.shared_state.contract import (
    Capabilities,
    Condition,
    Deliver,
    Feature,
    Version,
    Versioned,
    new_version,
)
from hybrid.shared_state.topics import pack, unpack

_SWEEP_EVERY = 10.0  # s between two looks for what has expired
_PAGE = 500  # keys that scan reads at once

# The advisory lock: of several workers that create the same table at once, all but one would fail.
_SCHEMA = """
SELECT pg_advisory_xact_lock(7281113);
CREATE TABLE IF NOT EXISTS hybrid_state (
    key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL,
    expires timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS hybrid_state_expires ON hybrid_state (expires)
    WHERE expires < 'infinity';
"""
_EXPIRES = "COALESCE(now() + %(ttl)s::float8 * interval '1 second', 'infinity')"
_GET = "SELECT value, version FROM hybrid_state WHERE key = %(key)s AND expires > now()"
_GET_MANY = "SELECT key, value FROM hybrid_state WHERE key = ANY(%(keys)s) AND expires > now()"
_UPSERT = f"""
INSERT INTO hybrid_state VALUES (%(key)s, %(value)s, %(new)s, {_EXPIRES})
ON CONFLICT (key) DO UPDATE
SET value = EXCLUDED.value, version = EXCLUDED.version, expires = EXCLUDED.expires
"""
_UPDATE = f"""
UPDATE hybrid_state SET value = %(value)s, version = %(new)s, expires = {_EXPIRES}
WHERE key = %(key)s AND expires > now()
"""
_SET = {
    Condition.ALWAYS: _UPSERT,
    Condition.ABSENT: _UPSERT + " WHERE hybrid_state.expires <= now()",
    Condition.PRESENT: _UPDATE,
}
_DELETE = "DELETE FROM hybrid_state WHERE key = %(key)s AND expires > now()"
_IF_VERSION = " AND version = %(version)s"
_TOUCH = f"""
UPDATE hybrid_state SET expires = {_EXPIRES} WHERE key = %(key)s AND expires > now()
"""
_INCR = f"""
INSERT INTO hybrid_state AS old
VALUES (%(key)s, convert_to(%(by)s::bigint::text, 'UTF8'), %(new)s, {_EXPIRES})
ON CONFLICT (key) DO UPDATE SET
    value = CASE WHEN old.expires <= now() THEN EXCLUDED.value ELSE
        convert_to((convert_from(old.value, 'UTF8')::bigint + %(by)s)::text, 'UTF8') END,
    version = EXCLUDED.version,
    expires = CASE WHEN old.expires <= now() THEN EXCLUDED.expires ELSE old.expires END
RETURNING value
"""
_SCAN = """
SELECT key FROM hybrid_state WHERE key >= %(first)s AND key < %(end)s AND expires > now()
ORDER BY key LIMIT %(page)s
"""
_SWEEP = """
DELETE FROM hybrid_state WHERE key IN (
    SELECT key FROM hybrid_state WHERE expires <= now() LIMIT 500 FOR UPDATE SKIP LOCKED)
"""


class PostgresqlStore:
    """A `Store` in a PostgreSQL database."""

    capabilities = Capabilities(
        store="PostgreSQL",
        features=frozenset(Feature),
        largest_value=64 * 2**20,
        largest_message=5_700,  # NOTIFY carries 8,000 bytes of text
        smallest_ttl=0.001,
        ttl_error=0.01,
    )
    away: tuple[type[Exception], ...] = (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        OSError,
    )
    refused: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, url: str, timeout: float, connections: int) -> None:
        """Connect with the first call; how many connect at once is bounded by the calls."""
        self._url, self._timeout = url, timeout
        self._idle: list[AsyncConnection[Any]] = []  # the last one back is the first to be used
        self._has_table = False
        self._sweep_at = 0.0

    async def _connect(self) -> AsyncConnection[Any]:
        seconds = max(2, round(self._timeout))
        return await AsyncConnection.connect(self._url, autocommit=True, connect_timeout=seconds)

    async def _run(
        self, query: str, values: Mapping[str, Any], *, has_rows: bool = True
    ) -> tuple[list[Any], int]:
        """Return the rows of a statement, and how many it has touched.

        A connection whose call failed or was cancelled is closed: what it would
        answer next belongs to nobody.
        """
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            if not self._has_table:
                await self._create_table(connection)
            # binary: the values are bytes, which as text would be twice as long.
            cursor = await connection.execute(query.encode(), values, binary=True)
            # Asking the cursor whether there are rows would cost a third of the call.
            rows = await cursor.fetchall() if has_rows else []
        except psycopg.DataError:
            self._idle.append(connection)  # the value's fault
            raise
        except BaseException as ex:
            await self._give_up(connection, is_away=isinstance(ex, psycopg.OperationalError))
            raise
        self._idle.append(connection)
        return rows, cursor.rowcount

    async def _create_table(self, connection: AsyncConnection[Any]) -> None:
        found = await connection.execute("SELECT to_regclass('hybrid_state') IS NOT NULL")
        row = await found.fetchone()
        if row is None or not row[0]:  # asked first: it may exist, and this user not create any
            await connection.execute(_SCHEMA)
        self._has_table = True

    async def _give_up(self, connection: AsyncConnection[Any], *, is_away: bool) -> None:
        gone = [connection]
        if is_away:  # the server has ended, and so have all its connections
            gone += self._idle
            self._idle = []
            self._has_table = False
        for each in gone:
            await each.close()

    async def _write(self, query: str, values: Mapping[str, Any]) -> bool:
        _, touched = await self._run(query, values, has_rows=False)
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_EVERY
            await self._run(_SWEEP, {}, has_rows=False)
        return touched > 0

    async def get(self, key: bytes) -> bytes | None:
        """Return a value."""
        rows, _ = await self._run(_GET, {"key": key})
        return rows[0][0] if rows else None

    async def get_versioned(self, key: bytes) -> Versioned | None:
        """Return a value and its version."""
        rows, _ = await self._run(_GET, {"key": key})
        return Versioned(*rows[0]) if rows else None

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys."""
        rows, _ = await self._run(_GET_MANY, {"keys": list(keys)})
        found = dict(rows)
        return [found.get(key) for key in keys]

    async def set(self, key: bytes, value: bytes, ttl: float | None, when: Condition) -> bool:
        """Write; return whether the condition held."""
        values = {"key": key, "value": value, "new": new_version(), "ttl": ttl}
        return await self._write(_SET[when], values)

    async def compare_and_set(
        self, key: bytes, value: bytes, version: Version, ttl: float | None
    ) -> bool:
        """Write if the value is still that version."""
        values = {"key": key, "value": value, "new": new_version(), "ttl": ttl, "version": version}
        return await self._write(_UPDATE + _IF_VERSION, values)

    async def delete(self, key: bytes, version: Version | None) -> bool:
        """Delete, if it is still that version."""
        query = _DELETE if version is None else _DELETE + _IF_VERSION
        return await self._write(query, {"key": key, "version": version})

    async def touch(self, key: bytes, ttl: float | None) -> bool:
        """Give a key a new time to live."""
        return await self._write(_TOUCH, {"key": key, "ttl": ttl})

    async def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """Add to a number and return the sum."""
        values = {"key": key, "by": by, "new": new_version(), "ttl": ttl}
        try:
            rows, _ = await self._run(_INCR, values)
        except psycopg.DataError as ex:
            raise NotACounter("the value is not a whole number, or would leave 64 bits") from ex
        return int(rows[0][0])

    async def scan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """Yield keys."""
        first, end = prefix, prefix + b"\xff"
        while True:
            rows, _ = await self._run(_SCAN, {"first": first, "end": end, "page": _PAGE})
            for row in rows:
                yield row[0]
            if len(rows) < _PAGE:
                return
            first = rows[-1][0] + b"\0"

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to all workers of all hosts."""
        text = base64.b64encode(pack(topic, message)).decode()
        await self._run("SELECT pg_notify('hybrid_state', %(text)s)::text", {"text": text})

    async def listen(self, deliver: Deliver, ready: Callable[[], None]) -> None:
        """Hear what is published, on a connection of its own."""
        connection = await self._connect()
        try:
            await connection.execute("LISTEN hybrid_state")
            ready()
            async for notice in connection.notifies():
                deliver(*unpack(base64.b64decode(notice.payload)))
        finally:
            await connection.close()

    async def ping(self) -> None:
        """Return if the server answers."""
        await self._run("SELECT 1", {})

    async def close(self) -> None:
        """Close the connections."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in idle))
