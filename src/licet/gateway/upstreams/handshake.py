"""Which era an upstream speaks, and what it says of itself.

Rules:

1. It is asked in the way of its client first: where both speak one era, nothing has to be translated, and a tool that can ask its client
   in one era alone can do so. Whatever is no modern answer to `server/discover` means an upstream of the legacy era, which is then greeted
   with `initialize`; an upstream that does not answer is greeted too, and its first answer of the two counts. One that refuses
   `initialize` is asked in the modern way.
2. What was found is not asked again while the upstream does not fail.
3. What an upstream is told of the client is what the client has declared, less what the gateway does not carry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib import metadata
from typing import Any, Final, Literal

from msgspec import Struct

from licet.gate.steps import EndedAs
from licet.gateway.connection import Garbage, NotSent, Refused
from licet.gateway.eras import (
    ASKED_OF_CLIENTS,
    LEGACY_VERSIONS,
    META_CAPABILITIES,
    META_CLIENT,
    META_SERVER,
    META_VERSION,
    MODERN_VERSIONS,
    PREFIX,
    Era,
)
from licet.gateway.messages import UNSUPPORTED_VERSION
from licet.model import JsonObject
from licet.names import quoted

OWN_INFO: Final[JsonObject] = {"name": "licet", "version": metadata.version("licet")}
"""What an upstream is told of a client that says nothing sound of itself, or that is one of many."""
Protocol = Literal["auto", "2026-07-28", "2025-11-25"]
Call = Callable[[str, JsonObject], Awaitable[JsonObject]]
"""Sends a request without any voyage: its result. Raises `EndedAs`."""
_TASKS: Final = f"{PREFIX}tasks"
"""An extension in which a call ends before its work does. It is not declared to upstreams: what is not seen to end cannot be recorded."""


class Agreed(Struct, frozen=True, kw_only=True):
    """What an upstream speaks, and what it says of itself."""

    era: Era
    version: str
    capabilities: JsonObject
    info: JsonObject
    instructions: str | None


def is_sound_info(info: Mapping[str, Any]) -> bool:
    """Whether this is what the protocol calls an implementation: servers refuse a client that says less of itself."""
    return isinstance(info.get("name"), str) and isinstance(info.get("version"), str)


class Declared(Struct, frozen=True, kw_only=True):
    """What an upstream is told of whoever asks it."""

    capabilities: JsonObject
    info: JsonObject


class NoHandshake(NotSent):
    """It does not speak as was expected of it: it does not answer as its era would, or ended of the question."""


class RefusedHandshake(NoHandshake):
    """It speaks, and refused this client: another may be welcome."""


class _OtherVersion(NotSent):
    """It greets with a version that is not known here, or with none."""


def carried_capabilities(declared: Mapping[str, Any], era: Era) -> JsonObject:
    """Rule 3. In the legacy era what is not known here would be asked for by requests that nobody answers."""
    known = {*ASKED_OF_CLIENTS.values(), "experimental", "extensions"}
    found = {name: value for name, value in declared.items() if (era == "modern" and name != "tasks") or name in known}
    if isinstance(extensions := found.get("extensions"), dict) and _TASKS in extensions:
        found["extensions"] = {name: value for name, value in extensions.items() if name != _TASKS}
    return found


def hop_meta(version: str, declared: Declared) -> JsonObject:
    """What every modern request says of its version and its client."""
    found: JsonObject = {META_VERSION: version, META_CAPABILITIES: carried_capabilities(declared.capabilities, "modern")}
    return found | ({META_CLIENT: declared.info} if declared.info else {})


async def shake_hands(
    call: Call, declared: Declared, *, upstream: str, protocol: Protocol, known: Era | None, probe_s: float, first: Era = "modern"
) -> Agreed:
    """What is spoken from now on; in the legacy era `notifications/initialized` is still to be sent. Raises `NotSent`."""
    try:
        if known == "legacy" or protocol in LEGACY_VERSIONS:
            return await _initialize(call, declared, upstream)
        if known == "modern" or protocol in MODERN_VERSIONS:
            return _modern_only(await _discover(call, declared, upstream), upstream)
        if first == "legacy":
            return await _greet_first(call, declared, upstream)
        return await _find_out(call, declared, upstream, probe_s)
    except NotSent:
        raise
    except EndedAs as error:
        kind = RefusedHandshake if isinstance(error, Refused) else NoHandshake
        raise kind(f"`{upstream}` did not answer its handshake: {error}") from error


async def _find_out(call: Call, declared: Declared, upstream: str, probe_s: float) -> Agreed:
    """Rule 1."""
    probe = asyncio.ensure_future(_discover(call, declared, upstream))
    greeting: asyncio.Future[Agreed] | None = None
    try:
        await asyncio.wait({probe}, timeout=probe_s)
        if probe.done() and (found := probe.result()) is not None:
            return found
        greeting = asyncio.ensure_future(_initialize(call, declared, upstream))
        if not probe.done():
            await asyncio.wait({probe, greeting}, return_when=asyncio.FIRST_COMPLETED)
            refused = greeting.done() and isinstance(greeting.exception(), Refused)
            if (probe.done() or refused) and (found := await probe) is not None:
                return found
        return await greeting
    finally:
        for task in (probe, greeting):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
                _ = task.cancelled() or task.exception()


async def _greet_first(call: Call, declared: Declared, upstream: str) -> Agreed:
    """Rule 1, for a client of the legacy era."""
    try:
        return await _initialize(call, declared, upstream)
    except (Garbage, Refused, _OtherVersion) as refused:
        found = await _discover(call, declared, upstream)
        if found is None:
            raise refused from None
        return found


async def _discover(call: Call, declared: Declared, upstream: str) -> Agreed | None:
    """What a modern upstream says of itself; None for one of the legacy era. Raises `EndedAs`."""
    version = MODERN_VERSIONS[0]
    try:
        result = await call("server/discover", {"_meta": hop_meta(version, declared)})
    except Refused as refused:
        return _from_refusal(refused, upstream)
    except Garbage:  # some answer, but no modern one: a page that says 404, for example
        return None
    versions = result.get("supportedVersions")
    if not isinstance(versions, list) or not isinstance(result.get("capabilities"), dict):
        return None
    if version not in versions:
        _check_any_known(versions, upstream)
        return None
    meta = result.get("_meta")
    return _agreed("modern", version, result, meta.get(META_SERVER) if isinstance(meta, dict) else None)


def _from_refusal(refused: Refused, upstream: str) -> Agreed | None:
    """Only a modern upstream says in this form which versions it has; any other error is one of the legacy era."""
    data = refused.error.get("data")
    if refused.error.get("code") == UNSUPPORTED_VERSION and isinstance(data, dict) and isinstance(data.get("supported"), list):
        _check_any_known(data["supported"], upstream)
    return None


def _check_any_known(versions: list[Any], upstream: str) -> None:
    if not any(version in LEGACY_VERSIONS for version in versions if isinstance(version, str)):
        spoken = ", ".join(quoted(str(version)) for version in versions[:5])
        raise NotSent(f"`{upstream}` speaks no version of the protocol that is known here: {spoken}")


def _modern_only(found: Agreed | None, upstream: str) -> Agreed:
    if found is None:
        raise NoHandshake(f"`{upstream}` does not speak {MODERN_VERSIONS[0]}: set `protocol` to what it speaks, or leave it out")
    return found


async def _initialize(call: Call, declared: Declared, upstream: str) -> Agreed:
    params: JsonObject = {
        "protocolVersion": LEGACY_VERSIONS[0],
        "capabilities": carried_capabilities(declared.capabilities, "legacy"),
        "clientInfo": declared.info,
    }
    result = await call("initialize", params)
    version = result.get("protocolVersion")
    if version not in LEGACY_VERSIONS:
        raise _OtherVersion(f"`{upstream}` speaks no version of the protocol that is known here: {quoted(str(version))}")
    return _agreed("legacy", version, result, result.get("serverInfo"))


def _agreed(era: Era, version: str, result: JsonObject, info: object) -> Agreed:
    capabilities, instructions = result.get("capabilities"), result.get("instructions")
    return Agreed(
        era=era,
        version=version,
        capabilities=capabilities if isinstance(capabilities, dict) else {},
        info=info if isinstance(info, dict) else {},
        instructions=instructions if isinstance(instructions, str) else None,
    )
