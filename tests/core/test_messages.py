from __future__ import annotations

import pytest

from hybrid.core import messages as m
from hybrid.errors import LinkError


@pytest.mark.parametrize(
    "message", [m.Ready(), m.BootFailed("import", "ü"), m.Drain(1.5, True), m.Hatched(3, 77)]
)
def test_a_message_survives_the_link(message: m.Message) -> None:
    assert m.decode(m.encode(message)) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b'{"type":"nonsense"}',
        b'{"type":"drain"}',
        b'{"type":"ready","x":1}',
    ],
)
def test_anything_else_is_refused_by_type(payload: bytes) -> None:
    with pytest.raises(LinkError, match="not a control message"):
        m.decode(payload)
