"""A server of 2026-07-28: no handshake, every request by itself, questions in results."""

from __future__ import annotations

from tests.gateway.upstreams.servers.peer import Failure, Json, Peer, Request, Silent
from tests.gateway.upstreams.servers.tools import Tool, call, listed, text

PREFIX = "io.modelcontextprotocol/"
VERSION = "2026-07-28"
CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}


def _needs(request: Request, requests: Json, state: str) -> Json:
    missing: Json = {
        need: {}
        for one in requests.values()
        if (need := one["method"].partition("/")[0]) not in request.meta.get(f"{PREFIX}clientCapabilities", {})
    }
    if missing:
        raise Failure(-32_021, "the client cannot be asked", {"requiredCapabilities": missing})
    return {"resultType": "input_required", "inputRequests": requests, "requestState": state}


def ask_user(request: Request, arguments: Json) -> Json:
    """Asks the user `rounds` times (once), and says what came back. The state that comes back must be the one that was given."""
    given = request.params.get("requestState", "0:")
    count, _, answers = given.partition(":")
    responses = request.params.get("inputResponses", {})
    if count != "0":
        if "who" not in responses:
            raise Failure(-32_602, "the answer is missing")
        answers += f"{responses['who'].get('action')}={responses['who'].get('content', {}).get('name')};"
    if int(count) < arguments.get("rounds", 1):
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        asked = {"mode": "form", "message": arguments.get("message", "Your name?"), "requestedSchema": schema}
        return _needs(request, {"who": {"method": "elicitation/create", "params": asked}}, f"{int(count) + 1}:{answers}")
    return text("asked", structuredContent={"answer": answers})


def ask_model(request: Request, _arguments: Json) -> Json:
    """Asks the client's model and its roots at once."""
    if "requestState" in request.params:
        return text("asked", structuredContent={"answer": request.params.get("inputResponses")})
    messages = [{"role": "user", "content": {"type": "text", "text": "The capital of France?"}}]
    asked = {"m": {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 10}}, "r": {"method": "roots/list"}}
    return _needs(request, asked, "once")


def later(request: Request, arguments: Json) -> Json:
    """Wants to be called again, `times` times, and asks nothing."""
    done = int(request.params.get("requestState", "0"))
    if done < arguments.get("times", 2):
        return {"resultType": "input_required", "requestState": str(done + 1)}
    return text(f"after {done}")


def ask_wrongly(request: Request, _arguments: Json) -> Json:
    """Sends a request to the client, which a modern server must not."""
    answer = request.peer.ask("elicitation/create", {"message": "Your name?"})
    return text("asked", structuredContent={"answer": {name: value for name, value in answer.items() if name not in {"jsonrpc", "id"}}})


def touch(request: Request, arguments: Json) -> Json:
    """Says that a resource has changed, on every subscription."""
    for number in list(getattr(request.peer, "listening", {})):
        meta = {f"{PREFIX}subscriptionId": number}
        request.peer.notify("notifications/resources/updated", {"uri": arguments.get("uri", "memo://one"), "_meta": meta})
    return text("touched")


MORE: dict[str, Tool] = {one.__name__: one for one in (ask_user, ask_model, later, ask_wrongly, touch)}
CACHEABLE = {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}


class Modern(Peer):
    """It refuses a request without its `_meta`. `ends-subscriptions` answers `subscriptions/listen` at once."""

    page: int | None = None

    def handle(self, request: Request) -> Json:
        self.listening: dict[object, Request] = getattr(self, "listening", {})
        if request.method == "initialize":
            raise Failure(-32_602, "this server speaks 2026-07-28 only", {"supported": [VERSION]})
        version = request.meta.get(f"{PREFIX}protocolVersion")
        if version is None or not isinstance(request.meta.get(f"{PREFIX}clientCapabilities"), dict):
            raise Failure(-32_602, "`_meta` says neither version nor capabilities")
        if version != VERSION or "odd-version" in self.modes:
            supported = ["2099-01-01"] if "odd-version" in self.modes else [VERSION]
            raise Failure(-32_022, "Unsupported protocol version", {"supported": supported, "requested": version})
        result = self._result(request)
        cached = {"ttlMs": 1_000, "cacheScope": "private"} if request.method in CACHEABLE else {}
        named = result.get("_meta", {}) | {f"{PREFIX}serverInfo": {"name": "modern-fake", "version": "1.0"}}
        return {"resultType": "complete"} | cached | result | {"_meta": named}

    def _result(self, request: Request) -> Json:
        if request.method == "server/discover":
            return {"supportedVersions": [VERSION], "capabilities": CAPABILITIES, "instructions": "Use with care."}
        if request.method == "tools/call":
            return call(request, MORE)
        if request.method == "subscriptions/listen":
            return self._listen(request)
        if (found := listed(request, MORE, self.page)) is not None:
            return found
        raise Failure(-32_601, f"Method not found: {request.method}")

    def _listen(self, request: Request) -> Json:
        meta = {f"{PREFIX}subscriptionId": request.id}
        self.listening[request.id] = request
        self.notify("notifications/subscriptions/acknowledged", {"_meta": meta, "notifications": request.params.get("notifications", {})})
        if "ends-subscriptions" not in self.modes:
            request.cancelled.wait()
            del self.listening[request.id]
            raise Silent
        del self.listening[request.id]
        return {"_meta": meta}
