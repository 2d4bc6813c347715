"""A worker, from the fork to its exit code.

     import the application --> pool, warm slots --> lifespan start-up
         --> accept, READY --> (serve) --> an order to leave
         --> stop accepting --> requests and jobs finish --> lifespan shutdown --> exit

Rule 1: READY is sent only when a request would be answered at once.
Rule 2: a worker leaves on the primary's order. A SIGTERM of its own makes it
        ask for one, so that a replacement is ready before it drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ssl import SSLContext
from typing import Any

from hybrid.api.view import set_view
from hybrid.config import AppConfig
from hybrid.core.activity import Activity
from hybrid.core.connections.handoff_queue import Policy
from hybrid.core.messages import link_messages as m
from hybrid.core.messages.texts import last_part
from hybrid.core.workers.lifecycle import Leaving, WorkerState
from hybrid.core.workers.supervision import EXIT_APP_LOAD, EXIT_NEVER_READY
from hybrid.errors import AppLoadError, HookFailed, NotInCluster
from hybrid.http.lifespan import Lifespan, LifespanFailed
from hybrid.http.loops import new_event_loop
from hybrid.http.server import HttpServer
from hybrid.http.shared import ASGIApp
from hybrid.http.tls import server_context
from hybrid.pool.pool import Pool
from hybrid.pool.submit import set_current_pool
from hybrid.shared_state.current_store import use_store
from hybrid.system.memory.permits import Permits
from hybrid.system.process.heap import keep_freed
from hybrid.system.scoreboard.snapshot import STATES
from hybrid.worker.application import load_application
from hybrid.worker.connections.adoption import Adoption
from hybrid.worker.context import WorkerContext
from hybrid.worker.hooks import Moment, registry
from hybrid.worker.interface import check_application, interface_of
from hybrid.worker.messages.leading import LeaderDuties
from hybrid.worker.messages.mailbox import Inbox, Mailbox, Message
from hybrid.worker.messages.membership import set_membership
from hybrid.worker.messages.primary_link import PrimaryLink
from hybrid.worker.pool_observer import WorkerObserver
from hybrid.worker.upkeep.published_view import ScoreboardView
from hybrid.worker.upkeep.pulse import (
    ConnectionShedder,
    HeapTrimmer,
    Heartbeat,
    Recycler,
    publish,
    publish_store,
)
from hybrid.worker.upkeep.watchdog import Watchdog
from hybrid.wsgi.wsgi_application import WsgiApplication

logger = logging.getLogger("hybrid.error")

_ORDER_TIMEOUT = 5.0  # s a terminated worker waits for the primary's order
_SHORTEST_SHUTDOWN = 0.5  # s that the application's shutdown has, whatever the drain took
_LAST_ACCEPT = 1.0  # s the last acceptor waits for the primary to close its listeners


def worker_main(context: WorkerContext) -> int:
    """Run as a worker of `hybrid serve`; return the exit code. Called in a new child process."""
    return run_worker(context, lambda worker: worker.serve(context.config.app))


def run_worker(
    context: WorkerContext,
    main: Callable[[Worker], Coroutine[Any, Any, int]],
    *,
    is_function: bool = False,
) -> int:
    """Run a worker's `main` on an event loop of its own; return the exit code.

    Args:
        context: what it inherits.
        main: what it does; its result is the exit code.
        is_function: it runs a function of a script, which takes messages from an
            inbox, and serves if it asks for that.
    """
    # C code, so that it answers even while something holds the GIL: `kill -USR2 PID`, and
    # the primary before it kills a hung worker.
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    keep_freed()
    loop = new_event_loop(context.config.http.loop)
    asyncio.set_event_loop(loop)
    worker = Worker(context, loop, is_function)
    try:
        return loop.run_until_complete(main(worker))
    finally:
        loop.run_until_complete(worker.store.close())  # last: every hook may still use it
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(loop.shutdown_asyncgens())
        worker.link.close()
        loop.close()


class Worker:
    """One I/O worker."""

    def __init__(
        self, context: WorkerContext, loop: asyncio.AbstractEventLoop, is_function: bool
    ) -> None:
        self.context = context
        self._loop = loop
        self._row = context.scoreboard.row(context.row)
        self._orders: asyncio.Queue[tuple[m.Drain, tuple[int, ...]]] = asyncio.Queue()
        self._listeners_closed = asyncio.Event()
        self._row.set("pid", os.getpid())
        self._enter(WorkerState.STARTING)
        self.link = PrimaryLink(context.channel, loop, self._on_message)
        self.link.send(m.Online())
        self._inbox: Inbox[Message] | None = None
        if is_function:
            self._inbox = Inbox(lambda: self.link.send(m.Ready(listening=False)))
        server = self._serve_once if is_function else None
        self.mailbox = Mailbox(context.slot, self.link, loop, registry, self._inbox, server)
        self.leading = LeaderDuties(self.mailbox, self.link, loop)
        self.store = use_store(context.config.state, int(str(context.facts["pid"])))
        self._view = ScoreboardView(context, self._publish, self.store.is_ready)
        self._pool: Pool | None = None
        self._server: HttpServer | None = None
        self._adoption: Adoption | None = None
        self._has_served = False
        self._activity = Activity()

    async def serve(self, app: AppConfig | ASGIApp) -> int:
        """Boot, serve, drain; return the exit code.

        Args:
            app: the application, or where to import it from.
        """
        try:
            lifespan = await self._boot(app)
        except AppLoadError as ex:
            return self._could_not_boot("import", str(ex), EXIT_APP_LOAD)
        except (LifespanFailed, HookFailed) as ex:
            return self._could_not_boot("startup", str(ex), EXIT_NEVER_READY)
        except Exception:
            return self._could_not_boot("startup", traceback.format_exc(), EXIT_NEVER_READY)
        pulse, watchdog = self._start_pulse()
        self._enter(WorkerState.READY)
        self.link.send(m.Ready())
        self.store.begin_probing()
        self.watch_for_term()
        order, fds = await self._orders.get()
        await self._drain(order, fds, lifespan)
        watchdog.stop()
        pulse.stop()
        self._publish()
        return 0

    async def _serve_once(self, app: Any) -> None:
        """Serve for a script's function; see `hybrid.cluster.serve`."""
        context = self.context
        if not context.accepting_fds():
            raise NotInCluster('nothing to serve on: Primary("127.0.0.1:8000") opens an address')
        if self._has_served:
            raise NotInCluster("this worker has served already; a new one can be forked")
        self._has_served = True
        if isinstance(app, str):
            code = await self.serve(replace(context.config.app, target=app))
        else:
            check_application(app)
            code = await self.serve(app)
        if code:
            sys.exit(code)  # it has sent the reason to the primary

    def _start_pulse(self) -> tuple[Heartbeat, Watchdog]:
        config, row = self.context.config, self._row
        recycler = Recycler(
            config.restart, lambda why: self.link.send(m.Leave(Leaving.RECYCLE, why))
        )
        assert self._server is not None
        shedder = ConnectionShedder(self.context.scoreboard, self._server)
        trimmer = HeapTrimmer()

        def tick() -> None:
            self._publish()
            requests, now = int(row.get("requests")), time.monotonic()
            recycler.check_limits(requests)
            trimmer.trim_if_idle(requests, now)
            if config.http.keepalive_balance:
                shedder.shed_excess(int(row.get("connections")), now)

        watchdog = Watchdog(self.context.slot, config.log.block_warning, lambda: pulse.due)
        pulse = Heartbeat(self._loop, self._row, tick, self._activity, watchdog.note_earlier_tick)
        pulse.start()
        watchdog.start()
        return pulse, watchdog

    # -- boot --------------------------------------------------------------------

    async def _boot(self, app: AppConfig | ASGIApp) -> Lifespan:
        context, config = self.context, self.context.config
        set_view(self._view)
        set_membership(self.mailbox)
        served = self._as_asgi(load_application(app) if isinstance(app, AppConfig) else app)
        self._pool = Pool(
            config.cpu,
            loop=self._loop,
            permits=self._permits(),
            spawner=self.link,
            resources=context.resources,
            observer=WorkerObserver(self.link.send),
            start_timeout=config.restart.boot_timeout,
            activity=self._activity,
        )
        set_current_pool(self._pool)
        await self._pool.warm()
        state: dict[str, Any] = {}
        lifespan = Lifespan(served, state)
        await lifespan.startup()
        await registry.run(Moment.START, strict=True)
        self._server = HttpServer(
            served,
            config.http,
            state=state,
            headers=((b"x-worker", str(context.slot).encode()),),
            ssl=self._ssl(),
            log=config.log,
            leave=lambda reason: self.link.send(m.Leave(Leaving.RECYCLE, reason)),
            activity=self._activity,
        )
        self._accept(self._server)
        return lifespan

    def _as_asgi(self, app: Any) -> ASGIApp:
        """Return `app`, or the threads that run it if it is a WSGI application."""
        config = self.context.config
        wanted = config.app.interface
        if (interface_of(app) if wanted == "auto" else wanted) != "wsgi":
            return app  # type: ignore[no-any-return]
        self._row.set("wsgi_threads", config.wsgi.threads)
        threads, queue = config.wsgi.threads, config.wsgi.queue
        return WsgiApplication(app, self._loop, threads=threads, queue=queue)

    def _ssl(self) -> SSLContext | None:
        """Return the TLS context; every worker reads the certificate, so a reload renews it."""
        bind = self.context.config.bind
        return None if bind.certfile is None else server_context(bind.certfile, bind.keyfile)

    def _accept(self, server: HttpServer) -> None:
        context, config = self.context, self.context.config
        for listener in context.listeners:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listener.listen(config.bind.backlog)  # this slot's own; see `sibling`
        server.start_accepting(context.listeners)
        if context.handover is not None:
            limit = config.http.limit_connections
            self._adoption = Adoption(context.handover, server, self._loop, limit)
            self._adoption.start()

    def _permits(self) -> Permits | None:
        table = self.context.permits
        if table is None:
            return None
        return Permits(table, self.context.scoreboard, self.context.row)

    def _could_not_boot(self, kind: str, text: str, code: int) -> int:
        self.link.send(m.BootFailed(kind, last_part(text.rstrip(), m.BOOT_FAILURE_LIMIT)))
        return code

    # -- orders ------------------------------------------------------------------

    def _on_message(self, message: m.Message, fds: tuple[int, ...]) -> None:
        match message:
            case m.Drain():
                self._take_order(message, fds)
            case m.ListenersClosed():
                self._listeners_closed.set()
            case m.Mail():
                self.mailbox.on_mail(message)
            case m.Receipt():
                self.mailbox.on_receipt(message)
            case m.Lead() | m.EventHappened():
                self.leading.enqueue(message)
            case _:
                logger.error("the primary may not send %s", type(message).__name__)

    def watch_for_term(self) -> None:
        """Ask to leave when this process gets a SIGTERM."""
        term = self.context.terminated
        # A signal handler may run between any two bytecodes: only wake the loop.
        term.on_signal = lambda: self._loop.call_soon_threadsafe(self._on_term)
        if term.happened:
            self._on_term()

    def _on_term(self) -> None:
        self.link.send(m.Leave(Leaving.TERM))
        order = m.Drain(self.context.config.restart.graceful_timeout, final=False)
        self._loop.call_later(_ORDER_TIMEOUT, self._take_order, order, ())

    def _take_order(self, order: m.Drain, fds: tuple[int, ...]) -> None:
        self._orders.put_nowait((order, fds))
        if self._inbox is not None:
            self._inbox.end()

    # -- leaving -----------------------------------------------------------------

    async def _drain(self, order: m.Drain, fds: tuple[int, ...], lifespan: Lifespan) -> None:
        server, pool = self._server, self._pool
        assert server is not None
        assert pool is not None
        deadline = self._loop.time() + order.grace
        self._enter(WorkerState.DRAINING)
        self._view.is_draining = True
        pool.leave()
        server.stop_accepting()
        if self.context.config.scheduling == Policy.REUSEPORT.value:
            server.accept_remaining(self.context.listeners)  # no other worker accepts there
        if order.final and not fds:  # no descriptor was free for the primary's copies
            fds = tuple(sock.detach() for sock in self.context.listeners)
        for sock in self.context.listeners:
            sock.close()
        self.link.send(m.LeftDistribution())
        if order.final:
            await self._empty_backlog(server, fds)
        # A later order can only be to become the last acceptor after all.
        later = self._loop.create_task(self._late_final(server))
        begin = self._loop.create_task(registry.run(Moment.DRAIN))
        step_down = self._loop.create_task(self.leading.step_down())
        cut = await server.drain(max(0.0, deadline - self._loop.time()))
        if self._adoption is not None:
            self._adoption.stop()
        if cut:
            logger.warning("worker slot=%d cut %d requests", self.context.slot, cut)
        await pool.close(max(0.0, deadline - self._loop.time()))
        later.cancel()
        await begin
        await step_down
        await registry.run(Moment.DRAINED)
        await lifespan.shutdown(max(_SHORTEST_SHUTDOWN, deadline - self._loop.time()))
        await registry.run(Moment.EXIT, order.reason)

    async def _late_final(self, server: HttpServer) -> None:
        while True:
            order, fds = await self._orders.get()
            if order.final:
                await self._empty_backlog(server, fds)

    async def _empty_backlog(self, server: HttpServer, fds: tuple[int, ...]) -> None:
        """Accept what waits in the backlog, twice; close the last copies of the listeners.

        A client whose connection was completed by the kernel, but accepted by no
        process, is reset when the last copy of the listener is closed. After the
        first pass new ones can still arrive, as long as the primary has its copies.
        So the primary closes those, and the second pass finds what came until then.
        """
        if self._adoption is not None:
            self._adoption.lift_limit()
        listeners = [socket.socket(fileno=fd) for fd in fds]
        for sock in listeners:
            sock.setblocking(False)
        server.accept_remaining(listeners)
        self.link.send(m.QueueEmptied())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listeners_closed.wait(), _LAST_ACCEPT)
        # Only a connection of the next microseconds could be reset.
        server.accept_remaining(listeners)
        for sock in listeners:
            sock.close()

    # -- figures -----------------------------------------------------------------

    def _enter(self, state: WorkerState) -> None:
        self._row.set("state", STATES.index(state))

    def _publish(self) -> None:
        publish(self._row, self._server, self._pool)
        publish_store(self._row, self.store)
