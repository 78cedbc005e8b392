"""Step 7 of an upstream's tool: the arguments that were decided on go to their upstream, and its result comes back whole.

Rules:

1. Nothing is sent to an upstream whose tools were not compared with what is pinned, over this very connection; a tool that has drifted is
   not called.
2. An upstream that needs something of the client asks through the client's link, under the client's own capabilities, and at most
   `ROUNDS` times for one call.
3. A tool that says itself that it failed has failed, in the record too.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from licet.catalog.upstream import CALL, EXTRA, UpstreamTool
from licet.gate.effects import current_call
from licet.gate.steps import EndedAs
from licet.gateway.answers import ToolFailed
from licet.gateway.connection import Connection, Connections, Garbage, NotSent
from licet.gateway.definitions import LIST_TIMEOUT_S, definitions_of
from licet.gateway.drift import Drift
from licet.gateway.link import VOYAGE, CannotAsk, Voyage, ask_in_time
from licet.gateway.rounds import executing
from licet.model import JsonObject

ROUNDS: Final = 32
"""How often one call may ask its client for something. An upstream that asks without end would hold the client for ever."""
RECHECK_S: Final = 60.0
"""How old a comparison may be: an upstream that changes a tool without saying so is found out within this."""
SETTLING_S: Final = 0.5
"""How long a new connection is given to list all that it has."""


class Carrying:
    """Carries calls to their upstreams: what the gate runs where it executes an upstream's tool."""

    def __init__(self, connections: Connections, drift: Drift) -> None:
        self._connections = connections
        self._drift = drift
        self._compared: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._changed: Counter[str] = Counter()
        self._comparing: WeakKeyDictionary[Connection, asyncio.Lock] = WeakKeyDictionary()

    async def __call__(self, tool: UpstreamTool, arguments: JsonObject) -> Any:
        """The upstream's whole result. Raises `EndedAs`."""
        voyage = VOYAGE.get(None)
        if voyage is None:
            raise NotSent(f"`{tool.spec.name}` is executed by the gateway alone: call it over MCP")
        executing(voyage.link, current_call())
        connection = await self._connections.connect(tool.upstream, voyage)
        is_new = connection not in self._compared
        await self.compare(connection, voyage)
        if tool.method == CALL and (problem := await self._find_drift(tool, connection, voyage, is_new=is_new)) is not None:
            raise EndedAs("not_executed", "definition_drift", problem)
        extra = arguments.pop(EXTRA, {}) if tool.method == CALL else {}
        params = {**extra, "name": tool.name, "arguments": arguments} if tool.method == CALL else arguments
        result = await self._asked(connection, tool, params, voyage)
        if tool.method == CALL and result.get("isError") is True:
            raise ToolFailed(result)
        return result

    async def compare(self, connection: Connection, voyage: Voyage) -> None:
        """What the upstream offers was held against what is pinned, a minute ago at most. Raises `EndedAs` (`not_executed`)."""
        if not self._is_due(connection, voyage):
            return
        lock = self._comparing.setdefault(connection, asyncio.Lock())
        async with lock:
            if self._is_due(connection, voyage):
                began, changed = time.monotonic(), self._changed[connection.upstream]
                self._drift.compare(connection.upstream, await definitions_of(connection, voyage), voyage)
                # What changed while it was read may not be in it.
                self._compared[connection] = began if self._changed[connection.upstream] == changed else -RECHECK_S

    async def look_again(self, upstream: str, voyage: Voyage) -> None:
        """Compared anew, where that is due, so that a drift which is over denies nothing. Whatever goes wrong leaves it as it is."""
        with suppress(EndedAs):
            await self.compare(await self._connections.connect(upstream, voyage), voyage)

    def forget(self, upstream: str) -> None:
        """The upstream says that its tools have changed: they are compared anew before the next call."""
        self._changed[upstream] += 1
        for connection in list(self._compared):
            if connection.upstream == upstream:
                self._compared[connection] = -RECHECK_S

    def _is_due(self, connection: Connection, voyage: Voyage) -> bool:
        last = self._compared.get(connection)
        return last is None or time.monotonic() - last > RECHECK_S or not self._drift.knows(connection.upstream, voyage)

    async def _find_drift(self, tool: UpstreamTool, connection: Connection, voyage: Voyage, *, is_new: bool) -> str | None:
        """How the tool has drifted. Some servers list tools only a moment after they were told that their client is ready."""
        problem = self._drift.find_of(tool)
        if problem is not None and is_new:
            await asyncio.sleep(SETTLING_S)
            self._compared[connection] = -RECHECK_S
            await self.compare(connection, voyage)
            problem = self._drift.find_of(tool)
        if problem is None and not self._drift.knows(connection.upstream, voyage):
            # What is accepted has changed since it was compared, and what was seen was forgotten with that.
            await self.compare(connection, voyage)
            problem = self._drift.find_of(tool)
            if problem is None and not self._drift.knows(connection.upstream, voyage):  # asked last: another thread may forget
                raise NotSent(f"what is accepted of `{tool.upstream}` keeps changing: nothing was done, and the call may be made again")
        return problem

    async def _asked(self, connection: Connection, tool: UpstreamTool, params: JsonObject, voyage: Voyage) -> JsonObject:
        """The result, once everything that the upstream asks of the client has been answered (rule 2)."""
        sent = params
        for _ in range(ROUNDS):
            result = await connection.request(tool.method, sent, voyage, timeout_s=tool.spec.timeout_s or LIST_TIMEOUT_S)
            if result.get("resultType", "complete") == "complete":
                return result
            if result["resultType"] != "input_required":
                raise Garbage("upstream_not_understood", f"`{tool.upstream}` answered with a kind of result that is not known here")
            sent = params | await self._answers(tool, result, voyage)
        raise Garbage("upstream_asks_without_end", f"`{tool.upstream}` asked its client more than {ROUNDS} times")

    async def _answers(self, tool: UpstreamTool, result: JsonObject, voyage: Voyage) -> JsonObject:
        """What the client says to an `input_required` result, as parameters of the retry."""
        requests = result.get("inputRequests") or {}
        if not isinstance(requests, dict) or not all(
            isinstance(one, dict) and isinstance(one.get("method"), str) for one in requests.values()
        ):
            raise Garbage("upstream_not_understood", f"`{tool.upstream}` asks for something that cannot be read")
        try:
            answers = dict(await ask_in_time(voyage.link, requests, result))
        except CannotAsk as error:
            raise EndedAs("error", "client_cannot_answer", f"`{tool.upstream}` needs an answer of the client: {error}") from error
        found: JsonObject = {"inputResponses": answers} if requests else {}
        if "requestState" in result:
            found["requestState"] = result["requestState"]
        return found
