"""Asking the client of a legacy request: all questions at once, and what its answers say.

Rules:

1. What the client did not declare it is not asked, and nothing beside it.
2. Whoever refuses one question has refused all of them: those still open are withdrawn.
3. A refusal cancels nobody but the questions. (On Python 3.11 a task that has left a `TaskGroup` by an exception counts as cancelled for
   ever; what is told of a request looks at that.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from licet.gateway.link import CannotAsk, ClientFacts
from licet.model import JsonObject


async def ask_all(
    client: ClientFacts, requests: Mapping[str, JsonObject], ask: Callable[[JsonObject], Awaitable[JsonObject]]
) -> Mapping[str, JsonObject]:
    """The client's results by the same keys. Raises `CannotAsk`."""
    for wanted in requests.values():
        if not client.takes(wanted):
            raise CannotAsk(f"the client has not declared that it can be asked `{wanted.get('method')}`")
    if not requests:
        return {}
    asking = {key: asyncio.ensure_future(ask(wanted)) for key, wanted in requests.items()}
    try:
        await asyncio.wait(asking.values(), return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in asking.values():
            task.cancel()
        await asyncio.wait(asking.values())
    failed = [error for task in asking.values() if not task.cancelled() and (error := task.exception()) is not None]
    if failed:
        raise failed[0]
    return {key: task.result() for key, task in asking.items()}


def result_of(message: JsonObject) -> JsonObject:
    """The result that a client answers with. Raises `CannotAsk` for an error."""
    if isinstance(result := message.get("result"), dict):
        return result
    error = message.get("error")
    text = error.get("message") if isinstance(error, dict) else None
    raise CannotAsk(f"the client refused: {text[:200]}" if isinstance(text, str) else "the client refused to answer")
