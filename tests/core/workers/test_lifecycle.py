from __future__ import annotations

import itertools

import pytest

from hybrid.core.workers.lifecycle import TRANSITIONS, Happening, State, advance
from hybrid.errors import IllegalTransition


def test_a_worker_goes_from_starting_to_exited() -> None:
    state = State.STARTING
    for happening in (Happening.READY, Happening.DRAIN, Happening.EXIT):
        state = advance(state, happening)
    assert state is State.EXITED


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(State, Happening)))
def test_a_pair_outside_the_table_is_a_bug_and_says_so(state: State, happening: Happening) -> None:
    if happening in TRANSITIONS[state]:
        assert isinstance(advance(state, happening), State)
    else:
        with pytest.raises(IllegalTransition, match=happening.name):
            advance(state, happening)
