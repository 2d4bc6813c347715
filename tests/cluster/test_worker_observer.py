"""What a pool asks of the primary, and how often it may."""

from __future__ import annotations

from hybrid.core.messages import link_messages as m
from hybrid.core.workers.lifecycle import Leaving
from hybrid.core.workers.restart import YOUNG
from hybrid.worker.pool_observer import WorkerObserver


def test_a_young_worker_does_not_ask_to_be_replaced() -> None:
    # Else a stream of endless jobs would make the primary fork one worker after the other.
    now, sent = [100.0], list[m.Message]()
    observer = WorkerObserver(sent.append, lambda: now[0])

    assert not observer.wants_replacement("slots are held")
    now[0] += YOUNG
    assert observer.wants_replacement("slots are held")

    assert sent == [m.Leave(Leaving.RECYCLE, "slots are held")]
