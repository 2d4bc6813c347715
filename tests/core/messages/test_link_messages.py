from __future__ import annotations

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid.core.messages import link_messages as m
from hybrid.errors import LinkError


@pytest.mark.parametrize(
    "message",
    [m.Ready(), m.BootFailed("import", "ü"), m.Drain(1.5, True), m.PoolProcessForked(3, 77)],
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
        b'{"type":"mail","kind":[],"number":1,"to":1,"body":1}',
        b'{"type":"mail","kind":"reply","number":1,"to":"","body":1,"origin":[]}',
        b'{"type":"mail","kind":"send","number":{},"to":1,"body":1}',
        b'{"type":"boot-failed","kind":"import","text":5}',
        b'{"type":"fork-pool-process","request":true}',
        b'{"type":"ready","listening":1}',
        b'{"type":"mail","kind":"send","number":1,"to":true,"body":1}',
        b'{"type":"drain","grace":true,"final":false}',
    ],
)
def test_anything_else_is_refused_by_type(payload: bytes) -> None:
    with pytest.raises(LinkError, match="not a control message"):
        m.decode(payload)


JSON = st.sampled_from([None, True, -1, 3, 1.5, "", "primary", [], [1], {}, {"a": []}])
FIELDS = ["kind", "number", "to", "body", "sender", "origin", "reason", "text", "request"]


@given(
    st.sampled_from(["mail", "leave", "fork-pool-process", "boot-failed", "ready", "online"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_what_is_taken_for_a_message_has_fields_of_the_right_type(
    kind: str, fields: dict[str, object]
) -> None:
    payload = orjson.dumps({"type": kind, **fields})
    with contextlib.suppress(LinkError):
        message = m.decode(payload)
        hash((*(getattr(message, n) for n in message.__dataclass_fields__ if n != "body"),))
        assert m.decode(m.encode(message)) == message


@given(st.binary(max_size=40))
def test_bytes_are_a_message_or_a_link_error(payload: bytes) -> None:
    with contextlib.suppress(LinkError):
        m.decode(payload)
