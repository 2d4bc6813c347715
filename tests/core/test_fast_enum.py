"""Members of a fast enum are keys like any other, and as cheap as any object."""

from __future__ import annotations

import pickle

from hybrid.core.fast_enum import FastEnum


class Colour(FastEnum):
    RED = "red"
    BLUE = "blue"


def test_a_member_is_the_same_key_however_it_was_found() -> None:
    table = {Colour.RED: 1, Colour.BLUE: 2}

    assert table[Colour("red")] == table[Colour["RED"]] == 1
    assert table[pickle.loads(pickle.dumps(Colour.BLUE))] == 2


def test_no_python_code_runs_to_hash_a_member() -> None:
    assert Colour.__hash__ is object.__hash__
