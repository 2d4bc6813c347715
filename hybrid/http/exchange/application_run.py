"""Running the application for one exchange, whatever way it ends."""

from __future__ import annotations

import asyncio

from hybrid.core.departure import current_departure
from hybrid.http.exchange.exchange import Exchange, Progress
from hybrid.http.request.refusal import ClientGone
from hybrid.http.shared import Shared

_ENDS = (SystemExit, KeyboardInterrupt)
_COMPLETE = Progress.COMPLETE  # read for every request: see `connection_states`


async def run_application(shared: Shared, exchange: Exchange) -> None:
    """Run the application to its end, also when the client leaves before.

    Its context knows the request's departure, so ``hybrid.submit`` finds it
    without an argument.
    """
    current_departure.set(exchange.departure)
    try:
        await shared.app(exchange.scope, exchange.receive, exchange.send)
        if exchange.progress < _COMPLETE:
            exchange.give_up("the application returned before its answer was complete")
    except asyncio.CancelledError:
        exchange.give_up("the application was cancelled before its answer was complete")
    except ClientGone:
        exchange.give_up("the application left its answer incomplete")
    except BaseException as ex:
        if not shared.loop.is_running():
            raise  # GeneratorExit: the loop is over, and Python throws this coroutine away
        _answer_for(exchange, ex)
        if _asks_for_an_end(ex):
            if shared.leave is None:
                raise
            shared.leave(f"{type(ex).__name__} in the application")
    finally:
        shared.running.discard(exchange)
        if shared.draining:
            shared.ended()


def _answer_for(exchange: Exchange, ex: BaseException) -> None:
    """Answer 500, or cut an answer that has begun; log the exception."""
    if exchange.progress is Progress.GONE and _is_about_the_client(ex):
        return
    if exchange.progress < _COMPLETE:
        exchange.break_off()
    exchange.log_error(f"{type(ex).__name__} in the application", ex)


def _asks_for_an_end(ex: BaseException) -> bool:
    """Return whether the application wants its process to end, perhaps from a task group."""
    if isinstance(ex, BaseExceptionGroup):
        return ex.subgroup(_ENDS) is not None
    return isinstance(ex, _ENDS)


def _is_about_the_client(ex: BaseException) -> bool:
    """Return whether `ex` says only that the client has left."""
    if isinstance(ex, BaseExceptionGroup):
        return ex.split(OSError)[1] is None
    return isinstance(ex, OSError)
