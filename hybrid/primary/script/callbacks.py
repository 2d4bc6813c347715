"""A script's callbacks: which are called for an event, and when."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from hybrid.core.workers.cluster_events import EventKind
from hybrid.errors import ConfigError

logger = logging.getLogger("hybrid.error")

EVENTS = ("fork", "online", "listening", "ready", "message", "drain", "exit")

Callback = TypeVar("Callback", bound=Callable[..., object])


class Callbacks:
    """Events wait here until `deliver`, so that no callback runs inside another one."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[..., object]]] = {name: [] for name in EVENTS}
        self._events: deque[tuple[EventKind, tuple[Any, ...]]] = deque()

    def on(self, name: str) -> Callable[[Callback], Callback]:
        """Return a decorator that registers a callback.

        Raises:
            ConfigError: there is no such event.
        """
        if name not in self._callbacks:
            raise ConfigError(f"there is no event {name!r}, only {', '.join(EVENTS)}")

        def register(callback: Callback) -> Callback:
            self._callbacks[name].append(callback)
            return callback

        return register

    def has(self, kind: EventKind) -> bool:
        """Return whether any callback is registered for an event."""
        return bool(self._callbacks[kind.value])

    def emit(self, kind: EventKind, *args: Any) -> None:
        """Queue the calls for an event with these arguments, if it is one of `EVENTS`."""
        if kind.value in self._callbacks:
            self._events.append((kind, args))

    def deliver(self) -> bool:
        """Call back every queued event, also those that the calls add; return whether any was."""
        was_any = bool(self._events)
        while self._events:
            kind, args = self._events.popleft()
            for callback in self._callbacks[kind.value]:
                self._call(callback, kind, args)
        return was_any

    def _call(
        self, callback: Callable[..., object], kind: EventKind, args: tuple[Any, ...]
    ) -> None:
        try:
            callback(*args)
        except Exception as ex:
            name = getattr(callback, "__qualname__", repr(callback))
            logger.exception("callback %s for %s raised", name, kind.value)
            if kind is EventKind.MESSAGE:
                args[1].fail(f"callback {name} raised {type(ex).__name__}: {ex}")
