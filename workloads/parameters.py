"""Query parameters with a range; what is outside is a 400 that names it."""

from __future__ import annotations

import math
from typing import Literal

import falcon

LaneName = Literal["inline", "thread", "process"]
_LANES: dict[str, LaneName] = {"thread": "thread", "process": "process", "inline": "inline"}


def number(req: falcon.Request, name: str, default: float, least: float, most: float) -> float:
    """Return a number from the query.

    Raises:
        falcon.HTTPInvalidParam: not a number, or outside `least` … `most`.
    """
    text = req.get_param(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise falcon.HTTPInvalidParam(f"{text[:40]!r} is not within {least:g} … {most:g}", name)
    return value


def whole(req: falcon.Request, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number from the query; as `number`."""
    value = number(req, name, default, least, most)
    if value != int(value):
        raise falcon.HTTPInvalidParam(f"a whole number within {least} … {most} is needed", name)
    return int(value)


def lane(req: falcon.Request) -> LaneName | None:
    """Return the lane that the query asks for, None when it leaves the choice to the job."""
    text = req.get_param("lane")
    if text is None or text == "auto":
        return None
    if text not in _LANES:
        raise falcon.HTTPInvalidParam(f"one of auto, {', '.join(_LANES)} is possible", "lane")
    return _LANES[text]


def deadline(req: falcon.Request) -> float | None:
    """Return the seconds a job may take, waiting included; None: the server's default."""
    if req.get_param("deadline") is None:
        return None
    return number(req, "deadline", 0.0, 0.001, 3600.0)
