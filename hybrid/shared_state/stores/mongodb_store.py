"""MongoDB: one collection, ``state``. Times are those of the worker's host.

The server removes what has expired once a minute; reads do not return it before.
A whole number is stored as one, so that the server can count on it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Binary, Int64
from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError

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
from hybrid.shared_state.stores.quoting import quoted, unquoted

_NEVER = Int64(2**62)  # ms
_TURNS = 100  # attempts of a call whose key others create and delete meanwhile

Document = dict[str, Any]


class MongodbStore:
    """A `Store` in a MongoDB database: the one of the address, or ``hybrid``.

    A document has the key as its ``_id``, a value ``v`` or a number ``n``, a version
    ``r``, and ``x``, until when it lives in milliseconds; ``e`` says the same to the
    server's own sweeping, which reads dates only.
    """

    capabilities = Capabilities(
        store="MongoDB",
        features=frozenset({Feature.SCAN, Feature.LOCK, Feature.COUNT_DOWN}),
        largest_value=15 * 2**20,
        largest_message=LARGEST_MESSAGE,
        smallest_ttl=0.001,
        ttl_error=0.01,
    )
    away: tuple[type[Exception], ...] = (ConnectionFailure, OSError)
    refused: tuple[type[Exception], ...] = (PyMongoError,)

    def __init__(self, url: str, timeout: float, connections: int) -> None:
        """Connect with the first call."""
        milliseconds = round(0.9 * timeout * 1e3)  # sooner than the caller gives up
        self._client: AsyncMongoClient[Document] = AsyncMongoClient(
            url,
            maxPoolSize=connections,
            connectTimeoutMS=milliseconds,
            serverSelectionTimeoutMS=milliseconds,
            # A command whose answer was missed must not be sent again: it might count twice.
            retryWrites=False,
        )
        self._state = self._client.get_default_database("hybrid")["state"]
        self._has_index = False

    async def _prepare(self) -> None:
        if not self._has_index:
            await self._state.create_index("e", expireAfterSeconds=0)
            self._has_index = True

    async def get(self, key: bytes) -> bytes | None:
        """Return a value."""
        found = await self._state.find_one(_alive(key))
        return None if found is None else _value(found)

    async def get_versioned(self, key: bytes) -> Versioned | None:
        """Return a value and its version."""
        found = await self._state.find_one(_alive(key))
        return None if found is None else Versioned(_value(found), int(found["r"]))

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys."""
        names = [quoted(key) for key in keys]
        query = {"_id": {"$in": names}, "x": {"$gt": _now()}}
        found = {document["_id"]: _value(document) async for document in self._state.find(query)}
        return [found.get(name) for name in names]

    async def set(self, key: bytes, value: bytes, ttl: float | None, when: Condition) -> bool:
        """Write; return whether the condition held."""
        await self._prepare()
        document = _document(value, ttl)
        if when is Condition.PRESENT:
            return await self._replace(_alive(key), document)
        if when is Condition.ABSENT:
            return await self._create(key, document)
        for _ in range(_TURNS):
            # Not an upsert: of two at once the server lets one fail.
            if await self._replace({"_id": quoted(key)}, document):
                return True
            if await self._create(key, document):
                return True
        return False

    async def _replace(self, query: Mapping[str, Any], document: Document) -> bool:
        other = "v" if "n" in document else "n"
        change = {"$set": document, "$unset": {other: ""}}
        result = await self._state.update_one(query, change)
        return result.matched_count == 1

    async def _create(self, key: bytes, document: Document) -> bool:
        """Write a document where there is none, or one that has expired."""
        name = quoted(key)
        try:
            await self._state.insert_one({"_id": name, **document})
        except DuplicateKeyError:
            return await self._replace({"_id": name, "x": {"$lte": _now()}}, document)
        return True

    async def compare_and_set(
        self, key: bytes, value: bytes, version: Version, ttl: float | None
    ) -> bool:
        """Write if the value is still that version."""
        return await self._replace({**_alive(key), "r": version}, _document(value, ttl))

    async def delete(self, key: bytes, version: Version | None) -> bool:
        """Delete, if it is still that version."""
        query = _alive(key)
        if version is not None:
            query["r"] = version
        result = await self._state.delete_one(query)
        return result.deleted_count == 1

    async def touch(self, key: bytes, ttl: float | None) -> bool:
        """Give a key a new time to live."""
        result = await self._state.update_one(_alive(key), {"$set": _life(ttl)})
        return result.matched_count == 1

    async def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """Add to a number and return the sum."""
        await self._prepare()
        # Within these bounds the sum has 64 bits; what is not a number is not within.
        bounds = {
            "$gte": Int64(-LARGEST_NUMBER - min(by, 0)),
            "$lte": Int64(LARGEST_NUMBER - max(by, 0)),
        }
        change = {"$inc": {"n": Int64(by)}, "$set": {"r": Int64(new_version())}}
        for _ in range(_TURNS):
            found = await self._state.find_one_and_update(
                {**_alive(key), "n": bounds}, change, return_document=ReturnDocument.AFTER
            )
            if found is not None:
                return int(found["n"])
            if await self._create(key, _document(str(by).encode(), ttl)):
                return by
            there = await self._state.find_one(_alive(key))
            if there is not None and not (
                "n" in there and bounds["$gte"] <= there["n"] <= bounds["$lte"]
            ):
                raise NotACounter("the value is not a whole number, or would leave 64 bits")
        raise NotACounter("the counter is deleted again and again")

    async def scan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """Yield keys; no quoted key has a character after ``~``, so that ends any prefix."""
        first = quoted(prefix)
        query = {"_id": {"$gte": first, "$lt": first + "\x7f"}, "x": {"$gt": _now()}}
        async for document in self._state.find(query, {"_id": 1}):
            yield unquoted(document["_id"])

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to the workers of this cluster."""
        await cluster_topics.publish(topic, message)

    async def listen(self, deliver: Deliver, ready: Callable[[], None]) -> None:
        """Hear what the workers of this cluster publish."""
        await cluster_topics.listen(deliver, ready)

    async def ping(self) -> None:
        """Return if the server answers."""
        await self._client.admin.command("ping")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _now() -> Int64:
    return Int64(time.time() * 1e3)


def _life(ttl: float | None) -> Document:
    if ttl is None:
        return {"x": _NEVER, "e": None}
    return {"x": Int64(_now() + ttl * 1e3), "e": datetime.now(UTC) + timedelta(seconds=ttl)}


def _alive(key: bytes) -> Document:
    return {"_id": quoted(key), "x": {"$gt": _now()}}


def _document(value: bytes, ttl: float | None) -> Document:
    number = whole_number(value)
    what: Document = {"v": Binary(value)} if number is None else {"n": Int64(number)}
    return {**what, "r": Int64(new_version()), **_life(ttl)}


def _value(document: Mapping[str, Any]) -> bytes:
    if "n" in document:
        return str(int(document["n"])).encode()
    return bytes(document["v"])
