"""Requests of modern clients over HTTP (2026-07-28): each is answered by itself, on a stream of its own, and ends with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from licet.catalog.upstream import CALL, tool_name
from licet.gate.gate import Gate
from licet.gateway.client_facts import modern_client
from licet.gateway.client_link import ModernRequest
from licet.gateway.client_sse import KEEP_ALIVE_S, Reply, Stream
from licet.gateway.eras import META_LOG_LEVEL, META_VERSION, VERSIONS
from licet.gateway.header_rules import VERSION, Mirrored, check_headers, check_params, mirrored, mismatch
from licet.gateway.link import ClientFacts
from licet.gateway.messages import INVALID_PARAMS, INVALID_REQUEST, UNSUPPORTED_VERSION, RpcError
from licet.gateway.requested import Answers, Requested, outcome, scope_wanting
from licet.gateway.session_state import SessionState
from licet.gateway.sight import Sight
from licet.gateway.watch import Watch
from licet.model import JsonObject

DEFINITIONS: Final = 10_000
"""Tools whose mirrored arguments are remembered."""


class ModernDoor:
    """Answers modern clients."""

    def __init__(self, gate: Gate, gateway: Answers) -> None:
        self._gate = gate
        self._gateway = gateway
        self._sight = Sight(gate)
        self._mirrored: dict[str, tuple[JsonObject, Mirrored]] = {}

    async def post(self, asked: Requested, message: JsonObject) -> None:
        """Answer one message. Raises `RpcError` for one that is malformed, before anything was done."""
        visit = asked.visit
        if "method" not in message:
            raise RpcError(INVALID_REQUEST, "a client of this version sends no answers: they go into `inputResponses`", http_status=400)
        meta = message.get("params", {}).get("_meta") or {}
        if "id" not in message:
            _check_notification(visit.headers, meta)
            await visit.answer(202)
            return
        check_headers(visit.headers, visit.twice, message, _version(meta))
        client = _client(meta)
        if message["method"] == CALL:
            self._check_params(asked, message)
        await self._request(asked, message, client, meta)

    async def _request(self, asked: Requested, message: JsonObject, client: ClientFacts, meta: JsonObject) -> None:
        number = message["id"]
        reply = Reply(asked.visit, Stream)
        link = ModernRequest(client, message, reply)
        level = meta.get(META_LOG_LEVEL)
        incoming = asked.incoming(message, link, SessionState(log_level=level if isinstance(level, str) else None))
        wanting = scope_wanting(self._gate, asked, incoming)
        if wanting is not None:
            await asked.refuse(wanting[0], number, wanting[1])
            return
        watch = Watch(asked.visit, ends_with_peer=True, long_s=KEEP_ALIVE_S, long_after=reply.open)
        try:
            answer, status = await outcome(watch, number, lambda: self._gateway.answer(incoming))
        except BaseException:
            reply.stop()  # whoever has left, or is not who they were, is told nothing more
            raise
        finally:
            link.end()
        await reply.finish(answer, status=status)

    def _check_params(self, asked: Requested, message: JsonObject) -> None:
        """Rule 2 of `header_rules.py`, by the definition that clients are shown."""
        params, upstream = message["params"], asked.visit.upstream
        full = params["name"] if upstream is None else tool_name(upstream, params["name"])
        tool = self._gate.registry.offered.tools.get(full)
        if tool is None or tool.pin is None:
            return
        definition = tool.pin.definition
        known = self._mirrored.get(full)
        if known is None or known[0] is not definition:
            if len(self._mirrored) >= DEFINITIONS:
                self._mirrored.clear()
            known = self._mirrored[full] = (definition, mirrored(definition.get("inputSchema", {})))
        if known[1] and self._sight.could(asked.acting, tool.spec):  # else it is as one that there is not, and nothing of it is told
            arguments: Any = params.get("arguments")
            check_params(asked.visit.headers, asked.visit.twice, known[1], arguments if isinstance(arguments, dict) else {})


def unsupported(version: str) -> RpcError:
    """The refusal of a version that nobody here speaks (`UnsupportedProtocolVersionError`)."""
    data = {"supported": list(VERSIONS), "requested": version}
    return RpcError(UNSUPPORTED_VERSION, "this version of the protocol is not spoken here", data=data, http_status=400)


def _version(meta: JsonObject) -> str:
    version = meta.get(META_VERSION)
    if not isinstance(version, str):
        raise RpcError(INVALID_PARAMS, f"`_meta` must say `{META_VERSION}`", http_status=400)
    return version


def _client(meta: JsonObject) -> ClientFacts:
    try:
        client = modern_client(meta)
    except RpcError as error:
        error.http_status = 400
        raise
    assert client is not None
    return client


def _check_notification(headers: Mapping[str, str], meta: JsonObject) -> None:
    """The specification leaves open which headers a notification has; those that it has are not contradicted."""
    if META_VERSION in meta and VERSION in headers and headers[VERSION] != meta[META_VERSION]:
        raise mismatch(f"the header `{VERSION}` does not say what the body says")
