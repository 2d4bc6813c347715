from __future__ import annotations

import orjson
import pytest

from hybrid.core.messages.mail import BODY_LIMIT, Addressee, pack_body, recipients
from hybrid.errors import FrameTooLarge

FIRST, SECOND, THIRD = Addressee(1, 1, True), Addressee(2, 2, False), Addressee(3, 3, False)
ALL_THREE = [FIRST, SECOND, THIRD]


def test_all_are_all_but_the_sender() -> None:
    assert recipients("all", 2, ALL_THREE) == [FIRST, THIRD]
    assert recipients("all", 0, ALL_THREE) == ALL_THREE


def test_the_leader_and_a_slot_are_one() -> None:
    assert recipients("leader", 1, ALL_THREE) == [FIRST]
    assert recipients(3, 1, ALL_THREE) == [THIRD]


def test_of_two_workers_in_a_slot_the_newer_one_gets_it() -> None:
    newer = Addressee(4, 2, False)
    assert recipients(2, 1, [*ALL_THREE, newer]) == [newer]


@pytest.mark.parametrize("to", [0, 4, "", "somebody", None, [], {"slot": 1}, 1.5])
def test_whatever_else_is_nobody(to: object) -> None:
    assert recipients(to, 1, ALL_THREE) == []


def test_a_body_is_measured_as_json() -> None:
    assert orjson.dumps(pack_body({"a": [1, None, "ü"]})) == '{"a":[1,null,"ü"]}'.encode()
    pack_body("x" * (BODY_LIMIT - 2))
    with pytest.raises(FrameTooLarge, match="65537"):
        pack_body("x" * (BODY_LIMIT - 1))
    with pytest.raises(TypeError):
        pack_body(object())
