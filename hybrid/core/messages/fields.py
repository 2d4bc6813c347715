"""The types of a message's fields, checked where its JSON becomes a message.

The exact type is compared, not ``isinstance``: True is an int in Python, so a
message that asks for ``true`` workers would ask for one.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

Types = dict[str, frozenset[type]]  # by name; without the fields that may be anything


def field_types(kind: type) -> Types:
    """Return the types that JSON values may have for the fields of a dataclass."""
    hints = get_type_hints(kind)
    return {name: _json_types(hint) for name, hint in hints.items() if hint is not Any}


def wrong_field(message: object, types: Types) -> str | None:
    """Return the name of a field whose value has a wrong type; None: all are right."""
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
        return frozenset({float, int})  # most programs write 30 for 30.0
    return frozenset({get_origin(hint) or hint})
