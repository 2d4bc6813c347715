"""A WSGI application behind a server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from hybrid.config import HttpConfig
from hybrid.wsgi.wsgi_application import WsgiApplication
from tests.http.conftest import Running, run, serving

__all__ = ["run", "serving_wsgi"]


@asynccontextmanager
async def serving_wsgi(
    app: Callable[..., Any],
    settings: HttpConfig | None = None,
    *,
    threads: int = 2,
    queue: int = 64,
) -> AsyncIterator[Running]:
    """Serve `app`; afterwards its threads are over."""
    served = WsgiApplication(app, asyncio.get_running_loop(), threads=threads, queue=queue)
    try:
        async with serving(served, settings) as running:
            yield running
            await running.until(lambda: served.threads.busy == 0, "every request is over")
    finally:
        served.threads.close()
        for thread in served.threads._threads:
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
