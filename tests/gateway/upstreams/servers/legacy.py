"""A server of 2025-11-25: a handshake, a session, and requests to the client."""

from __future__ import annotations

import os

from tests.gateway.upstreams.servers.peer import Failure, Json, Peer, Request, Silent
from tests.gateway.upstreams.servers.tools import LEVELS, Tool, call, listed, text

CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
    "x-future": {"kept": True},
}


def ask_user(request: Request, arguments: Json) -> Json:
    """Asks the user, and says what came back."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    params = {"message": arguments.get("message", "Your name?"), "requestedSchema": schema}
    answer = request.peer.ask("elicitation/create", params)
    return text("asked", structuredContent={"answer": {name: value for name, value in answer.items() if name not in {"jsonrpc", "id"}}})


def ask_model(request: Request, _arguments: Json) -> Json:
    """Asks the client's model."""
    messages = [{"role": "user", "content": {"type": "text", "text": "The capital of France?"}}]
    answer = request.peer.ask("sampling/createMessage", {"messages": messages, "maxTokens": 10})
    return text("asked", structuredContent={"answer": {name: value for name, value in answer.items() if name not in {"jsonrpc", "id"}}})


def roots(request: Request, _arguments: Json) -> Json:
    """Asks for the client's roots."""
    answer = request.peer.ask("roots/list", {})
    return text("asked", structuredContent={"answer": {name: value for name, value in answer.items() if name not in {"jsonrpc", "id"}}})


def ask_other(request: Request, arguments: Json) -> Json:
    """Asks what no client can be asked (`method`)."""
    answer = request.peer.ask(arguments.get("method", "tools/list"), {})
    return text("asked", structuredContent={"answer": {name: value for name, value in answer.items() if name not in {"jsonrpc", "id"}}})


def touch(request: Request, arguments: Json) -> Json:
    """Says that a resource has changed, to whoever has subscribed."""
    uri = arguments.get("uri", "memo://one")
    if uri in getattr(request.peer, "subscribed", ()):
        request.peer.notify("notifications/resources/updated", {"uri": uri})
    return text("touched")


MORE: dict[str, Tool] = {one.__name__: one for one in (ask_user, ask_model, roots, ask_other, touch)}


class Legacy(Peer):
    """It answers nothing before its handshake but `ping`. `probe-silent` does not answer `server/discover`, `probe-exits` dies of it."""

    level: str | None = None
    client: Json | None = None
    page: int | None = None

    def handle(self, request: Request) -> Json:
        self.subscribed: set[str] = getattr(self, "subscribed", set())
        if request.method == "initialize":
            return self._initialize(request)
        if request.method == "ping":
            return {}
        if self.client is None:
            if "probe-exits" in self.modes:
                os._exit(1)
            if "probe-silent" in self.modes:
                raise Silent
            raise Failure(-32_600, "not initialized")
        return self._in_session(request)

    def _initialize(self, request: Request) -> Json:
        if "never-initializes" in self.modes:
            raise Silent
        if "refuses" in self.modes or ("refuses-sampling" in self.modes and "sampling" in request.params["capabilities"]):
            raise Failure(-32_000, "go away")
        self.client = request.params
        asked = request.params["protocolVersion"]
        version = "1999-01-01" if "odd-version" in self.modes else "2025-06-18" if "older" in self.modes else asked
        info = {"name": "legacy-fake", "version": "1.0", "x-title": "kept"}
        return {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": info, "instructions": "Use with care."}

    def _in_session(self, request: Request) -> Json:
        if request.method == "tools/call":
            return call(request, MORE)
        if request.method == "logging/setLevel":
            if request.params.get("level") not in LEVELS:
                raise Failure(-32_602, "no such level")
            self.level = request.params["level"]
            return {}
        if request.method in {"resources/subscribe", "resources/unsubscribe"}:
            (self.subscribed.add if request.method.endswith("/subscribe") else self.subscribed.discard)(request.params["uri"])
            return {}
        if (found := listed(request, MORE, self.page)) is not None:
            return found
        raise Failure(-32_601, f"Method not found: {request.method}")
