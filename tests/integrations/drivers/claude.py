"""Claude Agent SDK: the bundled command line, before a server on loopback that answers as the model's would, by a script."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, ToolResultBlock, UserMessage, create_sdk_mcp_server, query, tool

from licet import Gate
from licet.gate.acting import ActingBlock
from tests.integrations import driving
from tests.integrations.driving import Ended, Setting, Turn, Way

NO_PAUSE = "a call that waits is refused with its request's id, and the same call again goes on; the adapter pauses no run"


class Scripted(BaseHTTPRequestHandler):
    """Answers `POST /v1/messages` with the turn after those that are in the conversation."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[Sequence[Turn]] = ()
    server_name: ClassVar[str] = "shop"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "count_tokens" in self.path:
            self._send("application/json", json.dumps({"input_tokens": 1}).encode())
            return
        turns = sum(message["role"] == "assistant" for message in asked["messages"])
        turn = self.script[turns] if asked.get("tools") else "a title"
        self._send(
            "text/event-stream",
            "".join(
                f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in _events(asked["model"], turn, self.server_name)
            ).encode(),
        )

    def do_GET(self) -> None:
        self._send("application/json", b"{}")

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is told."""


def _events(model: str, turn: Turn, server: str) -> list[dict[str, Any]]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "usage": usage,
    }
    found: list[dict[str, Any]] = [{"type": "message_start", "message": message | {"stop_sequence": None}}]
    parts: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if isinstance(turn, str):
        parts.append(({"type": "text", "text": ""}, {"type": "text_delta", "text": turn}))
    else:
        for ask in turn:
            block = {
                "type": "tool_use",
                "id": ask.id,
                "name": ask.tool if ask.tool[0].isupper() else f"mcp__{server}__{ask.tool}",
                "input": {},
            }
            parts.append((block, {"type": "input_json_delta", "partial_json": json.dumps(dict(ask.arguments))}))
    for index, (block, delta) in enumerate(parts):
        found.append({"type": "content_block_start", "index": index, "content_block": block})
        found.append({"type": "content_block_delta", "index": index, "delta": delta})
        found.append({"type": "content_block_stop", "index": index})
    stop = "end_turn" if isinstance(turn, str) else "tool_use"
    return [
        *found,
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


@contextmanager
def model(script: Sequence[Turn], server: str = "shop") -> Iterator[dict[str, str]]:
    """A model that follows a script; the environment in which the command line finds it, and nothing else."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Scripted,), {"script": script, "server_name": server}))
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        quiet = dict.fromkeys(
            ("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "DISABLE_ERROR_REPORTING", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), "1"
        )
        url = f"http://127.0.0.1:{listening.server_address[1]}"
        yield {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "none", "HOME": home, "CLAUDE_CONFIG_DIR": home, **quiet}
    listening.shutdown()
    listening.server_close()


class Agent(driving.Agent):
    """Options, and the script that the model follows."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        users: dict[str, str | None] = {}
        caller = None if setting.user is None else _caller(setting.gate, users)
        session = str(uuid.uuid4())
        users[session] = setting.user
        shop = create_sdk_mcp_server("shop", tools=_tools(setting))
        governed = setting.gate.claude(caller=caller, mcp_servers={"shop": shop}, session_id=session)
        self.options = ClaudeAgentOptions(**governed)

    def run(self, way: Way = "async") -> Ended:
        return asyncio.run(self.work())

    def resume(self, way: Way = "async") -> Ended:
        raise NotImplementedError

    def saved(self) -> bytes:
        raise NotImplementedError

    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def cancel_when(self, started: threading.Event) -> None:
        raise NotImplementedError

    async def work(self) -> Ended:
        told: dict[str, str] = {}
        said = None
        with model(self._setting.script) as environ:
            self.options.env = environ
            self.options.cwd = environ["HOME"]
            async for message in query(prompt="go on", options=self.options):
                if isinstance(message, UserMessage) and isinstance(message.content, list):
                    told |= {one.tool_use_id: _text(one.content) for one in message.content if isinstance(one, ToolResultBlock)}
                if isinstance(message, ResultMessage):
                    said = message.result
        return Ended(told, said=said)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else " ".join(str(one.get("text", one)) for one in content or ())


def _tools(setting: Setting) -> list[Any]:
    found = [_tool(function) for function in setting.functions]
    for name, other in (("ask_helper", setting.helper), ("hand_over", setting.successor)):
        if other is not None:
            found.append(_behind(name, other))
    return found


def _tool(function: Callable[..., Any]) -> Any:
    """A function as the framework's users make it a tool."""
    from pydantic import TypeAdapter  # noqa: PLC0415

    adapter: TypeAdapter[Any] = TypeAdapter(function)  # type: ignore[arg-type]
    schema = adapter.json_schema()

    async def run(arguments: dict[str, Any]) -> dict[str, Any]:
        found = function(**arguments)
        return {"content": [{"type": "text", "text": str(await found if asyncio.iscoroutine(found) else found)}]}

    return tool(function.__name__, function.__doc__ or "", schema)(run)


def _behind(name: str, other: Setting) -> Any:
    """Another agent behind a tool, with a command line of its own."""

    async def run(_: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": str((await Agent(other).work()).said)}]}

    return tool(name, "Another agent.", {"text": str} if name == "ask_helper" else {})(run)


def _caller(gate: Gate, users: Mapping[str, str | None]) -> Callable[[Any], ActingBlock | None]:
    return lambda hook: gate.acting(agent="shop-bot", user=users[hook["session_id"]])


class Driver(driving.Driver):
    name = "claude"
    package = "claude-agent-sdk"
    hooks = ("Governance.before", "Governance.after")
    within = ("apropose", "areport")
    cannot: ClassVar = {
        "hold and resume": NO_PAUSE,
        "hold, rejected": NO_PAUSE,
        "parallel batch with a hold": NO_PAUSE,
        "resume twice": NO_PAUSE,
        "resume in another process": NO_PAUSE,
        "arguments changed after approval": NO_PAUSE,
        "retries": "the command line never runs a call again by itself; a new call of the model's is decided as one of its own",
        "call ids that repeat": "a call is known by its id in its session, and the real ids are unique: one that comes twice there is refused",
        "cancellation": "the command line is stopped, and nobody reports the end: it is recorded as unknown when the time for the report is over",
        "governed functions as tools": "a tool takes one dictionary: give it a function of its own, and classify the tool",
        "hosted tools": "every tool that the command line uses passes through the hook; options that could lead past it are refused",
    }

    def agent(self, setting: Setting) -> Agent:
        return Agent(setting)

    def look_at(self, agent: driving.Agent) -> Any:
        assert isinstance(agent, Agent)
        return agent.options

    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        return trace_id is not None and len(trace_id) == 36 and span_id == call
