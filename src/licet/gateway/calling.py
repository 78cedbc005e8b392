"""A request that an upstream executes, as a governed call: the one way by which anything reaches an upstream in a caller's name.

Rules:

1. The gate decides, holds, executes and records. Nothing here does.
2. What travels beside the arguments (`Voyage`) is of one call, and nobody decides on it, records it or approves it. So nothing of the
   client's travels there that could change what is done, unless licet.toml names it: a parameter that is not known here is an argument.
3. The agent's own reason is a claim: taken out of the arguments, recorded, and not passed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from msgspec.structs import replace

from licet.catalog.upstream import EXTRA, method_name
from licet.gate.acting import Acting
from licet.gate.gate import Gate
from licet.gate.results import Held, Result
from licet.gate.text import readable
from licet.gateway.answers import answer_of
from licet.gateway.eras import META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_PROGRESS, META_SUBSCRIPTION, META_VERSION
from licet.gateway.incoming import Incoming
from licet.gateway.link import VOYAGE, Voyage
from licet.gateway.messages import INVALID_PARAMS, RpcError
from licet.gateway.tracing import trace_of
from licet.model import JsonObject

REASON: Final = "licet_reason"
"""The argument in which an agent says why it calls, where `require_reason` asks for it."""
META_REASON: Final = "dev.licet/reason"
"""The same in `_meta`, for methods that have no arguments of a model's making."""
REASON_LIMIT: Final = 2_000
"""Characters. It is read by whoever approves the call."""
_OF_A_HOP: Final = frozenset({META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_PROGRESS, META_SUBSCRIPTION, META_VERSION})
_OF_A_TRACE: Final = frozenset({"traceparent", "tracestate", "baggage"})
_NEVER: Final = _OF_A_HOP | _OF_A_TRACE
_PARAMETERS: Final = frozenset({"name", "arguments", "_meta", "inputResponses", "requestState"})
"""What a `tools/call` has; the last two are the door's."""

Again = Callable[[float], Awaitable[Result]]


class Settles(Protocol):
    """What is done about a call that is held."""

    async def settle(self, held: Held, incoming: Incoming, again: Again) -> tuple[Result, str | None]:
        """The end of it, as far as this request can wait for one, and what a client is told of a call that still waits."""
        ...


class Calling:
    """Makes governed calls for clients. `forwarded` says which headers of a request each upstream is told."""

    def __init__(self, gate: Gate, settles: Settles) -> None:
        self._gate = gate
        self._settles = settles
        self._forwarded = {name: tuple(map(str.lower, one.forward_headers)) for name, one in gate.settings.upstreams.items()}

    async def call_tool(self, incoming: Incoming, upstream: str, full: str, arguments: object) -> JsonObject:
        """The result of `tools/call` for this client. Raises `RpcError`."""
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "`arguments` is an object")
        reason: Any = None
        if REASON in arguments and not self._has_own_reason(full):
            arguments = dict(arguments)
            reason = arguments.pop(REASON)
        if EXTRA in arguments:
            raise RpcError(INVALID_PARAMS, f"the argument `{EXTRA}` is reserved")
        extra = {name: value for name, value in incoming.params.items() if name not in _PARAMETERS}
        return await self._call(incoming, upstream, full, {**arguments, EXTRA: extra} if extra else arguments, reason)

    async def call_method(self, incoming: Incoming, upstream: str, arguments: JsonObject) -> JsonObject:
        """The result of another method of one upstream, with its parameters as arguments. Raises `RpcError`."""
        return await self._call(incoming, upstream, method_name(upstream, incoming.method), arguments, None)

    def voyage(self, incoming: Incoming, upstream: str, passed: JsonObject | None = None) -> Voyage:
        """What travels with a request of this client to this upstream; `passed` is what the upstream is told of its trace."""
        acting, meta = incoming.acting, incoming.meta
        kept = {name: value for name, value in meta.items() if self._is_passed(upstream, name)} if meta else {}
        level = meta.get(META_LOG_LEVEL) if incoming.is_modern else incoming.session.log_level
        headers = incoming.headers
        return Voyage(
            link=incoming.link,
            tenant=acting.tenant or "",
            agent=acting.agent,
            service=acting.service,
            user=acting.user,
            session=acting.session,
            meta=kept | passed if passed else kept,
            wants_progress=META_PROGRESS in meta,
            log_level=level if isinstance(level, str) else None,
            headers={name: headers[name] for name in self._forwarded.get(upstream, ()) if name in headers},
        )

    async def _call(self, incoming: Incoming, upstream: str, full: str, arguments: JsonObject, reason: object) -> JsonObject:
        trace, passed = trace_of(incoming)
        said_why = _checked_reason(incoming.meta.get(META_REASON) if reason is None else reason)
        acting: Acting = replace(incoming.acting, trace=trace, reason=incoming.acting.reason if said_why is None else said_why)
        token = VOYAGE.set(self.voyage(incoming, upstream, passed))
        try:
            result = await self._gate.acall(full, arguments, acting=acting)
            said: str | None = None
            if isinstance(result, Held):
                result, said = await self._settles.settle(
                    result, incoming, lambda wait_s: self._gate.acall(full, arguments, acting=acting, wait=wait_s)
                )
            return answer_of(result, incoming, held=said)
        finally:
            VOYAGE.reset(token)

    def _is_passed(self, upstream: str, name: str) -> bool:
        """Whether licet.toml says that this key of `_meta` is passed on."""
        settings = self._gate.settings.upstreams.get(upstream)
        return (
            settings is not None
            and name not in _NEVER
            and any(name == one or (one.endswith("/") and name.startswith(one)) for one in settings.forward_meta)
        )

    def _has_own_reason(self, full: str) -> bool:
        """Whether the tool itself has an argument of that name: then it is the tool's."""
        spec = self._gate.scene.catalog.find_tool(full)
        return spec is not None and REASON in spec.input_schema.get("properties", {})


def _checked_reason(reason: object) -> str | None:
    """What an agent says why it calls, as it may be recorded. Raises `RpcError`."""
    if reason is None:
        return None
    if not isinstance(reason, str) or len(reason) > REASON_LIMIT:
        raise RpcError(INVALID_PARAMS, f"a reason (`{REASON}`, or `{META_REASON}` in `_meta`) is text of at most {REASON_LIMIT} characters")
    return readable(reason)
