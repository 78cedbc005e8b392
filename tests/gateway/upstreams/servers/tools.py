"""What the scripted servers offer, in both eras: tools that behave, tools that do not, resources and prompts."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.gateway.upstreams.servers.peer import Failure, Json, Request, Silent, spawn

_ANY: Json = {"type": "object"}
_TEXT: Json = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
_SUM: Json = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}


def _input(**kinds: str) -> Json:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}


INPUTS: dict[str, Json] = {
    "echo": _TEXT,
    "add": _SUM,
    "slow": _input(steps="integer", seconds="number"),
    "refuse": _input(code="integer"),
    "late": _input(seconds="number"),
    "never": _input(which="integer"),
    "die": _input(seconds="number"),
    "nonsense": _input(what="string"),
    "huge": _input(bytes="integer", where="string"),
    "fork": _input(pidfile="string") | {"required": ["pidfile"]},
    "flood": _input(bytes="integer"),
    "chatter": _input(count="integer"),
    "log": _input(text="string"),
    "ask_user": _input(message="string", rounds="integer"),
    "ask_other": _input(method="string"),
    "later": _input(times="integer"),
    "touch": _input(uri="string"),
}
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def text(words: str, **more: object) -> Json:
    return {"content": [{"type": "text", "text": words}], **more}


def journal(name: str, arguments: Json) -> None:
    """Every call leaves a line in the file `FAKE_JOURNAL`, before anything else happens."""
    if (path := os.environ.get("FAKE_JOURNAL")) is not None:
        with Path(path).open("a") as file:
            file.write(json.dumps({"name": name, "arguments": arguments}) + "\n")


def echo(request: Request, arguments: Json) -> Json:
    kept = {"content": [{"type": "text", "text": arguments["text"], "x-part": 1}], "x-extra": {"kept": True}}
    return kept | {"structuredContent": {"arguments": arguments, "meta": request.meta}}


def add(_request: Request, arguments: Json) -> Json:
    total = arguments["a"] + arguments["b"]
    return text(str(total), structuredContent={"sum": total})


def slow(request: Request, arguments: Json) -> Json:
    """`steps` times `seconds` (0.05), progress told after each; ends early where it is cancelled, and says so in the journal."""
    steps = arguments.get("steps", 3)
    for step in range(1, steps + 1):
        if request.cancelled.wait(arguments.get("seconds", 0.05)):
            journal("cancelled", arguments)
            raise Silent
        request.progress(step, steps, f"step {step}")
    return text("slowly done")


def fail(_request: Request, _arguments: Json) -> Json:
    return text("it failed", isError=True)


def refuse(_request: Request, arguments: Json) -> Json:
    raise Failure(arguments.get("code", -32_000), "refused by the tool", {"why": "it does"})


def never(request: Request, arguments: Json) -> Json:
    request.cancelled.wait()
    journal("cancelled", arguments)
    raise Silent


def die(_request: Request, arguments: Json) -> Json:
    time.sleep(arguments.get("seconds", 0))
    os._exit(3)


def garbage(request: Request, _arguments: Json) -> Json:
    for line in ("garbage", '{"jsonrpc": "2.0"', "[]", "42", '{"jsonrpc": "1.0", "id": 1, "result": {}}', '{"jsonrpc": "2.0"}', ""):
        request.peer.write_raw(line)
    return text("after garbage")


def twice(request: Request, _arguments: Json) -> Json:
    request.answer(text("first"))
    return text("second")


def late(request: Request, arguments: Json) -> Json:
    """Answers after `seconds` (0.1), whether or not anybody still waits."""
    time.sleep(arguments.get("seconds", 0.1))
    request.answer(text("too late"))
    journal("answered", arguments)
    raise Silent


def stray(request: Request, _arguments: Json) -> Json:
    request.peer.write({"jsonrpc": "2.0", "id": 987_654, "result": text("nobody asked")})
    request.peer.write({"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "nobody asked"}})
    request.peer.notify("notifications/progress", {"progressToken": "nobody's", "progress": 1})
    return text("after strays")


def nonsense(request: Request, arguments: Json) -> Json:
    """An answer that is none: `what` says which."""
    answers: dict[str, Json] = {
        "text": {"result": "no object"},
        "both": {"result": {}, "error": {"code": 1, "message": "m"}},
        "neither": {},
        "error": {"error": "no object"},
    }
    request.peer.write({"jsonrpc": "2.0", "id": request.id} | answers[arguments["what"]])
    raise Silent


def huge(request: Request, arguments: Json) -> Json:
    """An answer of `bytes` (100 MB), written piece by piece; the id stands first, last or in the middle (`where`)."""
    head, tail = {
        "first": (f'{{"jsonrpc":"2.0","id":{request.id},"result":{{"content":[],"x":"', '"}}'),
        "last": ('{"result":{"content":[],"x":"', f'"}},"jsonrpc":"2.0","id":{request.id}}}'),
        "middle": (f'{{"jsonrpc":"2.0","a":{{}},"id":{request.id},"result":{{"content":[],"x":"', '"},"z":1}'),
    }[arguments.get("where", "first")]
    piece = "y" * 1_000_000
    request.peer.write_raw(head + piece * (arguments.get("bytes", 100_000_000) // len(piece)) + tail)
    raise Silent


def fork(_request: Request, arguments: Json) -> Json:
    spawn(arguments["pidfile"])
    return text("forked")


def flood(_request: Request, arguments: Json) -> Json:
    """`bytes` (20 MB) to stderr, in lines and in one that is very long."""
    total = arguments.get("bytes", 20_000_000)
    for _ in range(total // 200_000):
        sys.stderr.write(("complaint " * 10 + "\n") * 1_000)
    sys.stderr.write("z" * (total // 2) + "\n")
    sys.stderr.flush()
    return text("complained")


def chatter(request: Request, arguments: Json) -> Json:
    """Many notifications at once (`count`), of progress and of logs."""
    count = arguments.get("count", 1_000)
    for number in range(1, count + 1):
        request.progress(number, count, "chatter")
    return text("told")


def log(request: Request, arguments: Json) -> Json:
    """One message of each level that was asked for."""
    wanted = request.meta.get("io.modelcontextprotocol/logLevel", getattr(request.peer, "level", None))
    if wanted in LEVELS:
        for level in LEVELS[LEVELS.index(wanted) :]:
            request.peer.notify("notifications/message", {"level": level, "logger": "fake", "data": arguments.get("text", "hello")})
    return text("logged")


def change(request: Request, _arguments: Json) -> Json:
    """From now on there is a tool more."""
    EXTRA["added"] = echo
    INPUTS["added"] = _TEXT
    listening: list[Json] = [{"_meta": {"io.modelcontextprotocol/subscriptionId": one}} for one in getattr(request.peer, "listening", ())]
    for params in listening or [{}]:
        request.peer.notify("notifications/tools/list_changed", params)
    return text("changed")


def whoami(request: Request, _arguments: Json) -> Json:
    found = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "meta": request.meta,
        "client": getattr(request.peer, "client", None),
        "notified": request.peer.notified,
        "threads": threading.active_count(),
    }
    return text("it is me", structuredContent=found)


Tool = Callable[[Request, Json], Json]
EXTRA: dict[str, Tool] = {}
TOOLS: dict[str, Tool] = {
    one.__name__: one
    for one in (
        *(echo, add, slow, fail, refuse, never, die, garbage, twice, late, stray, nonsense, huge, fork, flood, chatter, log),
        *(change, whoami),
    )
}
RESOURCES = {"memo://one": "the first memo", "memo://two": "the second memo"}


def call(request: Request, more: dict[str, Tool]) -> Json:
    name, arguments = request.params.get("name"), request.params.get("arguments", {})
    tool = (TOOLS | EXTRA | more).get(str(name))
    if tool is None:
        raise Failure(-32_602, f"Unknown tool: {name}")
    journal(str(name), arguments)
    return tool(request, arguments)


def definitions(more: dict[str, Tool]) -> list[Json]:
    return [
        {
            "name": name,
            "description": (tool.__doc__ or f"The tool {name}.").splitlines()[0],
            "inputSchema": INPUTS.get(name, _ANY),
            "annotations": {"readOnlyHint": name in {"echo", "add"}},
            "x-unknown": {"kept": True},
        }
        for name, tool in (TOOLS | EXTRA | more).items()
    ]


def paged(request: Request, member: str, items: list[Json], page: int | None) -> Json:
    """A list, in pages of so many where that is wished for."""
    if page is None:
        return {member: items}
    begin = int(request.params.get("cursor", "0"))
    following = {"nextCursor": str(begin + page)} if begin + page < len(items) else {}
    return {member: items[begin : begin + page], **following}


def read(request: Request) -> Json:
    uri = request.params.get("uri", "")
    if uri not in RESOURCES:
        raise Failure(-32_602, f"Resource not found: {uri}", {"uri": uri})
    return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": RESOURCES[uri]}]}


def listed(request: Request, more: dict[str, Tool], page: int | None) -> Json | None:
    """What both eras answer alike; None for any other method."""
    lists: dict[str, tuple[str, Callable[[], list[Json]]]] = {
        "tools/list": ("tools", lambda: definitions(more)),
        "resources/list": ("resources", lambda: [{"uri": uri, "name": uri.rpartition("/")[2]} for uri in RESOURCES]),
        "resources/templates/list": ("resourceTemplates", lambda: [{"uriTemplate": "memo://{name}", "name": "memo"}]),
        "prompts/list": ("prompts", lambda: [{"name": "greet", "arguments": [{"name": "who", "required": True}]}]),
    }
    answers: dict[str, Callable[[Request], Json]] = {"resources/read": read, "prompts/get": greet, "completion/complete": complete}
    if request.method in lists:
        member, items = lists[request.method]
        return paged(request, member, items(), page)
    return answers[request.method](request) if request.method in answers else None


def greet(request: Request) -> Json:
    who = request.params.get("arguments", {}).get("who", "nobody")
    return {"messages": [{"role": "user", "content": {"type": "text", "text": f"Greet {who}."}}]}


def complete(request: Request) -> Json:
    begun = request.params["argument"]["value"]
    return {"completion": {"values": [word for word in ("one", "two", "three") if word.startswith(begun)], "hasMore": False}}
