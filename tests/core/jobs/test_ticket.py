import pytest

from hybrid.core.jobs.ticket import TRANSITIONS, JobEvent, JobState, Ticket, mermaid
from hybrid.errors import IllegalTransition


def ticket(state):
    one = Ticket(0, 0.0, 1.0)
    one.state = state
    return one


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("event", JobEvent)
def test_every_pair_is_in_the_table_or_a_bug(state, event):
    one = ticket(state)

    if event in TRANSITIONS[state]:
        assert one.advance(event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalTransition, match=event.name):
            one.advance(event)


def test_an_abandoned_job_holds_its_slot_until_its_work_ends():
    one = ticket(JobState.RUNNING)

    assert one.advance(JobEvent.WITHDRAW) is JobState.ABANDONED
    assert one.advance(JobEvent.WITHDRAW) is JobState.ABANDONED
    assert one.advance(JobEvent.END) is JobState.ENDED


def test_a_waiting_job_that_is_withdrawn_has_nothing_to_stop():
    assert ticket(JobState.WAITING).advance(JobEvent.WITHDRAW) is JobState.ENDED


def test_the_drawing_has_every_edge():
    drawing = mermaid()

    assert drawing.startswith("stateDiagram-v2")
    assert drawing.count("-->") == sum(len(row) for row in TRANSITIONS.values())
