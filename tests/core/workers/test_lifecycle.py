from __future__ import annotations

import itertools

import pytest

from hybrid.core.workers.lifecycle import TRANSITIONS, WorkerEvent, WorkerState, advance
from hybrid.errors import IllegalTransition


def test_a_worker_goes_from_starting_to_exited() -> None:
    state = WorkerState.STARTING
    for happening in (WorkerEvent.READY, WorkerEvent.DRAIN, WorkerEvent.EXIT):
        state = advance(state, happening)
    assert state is WorkerState.EXITED


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(WorkerState, WorkerEvent)))
def test_a_pair_outside_the_table_is_a_bug_and_says_so(
    state: WorkerState, happening: WorkerEvent
) -> None:
    if happening in TRANSITIONS[state]:
        assert isinstance(advance(state, happening), WorkerState)
    else:
        with pytest.raises(IllegalTransition, match=happening.name):
            advance(state, happening)
