import math

from hypothesis import given
from hypothesis import strategies as st

from hybrid.core.jobs.deadlines import Deadlines
from hybrid.core.jobs.ticket import JobEvent, Ticket


def ticket(deadline_at):
    return Ticket(0, 0.0, deadline_at)


def test_the_first_to_be_late_comes_first():
    deadlines = Deadlines()
    a, b = ticket(5.0), ticket(3.0)

    assert deadlines.add(a)
    assert deadlines.add(b)
    assert not deadlines.add(ticket(9.0))

    assert deadlines.next_at() == 3.0
    assert deadlines.due(5.0) == [b, a]
    assert deadlines.next_at() == 9.0


def test_no_deadline_is_not_watched():
    deadlines = Deadlines()

    assert not deadlines.add(ticket(math.inf))
    assert deadlines.next_at() == math.inf


def test_an_ended_ticket_is_never_late():
    deadlines = Deadlines()
    a = ticket(1.0)
    deadlines.add(a)
    a.advance(JobEvent.START)
    a.advance(JobEvent.END)

    assert deadlines.next_at() == math.inf
    assert deadlines.due(2.0) == []


def test_ended_tickets_are_forgotten_before_they_fill_the_memory():
    deadlines = Deadlines()
    for n in range(10_000):
        one = ticket(30.0 + n)
        deadlines.add(one)
        one.advance(JobEvent.WITHDRAW)
        deadlines.forget_ended(alive=0)

    assert len(deadlines) < 1000


@given(st.lists(st.floats(0.0, 100.0), max_size=50), st.floats(0.0, 100.0))
def test_due_takes_exactly_those_whose_time_has_come(times, now):
    deadlines = Deadlines()
    for at in times:
        deadlines.add(ticket(at))

    late = deadlines.due(now)

    assert [one.deadline_at for one in late] == sorted(at for at in times if at <= now)
    assert len(deadlines) == sum(at > now for at in times)
