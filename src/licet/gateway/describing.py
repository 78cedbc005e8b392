"""What a client is told at its start, by `initialize` or `server/discover`: what can be asked here, and what upstreams say of themselves.

Rules:

1. What an upstream says over a connection is for those who share it (origins.py), and is asked anew after a while.
2. Of an upstream that a caller may never use, the caller is told nothing: it is not even asked.
3. An upstream that is down is described by its pinned tools. All of them are asked at the same time, and no client waits for one longer
   than `WAIT_S` (`ALONE_S` where there is no other); nor at all for one that was waited for in vain a moment ago. It goes on being started
   meanwhile, and is described by itself once it is there.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from importlib import metadata
from typing import Final, TypeVar

from msgspec import Struct

from licet.gate.gate import Gate
from licet.gate.steps import EndedAs
from licet.gateway.calling import Calling
from licet.gateway.incoming import Incoming
from licet.gateway.origins import Origins, Scope
from licet.gateway.sight import Sight
from licet.model import JsonObject

FRESH_S: Final = 300.0
"""How long what an upstream says of itself is remembered: an upstream that was replaced is described so for no longer."""
WAIT_S: Final = 5.0
"""Whoever asks for all of them does not lose the others to one that is down. Long enough for most programs to start."""
ALONE_S: Final = 20.0
"""There is nothing else to tell, and clients of the older era ask once; their own patience is 60 s."""
MISSED_S: Final = 30.0
"""How long an upstream that was waited for in vain is not waited for again."""
REMEMBERED: Final = 4_096
"""Of as many scopes."""
_CARRIED: Final = frozenset({"tools", "resources", "prompts", "completions", "logging", "experimental", "extensions"})


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Facts(Struct, frozen=True, kw_only=True):
    """What an upstream says of itself; `at` is of the monotonic clock."""

    capabilities: JsonObject
    info: JsonObject
    instructions: str | None
    at: float


class Describing:
    """Describes the gateway to its clients."""

    def __init__(self, gate: Gate, origins: Origins, calling: Calling, sight: Sight) -> None:
        self._gate = gate
        self._origins = origins
        self._calling = calling
        self._sight = sight
        self._facts: OrderedDict[tuple[str, Scope], _Facts] = OrderedDict()
        self._missed: OrderedDict[tuple[str, Scope], float] = OrderedDict()
        """When they were waited for in vain."""
        self._own: Final[JsonObject] = {"name": "licet", "title": "Licet gateway", "version": metadata.version("licet")}

    async def describe(self, incoming: Incoming) -> JsonObject:
        """`capabilities`, `serverInfo` and `instructions`."""
        names = [
            one for one in self._gate.settings.upstreams if incoming.upstream in {None, one} and self._sight.uses(incoming.acting, one)
        ]
        asked = await asyncio.gather(*[self._facts_of(name, incoming) for name in names])
        facts = {name: one for name, one in zip(names, asked, strict=True) if one is not None}
        able = [self._carried(name, one.capabilities) for name, one in facts.items()]
        described: JsonObject = {"capabilities": _capabilities(able), "serverInfo": self._own}
        if incoming.upstream in facts and facts[incoming.upstream].info:
            described["serverInfo"] = facts[incoming.upstream].info
        instructions = [(name, one.instructions) for name, one in facts.items() if one.instructions]
        if instructions:
            alone = incoming.upstream is not None
            described["instructions"] = "\n\n".join([str(text) if alone else f"{name}: {text}" for name, text in instructions])
        return described

    async def _facts_of(self, upstream: str, incoming: Incoming) -> _Facts | None:
        """None where it cannot be asked now (rule 3)."""
        key = (upstream, self._origins.scope(upstream, incoming.acting))
        known = self._facts.get(key)
        if known is not None and time.monotonic() - known.at < FRESH_S:
            return known
        try:
            async with asyncio.timeout(self._patience_s(key, alone=incoming.upstream is not None)):
                connection = await self._origins.connect(upstream, self._calling.voyage(incoming, upstream))
        except (EndedAs, TimeoutError):
            _remember(self._missed, key, time.monotonic())
            return known
        self._missed.pop(key, None)
        found = _Facts(
            capabilities=connection.capabilities, info=connection.info, instructions=connection.instructions, at=time.monotonic()
        )
        _remember(self._facts, key, found)
        return found

    def _patience_s(self, key: tuple[str, Scope], *, alone: bool) -> float:
        missed = self._missed.get(key)
        if missed is not None and time.monotonic() - missed < MISSED_S:
            return 0.0  # a connection that is there is given at once all the same
        return ALONE_S if alone else WAIT_S

    def _carried(self, upstream: str, capabilities: JsonObject) -> JsonObject:
        """Those that the gateway carries: a client is not told of methods that nobody has classified."""
        known = self._gate.registry.offered.tools
        return {
            name: value
            for name, value in capabilities.items()
            if name in _CARRIED or any(full.startswith(f"{upstream}.{name}.") for full in known)
        }


def _remember(kept: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    """The newest last, and the oldest gone where there are too many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > REMEMBERED:
        kept.popitem(last=False)


def _capabilities(found: list[JsonObject]) -> JsonObject:
    """What any of these can, and what the gateway adds: it tells when lists change, whether or not an upstream does."""
    merged: JsonObject = {}
    for capabilities in found:
        for name, value in capabilities.items():
            known = merged.get(name, {})
            merged[name] = {**known, **value} if isinstance(value, dict) and isinstance(known, dict) else value
    for name in ("tools", *({"prompts", "resources"} & set(merged))):
        own = merged.get(name)
        merged[name] = {**(own if isinstance(own, dict) else {}), "listChanged": True}
    return merged
