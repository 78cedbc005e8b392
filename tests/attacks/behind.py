"""An MCP server over HTTP in the hands of an attacker or a test: it keeps every call that reached it, and answers as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from licet.model import JsonObject

_ID = {"type": "string", "maxLength": 100}
TOOLS: list[JsonObject] = [
    {"name": "get", "description": "Find.", "inputSchema": {"type": "object", "properties": {"id": _ID}, "required": ["id"]}},
    {
        "name": "set",
        "description": "Change.",
        "inputSchema": {"type": "object", "properties": {"id": _ID, "amount": {"type": "integer"}}, "required": ["id", "amount"]},
    },
    {"name": "wipe", "description": "Permitted to nobody.", "inputSchema": {"type": "object", "properties": {"id": _ID}}},
]
DONE: JsonObject = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
RESOURCES = ("memo://open", "memo://closed", "memo://bot/1")
Answering = Callable[["Asked"], "JsonObject | None"]


class Asked:
    """One request, and the connection that it came by."""

    def __init__(self, handler: BaseHTTPRequestHandler, message: JsonObject) -> None:
        self.handler = handler
        self.message = message
        self.headers = {name.lower(): value for name, value in handler.headers.items()}

    @property
    def params(self) -> JsonObject:
        found: JsonObject = self.message.get("params", {})
        return found

    def send(self, content: bytes, *headers: tuple[str, str], status: int = 200, kind: str = "application/json") -> None:
        """A whole answer."""
        self.handler.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), *headers):
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(content)

    def answer(self, result: JsonObject) -> None:
        """A result of JSON-RPC."""
        self.send(json.dumps({"jsonrpc": "2.0", "id": self.message["id"], "result": result}).encode())

    def begin(self) -> None:
        """A stream of events."""
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", "text/event-stream")
        self.handler.send_header("Connection", "close")
        self.handler.end_headers()
        self.handler.close_connection = True

    def event(self, message: JsonObject) -> None:
        """One event of it."""
        self.handler.wfile.write(b"data: " + json.dumps(message).encode() + b"\n\n")
        self.handler.wfile.flush()


class Behind:
    """The server. `answering` is asked about every `tools/call`; where it returns None it has answered, or hung up, itself."""

    def __init__(self) -> None:
        self.tools = [dict(one) for one in TOOLS]
        self.calls: list[JsonObject] = []
        self.others: list[JsonObject] = []
        self.reached = threading.Semaphore(0)
        self.answering: Answering = lambda _: DONE
        self.methods: dict[str, Answering] = {}
        self.over = threading.Event()
        self.listening: list[Asked] = []
        behind = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                with suppress(ConnectionError):
                    behind._serve(self)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def ids(self) -> list[str]:
        """The argument `id` of every call that reached it."""
        return [str(one["arguments"].get("id")) for one in self.calls]

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        message = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        asked = Asked(handler, message)
        if "id" not in message:
            asked.send(b"", status=202)
            return
        method = message["method"]
        if method == "tools/call":
            self.calls.append({**message["params"], "headers": asked.headers})
            self.reached.release()
            result = self.answering(asked)
        else:
            self.others.append(message)
            result = self.methods.get(method, self._listed)(asked)
        if result is not None:
            asked.answer(result)

    def _listed(self, asked: Asked) -> JsonObject | None:
        method = asked.message["method"]
        if method == "subscriptions/listen":
            self._listen(asked)
            return None
        answers: dict[str, JsonObject] = {
            "server/discover": {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "resources": {"subscribe": True}, "prompts": {}, "completions": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "behind", "version": "1"}},
            },
            "tools/list": {"tools": self.tools},
            "resources/list": {"resources": [{"uri": uri, "name": uri} for uri in RESOURCES]},
            "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "memo://bot/{n}", "name": "n"}]},
            "resources/read": {"contents": [{"uri": asked.params.get("uri"), "text": "read"}]},
            "prompts/list": {"prompts": [{"name": "greet"}, {"name": "hidden"}]},
            "prompts/get": {"messages": []},
            "completion/complete": {"completion": {"values": ["one"]}},
        }
        if method in answers:
            return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} | answers[method]
        error = {"code": -32_601, "message": "no such method"}
        asked.send(json.dumps({"jsonrpc": "2.0", "id": asked.message["id"], "error": error}).encode())
        return None

    def _listen(self, asked: Asked) -> None:
        asked.begin()
        meta = {"io.modelcontextprotocol/subscriptionId": asked.message["id"]}
        asked.event(
            {
                "jsonrpc": "2.0",
                "method": "notifications/subscriptions/acknowledged",
                "params": {"_meta": meta, "notifications": asked.params.get("notifications", {})},
            }
        )
        self.listening.append(asked)
        self.over.wait()


@contextmanager
def behind() -> Iterator[Behind]:
    """A server, closed at the end."""
    made = Behind()
    try:
        yield made
    finally:
        made.close()


def closing(_: Any) -> None:
    """For `answering`: the connection ends without an answer."""
