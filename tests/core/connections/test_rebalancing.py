"""Who gives up keep-alive connections, and how often."""

from __future__ import annotations

import random

import pytest

from hybrid.core.connections.rebalancing import EVERY, LONGEST, Balance, above_the_mean


@pytest.mark.parametrize(
    ("everybody", "excess"),
    [
        ([64], 0),  # alone
        ([0, 0, 0], 0),
        ([16, 16, 16, 16], 0),
        ([22, 14, 14, 14], 0),  # chance does as much
        ([64, 0, 0, 0], 48),
        ([20, 0], 10),
        ([5, 1, 1], 0),
        ([9, 0, 0], 6),
        ([0, 64], 0),  # the others' business
    ],
)
def test_only_what_chance_does_not_explain_is_given_up(everybody: list[int], excess: int) -> None:
    assert above_the_mean(everybody[0], everybody) == excess


def test_connections_that_choose_at_random_are_left_alone() -> None:
    dice = random.Random(1)
    moved = 0
    for _ in range(100):
        found = [0] * 8
        for _ in range(256):
            found[dice.randrange(8)] += 1
        moved += sum(above_the_mean(mine, found) for mine in found)
    assert moved < 0.02 * 100 * 256


def test_where_it_does_not_help_it_is_tried_less_often() -> None:
    balance, now, pauses = Balance(), 100.0, []
    for _ in range(9):
        assert balance.is_due(now)
        assert balance.excess(20, [20, 0], now) == 10
        start = now
        while not balance.is_due(now):
            now += EVERY
        pauses.append(now - start)
    assert pauses[:4] == [EVERY, 2 * EVERY, 4 * EVERY, 8 * EVERY]
    assert pauses[-1] == LONGEST


def test_while_it_helps_it_goes_on_every_second() -> None:
    balance, now = Balance(), 100.0
    for mine, rest in ((64, 0), (40, 8), (28, 12), (16, 16)):
        assert balance.is_due(now)
        balance.excess(mine, [mine, rest, rest, rest], now)
        assert not balance.is_due(now + EVERY / 2)
        now += EVERY
