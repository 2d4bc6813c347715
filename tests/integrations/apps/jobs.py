"""Jobs of the contract's applications, and what they do around them."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import hybrid


@hybrid.job
def square(n: int) -> int:
    return n * n


@hybrid.job
def fail() -> None:
    raise KeyError("of the job")


@hybrid.job
def hold(path: str) -> None:
    """Say which process this is, then run until it is killed."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


@hybrid.job
def die() -> None:
    os._exit(3)


@hybrid.job
def double(array: Any) -> Any:
    return array * 2


@hybrid.job
def steps() -> str:
    hybrid.progress(0.5, "half")
    hybrid.progress(1.0, "whole")
    return "done"


def event(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


async def events() -> AsyncIterator[bytes]:
    """Server-sent events of a job's progress."""
    notes: asyncio.Queue[str | None] = asyncio.Queue()
    job = asyncio.ensure_future(
        hybrid.submit(steps, on_progress=lambda fraction, note: notes.put_nowait(note))
    )
    job.add_done_callback(lambda _: notes.put_nowait(None))
    while (note := await notes.get()) is not None:
        yield event(note)
    yield event(await job)


def events_of_a_thread() -> Iterator[bytes]:
    """The same from synchronous code."""
    notes: queue.Queue[str | None] = queue.Queue()
    result: list[str] = []

    def run() -> None:
        result.append(hybrid.run(steps, on_progress=lambda fraction, note: notes.put(note)))
        notes.put(None)

    thread = threading.Thread(target=copy_context().run, args=(run,))
    thread.start()
    while (note := notes.get()) is not None:
        yield event(note)
    yield event(result[0])


async def finish_later(path: str) -> None:
    """Work that a framework does behind the answer: wait for a sign, then leave one."""
    await asyncio.to_thread(finish_later_in_a_thread, path)


def finish_later_in_a_thread(path: str) -> None:
    while not Path(path + ".go").exists():
        time.sleep(0.01)
    Path(path).write_text("finished")
