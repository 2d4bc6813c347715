"""The one timer of a server's deadlines, and its rest."""

from __future__ import annotations

from typing import Any, cast

from hybrid.config import HttpConfig
from hybrid.http.limits import Watch, tick_length

LENGTH = tick_length(HttpConfig())


class Loop:
    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Any) -> Any:
        loop, timer = self, (self.now + delay, call)
        self.timers.append(timer)

        class Handle:
            def cancel(self) -> None:
                if timer in loop.timers:
                    loop.timers.remove(timer)

        return Handle()

    def tick(self) -> None:
        ((at, call),) = self.timers
        self.timers.clear()
        self.now = at
        call()


class Connection:
    def __init__(self, deadline: float) -> None:
        self.deadline, self.acted = deadline, 0

    def act_on_deadline(self) -> None:
        self.acted += 1


def test_it_rests_without_connections_and_its_clock_is_right_after_a_rest() -> None:
    loop, connections = Loop(), set[Connection]()
    watch = Watch(cast(Any, loop), HttpConfig(), connections, lambda: bool(connections))
    watch.start()
    loop.tick()
    assert loop.timers == []

    loop.now += 3600.0
    connection = Connection(deadline=0.0)
    connections.add(connection)
    watch.start()
    connection.deadline = watch.now + 5.0
    while loop.now < 3700.0 + 5.0:
        assert connection.acted == 0, "cut before its time: the clock had stood still"
        loop.tick()
    while not connection.acted:
        loop.tick()
    assert loop.now < 3700.0 + 5.0 + 3 * LENGTH


def test_a_connection_that_ends_another_while_it_is_looked_at_is_no_trouble() -> None:
    loop, connections = Loop(), set[Connection]()
    watch = Watch(cast(Any, loop), HttpConfig(), connections, lambda: bool(connections))
    first, second = Connection(deadline=0.0), Connection(deadline=0.0)
    first.act_on_deadline = second.act_on_deadline = connections.clear  # type: ignore[method-assign]
    connections.update((first, second))
    watch.start()
    loop.tick()
    assert loop.timers == []
