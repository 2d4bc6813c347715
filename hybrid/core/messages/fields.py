"""The types of a message's fields, checked where its JSON becomes a message.

By the exact type, not by ``isinstance``: to Python True is a number, and a
message that asks for ``true`` workers would be taken to ask for one.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

Types = dict[str, frozenset[type]]  # by a field's name; a field that may be anything is not in it


def field_types(kind: type) -> Types:
    """Return the types that JSON values may have for the fields of a dataclass."""
    hints = get_type_hints(kind)
    return {name: _json_types(hint) for name, hint in hints.items() if hint is not Any}


def wrong_field(message: object, types: Types) -> str | None:
    """Return the name of a field whose value has another type; None: there is none."""
    for name, wanted in types.items():
        if type(getattr(message, name)) not in wanted:
            return name
    return None


def _json_types(hint: Any) -> frozenset[type]:
    if isinstance(hint, UnionType):
        return frozenset[type]().union(*map(_json_types, get_args(hint)))
    if hint is None:
        return frozenset({NoneType})
    if hint is float:
        return frozenset({float, int})  # 30 is written for 30.0 by most programs
    return frozenset({get_origin(hint) or hint})
