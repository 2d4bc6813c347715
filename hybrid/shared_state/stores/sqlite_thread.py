"""A thread that owns one SQLite connection, for an event loop that must not wait.

What has come while a transaction ran goes into the next one together: one commit
for all, so that many small writes cost little more than one. Writes begin
IMMEDIATE: a transaction that wants to write only later is refused at once when
another process writes, whatever the time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from hybrid.errors import StateError

T = TypeVar("T")
Use = Callable[[sqlite3.Connection], None]
Prepare = Callable[[sqlite3.Connection, str], None]

_BATCH = 256  # calls in one transaction; the write lock is held for no longer


@dataclass(slots=True)
class _Order:
    function: Callable[..., Any]  # of the connection and `args`
    args: tuple[Any, ...]
    is_write: bool
    answer: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class SqliteThread:
    """Runs functions of a connection, one after the other. Starts with the first call."""

    def __init__(
        self, path: Callable[[], str], timeout: float, prepare: Prepare, upkeep: Use
    ) -> None:
        """Open nothing yet.

        Args:
            path: returns that of the file; ``:memory:`` for none.
            timeout: seconds that a write waits for other processes.
            prepare: is called with every new connection and its path.
            upkeep: is called at the end of every transaction that writes.
        """
        self._find_path, self._timeout = path, timeout
        self._path = ""
        self._prepare, self._upkeep = prepare, upkeep
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    def call(
        self, function: Callable[..., T], *args: Any, is_write: bool = True
    ) -> asyncio.Future[T]:
        """Return a future for ``function(connection, *args)``.

        It may raise a `StateError` before it writes; an error of SQLite takes the
        whole transaction back.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hybrid-state", daemon=True)
            self._thread.start()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._orders.put(_Order(function, args, is_write, answer))
        return answer

    async def close(self) -> None:
        """Finish what waits and close the file."""
        if self._thread is not None:
            self._orders.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    # -- on the thread ---------------------------------------------------------------

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            first = self._orders.get()
            batch = [] if first is None else [first]
            goes_on = first is not None and self._take_waiting(batch)
            batch = [order for order in batch if not order.answer.cancelled()]
            if batch:
                self._execute(batch)
                self._deliver(batch)
                # Between two batches this thread must hold neither values nor futures.
                batch = []
            first = None
        self._disconnect()

    def _take_waiting(self, batch: list[_Order]) -> bool:
        """Add what waits to `batch`; return False when the last order was among it."""
        with contextlib.suppress(Empty):
            while len(batch) < _BATCH:
                order = self._orders.get_nowait()
                if order is None:
                    return False
                batch.append(order)
        return True

    def _execute(self, batch: list[_Order]) -> None:
        try:
            connection = self._connect()
            is_write = any(order.is_write for order in batch)
            if is_write:
                connection.execute("BEGIN IMMEDIATE")
            for order in batch:
                try:
                    order.result = order.function(connection, *order.args)
                except StateError as ex:
                    order.error = ex
            if is_write:
                self._upkeep(connection)
                connection.execute("COMMIT")
        except Exception as ex:  # whatever it is, it must not end the thread
            self._disconnect()  # which takes the transaction back
            for order in batch:
                order.error = ex

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            # In autocommit mode: the transactions are ours alone.
            self._path = self._find_path()
            connection = sqlite3.connect(self._path, self._timeout, isolation_level=None)
            try:
                self._prepare(connection, self._path)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None and self._path != ":memory:":
            self._connection.close()
            self._connection = None
        elif self._connection is not None and self._connection.in_transaction:
            self._connection.rollback()

    @staticmethod
    def _deliver(batch: list[_Order]) -> None:
        loops = {id(order.answer.get_loop()): order.answer.get_loop() for order in batch}
        for loop in loops.values():
            mine = [order for order in batch if order.answer.get_loop() is loop]
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_settle, mine)


def _settle(orders: list[_Order]) -> None:
    for order in orders:
        if order.answer.done():
            continue  # cancelled
        if order.error is not None:
            order.answer.set_exception(order.error)
        else:
            order.answer.set_result(order.result)
