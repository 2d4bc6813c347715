"""What a call of shared state costs, beside the bare driver. ``make bench-state``.

Every store runs as its real server on this machine. Blocks of calls through
`hybrid.state` and through its driver take turns, on the event loop of a worker;
figures are medians over the blocks, in microseconds per call, one call at a time.
SQLite has no asynchronous driver of its own: beside it are aiosqlite and diskcache,
where they are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.config import StateConfig
from hybrid.http.loops import new_event_loop
from hybrid.shared_state.address import open_store
from hybrid.shared_state.current_store import CurrentStore
from hybrid.shared_state.state import State
from hybrid.system.process.processes import resident_set_size
from tests.shared_state.servers import SERVERS

BLOCKS, CALLS, AT_ONCE = 9, 300, 32
VALUE = b"x" * 100
RESULTS = Path(__file__).parent / "results" / "state.json"
PAGE = Path(__file__).parents[1] / "STATE.md"
BEGIN, END = "<!-- costs -->", "<!-- /costs -->"

Call = Callable[[], Awaitable[object]]
Verbs = dict[str, Call]  # get, set, incr


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Verbs]:
    """Yield the calls of `hybrid.state`."""
    store = CurrentStore(StateConfig(url=url), lambda: open_store(url, lambda: "", 5.0, 8))
    state = State("bench", find=lambda: store)
    await state.set("value", VALUE)
    yield {
        "get": lambda: state.get("value"),
        "set": lambda: state.set("value", VALUE),
        "incr": lambda: state.incr("n"),
    }
    await store.close()


@asynccontextmanager
async def bare_redis(url: str) -> AsyncIterator[Verbs]:
    from redis.asyncio import Redis

    client: Any = Redis.from_url(url)
    await client.set("value", VALUE)
    yield {
        "get": lambda: client.get("value"),
        "set": lambda: client.set("value", VALUE),
        "incr": lambda: client.incr("n"),
    }
    await client.aclose()


@asynccontextmanager
async def bare_memcached(url: str) -> AsyncIterator[Verbs]:
    from memcachio import Client

    client: Any = Client(("127.0.0.1", int(url.rpartition(":")[2])))
    await client.set("value", VALUE)
    await client.set("n", b"0")
    yield {
        "get": lambda: client.get("value"),
        "set": lambda: client.set("value", VALUE),
        "incr": lambda: client.incr("n", 1),
    }
    client.connection_pool.close()


@asynccontextmanager
async def bare_postgresql(url: str) -> AsyncIterator[Verbs]:
    import psycopg

    connection: Any = await psycopg.AsyncConnection.connect(url, autocommit=True)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS bare (key bytea PRIMARY KEY, value bytea, n bigint)"
    )
    upsert = "INSERT INTO bare VALUES (%s, %s, 0) ON CONFLICT (key) DO UPDATE SET value = %s"
    count = "UPDATE bare SET n = n + 1 WHERE key = %s RETURNING n"

    async def run(query: str, *values: bytes) -> Any:
        cursor = await connection.execute(query, values, binary=True)
        return None if query is upsert else await cursor.fetchone()

    await run(upsert, b"value", VALUE, VALUE)
    yield {
        "get": lambda: run("SELECT value FROM bare WHERE key = %s", b"value"),
        "set": lambda: run(upsert, b"value", VALUE, VALUE),
        "incr": lambda: run(count, b"value"),
    }
    await connection.close()


@asynccontextmanager
async def bare_mongodb(url: str) -> AsyncIterator[Verbs]:
    from pymongo import AsyncMongoClient

    client: Any = AsyncMongoClient(url)
    rows = client["bare"]["state"]
    await rows.insert_one({"_id": "value", "v": VALUE})
    await rows.insert_one({"_id": "n", "n": 0})
    yield {
        "get": lambda: rows.find_one({"_id": "value"}),
        "set": lambda: rows.update_one({"_id": "value"}, {"$set": {"v": VALUE}}),
        "incr": lambda: rows.find_one_and_update({"_id": "n"}, {"$inc": {"n": 1}}),
    }
    await client.close()


@asynccontextmanager
async def bare_aiosqlite(url: str) -> AsyncIterator[Verbs]:
    import aiosqlite

    db = await aiosqlite.connect(url.partition(":")[2] + ".aiosqlite", isolation_level=None)
    for line in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"):
        await db.execute(line)
    await db.execute("CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB)")
    upsert = "INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = "

    async def fetch(query: str, *values: object) -> Any:
        async with db.execute(query, values) as cursor:
            return await cursor.fetchone()

    await fetch(upsert + "excluded.value", b"value", VALUE)
    yield {
        "get": lambda: fetch("SELECT value FROM state WHERE key = ?", b"value"),
        "set": lambda: fetch(upsert + "excluded.value", b"value", VALUE),
        "incr": lambda: fetch(upsert + "value + 1 RETURNING value", b"n", 1),
    }
    await db.close()


@asynccontextmanager
async def bare_diskcache(url: str) -> AsyncIterator[Verbs]:
    import diskcache

    cache = diskcache.Cache(url.partition(":")[2] + ".diskcache")
    cache.set("value", VALUE)
    yield {  # on a thread: on the loop, another process' lock would stop it
        "get": lambda: asyncio.to_thread(cache.get, "value"),
        "set": lambda: asyncio.to_thread(cache.set, "value", VALUE),
        "incr": lambda: asyncio.to_thread(cache.incr, "n"),
    }
    await asyncio.to_thread(cache.close)


BARE = {
    "redis": {"redis": bare_redis},
    "memcached": {"memcachio": bare_memcached},
    "postgresql": {"psycopg": bare_postgresql},
    "mongodb": {"pymongo": bare_mongodb},
    "sqlite": {"aiosqlite": bare_aiosqlite, "diskcache": bare_diskcache},
}


async def block(call: Call, calls: int) -> float:
    """Return the microseconds of one call."""
    began = time.perf_counter()
    for _ in range(calls):
        await call()
    return (time.perf_counter() - began) / calls * 1e6


async def crowd(call: Call, calls: int) -> float:
    """Return the microseconds of one call when 32 tasks call at once."""

    async def several() -> None:
        for _ in range(calls // AT_ONCE):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(several() for _ in range(AT_ONCE)))
    return (time.perf_counter() - began) / (calls // AT_ONCE * AT_ONCE) * 1e6


async def compare(name: str, url: str, blocks: int, calls: int) -> dict[str, Any]:
    """Measure one store: every variant in turn, block by block."""
    times: dict[str, dict[str, list[float]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        variants = {"hybrid.state": await stack.enter_async_context(ours(url))}
        for driver, opened in BARE.get(name.partition(",")[0], {}).items():
            try:
                variants[driver] = await stack.enter_async_context(opened(url))
            except ModuleNotFoundError:
                print(f"  {driver} is not installed, and left out")
        for number in range(blocks + 1):
            for variant, verbs in variants.items():
                for verb, call in verbs.items():
                    took = await block(call, calls)
                    if number:  # the first block warms up
                        times.setdefault(variant, {}).setdefault(verb, []).append(took)
            if number:
                took = await crowd(variants["hybrid.state"]["incr"], calls)
                times["hybrid.state"].setdefault("incr, 32 at once", []).append(took)
    return {
        variant: {verb: round(statistics.median(each), 1) for verb, each in verbs.items()}
        for variant, verbs in times.items()
    }


def memory(url: str) -> float:
    """Return by how many MB a process grows when it connects to a store."""
    command = [sys.executable, "-m", "benchmarks.state", "--memory", url]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def grown(url: str) -> float:
    """Connect in this process, and return the MB that it grew by."""
    import gc
    import os

    before = resident_set_size(os.getpid()) or 0

    async def use() -> float:
        async with ours(url) as verbs:
            await asyncio.gather(*(verbs["incr"]() for _ in range(50)))  # every connection
            gc.collect()
            return ((resident_set_size(os.getpid()) or 0) - before) / 1e6

    return on_loop(use())


def on_loop(body: Any) -> Any:
    loop = new_event_loop("auto")
    try:
        return loop.run_until_complete(body)
    finally:
        loop.close()


def measure(blocks: int, calls: int) -> dict[str, Any]:
    """Return the results of all stores."""
    results: dict[str, Any] = {"machine": fingerprint(), "stores": {}}
    with tempfile.TemporaryDirectory(prefix="hybrid-state-") as top:
        Path(top).chmod(0o755)
        places = {"sqlite": f"sqlite:{top}/state.db"}
        servers = []
        try:
            for name, kind in SERVERS.items():
                folder = Path(top) / name
                folder.mkdir(mode=0o755)
                server = kind(folder).start()
                servers.append(server)
                places[name] = server.url
                if name == "redis":
                    places["redis, Unix socket"] = f"unix://{folder}/redis.sock"
            for name, url in places.items():
                print(f"{name} …", flush=True)
                found = on_loop(compare(name, url, blocks, calls))
                results["stores"][name] = {"times": found, "memory_mb": round(memory(url), 1)}
        finally:
            for server in servers:
                server.kill()
    return results


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    verbs = ("get", "set", "incr")
    lines = [
        "| store | get | set | incr | incr, 32 at once | its driver: get, set, incr | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results["stores"].items():
        own = found["times"]["hybrid.state"]
        others = [
            f"{driver}: "
            + ", ".join(f"{t[verb]:.0f} ({own[verb] / t[verb]:.2f} ×)" for verb in verbs)
            for driver, t in found["times"].items()
            if driver != "hybrid.state"
        ]
        cells = [f"{own[verb]:.0f}" for verb in (*verbs, "incr, 32 at once")]
        told = "; ".join(others)
        lines.append(f"| {name} | {' | '.join(cells)} | {told} | +{found['memory_mb']:.0f} MB |")
    return "\n".join([*lines, "", f"({one_line(results['machine'])}.)", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few calls, nothing is recorded")
    parser.add_argument("--page", action="store_true", help="write the recorded table to STATE.md")
    parser.add_argument("--memory", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(grown(options.memory))
    elif options.page:
        before, rest = PAGE.read_text().split(BEGIN)
        shown = table(json.loads(RESULTS.read_text()))
        PAGE.write_text(f"{before}{BEGIN}\n{shown}{END}{rest.split(END)[1]}")
    elif options.quick:
        print(table(measure(2, 50)))
    else:
        results = measure(BLOCKS, CALLS)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(table(results))


if __name__ == "__main__":
    main()
