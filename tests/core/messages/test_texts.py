from __future__ import annotations

import orjson
import pytest

from hybrid.core.messages.texts import last_part


@pytest.mark.parametrize("character", ["x", "ü", "漢", "\x1b", '"', "\udc80"])
def test_the_end_of_a_long_text_fits_whatever_its_characters(character: str) -> None:
    text = last_part(character * 100_000 + " the reason", 1000)
    assert 800 < len(orjson.dumps(text)) <= 1000
    assert text.endswith(" the reason")


def test_a_short_text_is_whole_and_a_surrogate_is_spelled() -> None:
    assert last_part("no such file: \udc80", 1000) == r"no such file: \udc80"
    assert last_part("", 1000) == ""
