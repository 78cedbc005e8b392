"""The demo's second act: a desktop client starts `licet wrap` in the place of a file server.

Rules beside those of the first act:

1. The client is a process's length away: what it sees is what any MCP client would, on the stdout of `licet wrap`.
2. The server is the example's own, in Python, so that nothing is downloaded and no Node is needed. It would give every file to anybody.
3. What was done is read from the ledger, and from every file below the folder that is served.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import msgspec
from msgspec import Struct

from licet import config
from licet.cli.demo_people import Matter, vote
from licet.cli.demo_plan import Change, Expected, PlannedVote, Said
from licet.cli.demo_seen import Seen, Told, brief, changed, compared
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.loading import reading
from licet.config import Settings
from licet.ledger.record import read_envelope
from licet.model import CallId, JsonObject, RequestId

CHAPTER = "The second act: a file server on somebody's desk, wrapped"
INTRO = (
    "A desktop client has one line of its configuration changed: it starts `licet wrap` in the place of a file server, which would give it "
    "every file. The server is a small one in Python that comes with this example; `@modelcontextprotocol/server-filesystem` is wrapped in "
    "the same way, but needs Node and a download, and nothing is downloaded here."
)
NEEDED = "aiohttp"
PATIENCE_S = 60.0
"""A Python that starts, twice, takes about a second; a laden machine gets sixty times that."""
_NOTES = "/notes/todo.md"
_WRITE: JsonObject = {"path": _NOTES, "content": "buy bread\nwater the plants\n"}


class Act(Struct, frozen=True, kw_only=True):
    """One thing that is done, and what must come of it: a call of `tool`, a person's `vote`, or without either the list of tools."""

    say: str
    expect: Expected
    tool: str | None = None
    arguments: JsonObject = {}
    vote: PlannedVote | None = None


ACTS = (
    Act(
        say="The client asks what there is. `delete_file`, which nobody has classified, is not shown.",
        expect=Expected(verdict="allowed", because="list_directory, read_text_file, write_file"),
    ),
    Act(
        say=f"Its agent reads {_NOTES}.",
        tool="read_text_file",
        arguments={"path": _NOTES},
        expect=Expected(verdict="allowed", because="buy bread", records=("call ok",)),
    ),
    Act(
        say=f"It adds a line to {_NOTES}.",
        tool="write_file",
        arguments=_WRITE,
        expect=Expected(verdict="held", code="held", because="somebody else looks at what is written", records=("hold",)),
    ),
    Act(
        say="nora, who sits there and for whom it is done, tries to approve it.",
        vote=PlannedVote(voter="nora", verdict="approve", about="write"),
        expect=Expected(verdict="refused", records=("hold",)),
    ),
    Act(
        say="ruth looks at the very same call, in a terminal of her own, and approves it.",
        vote=PlannedVote(voter="ruth", verdict="approve", about="write"),
        expect=Expected(verdict="approved", records=("hold", "vote approve")),
    ),
    Act(
        say="The agent makes the same call again.",
        tool="write_file",
        arguments=_WRITE,
        expect=Expected(
            verdict="allowed",
            records=("intent", "outcome ok"),
            changes=(Change(f"files{_NOTES}", "text", "buy bread", "buy bread / water the plants"),),
        ),
    ),
    Act(
        say="It looks into another folder, which the server would show.",
        tool="list_directory",
        arguments={"path": "/payroll"},
        expect=Expected(verdict="denied", code="no_permit", records=("denial",)),
    ),
    Act(
        say="It writes the path in another way.",
        tool="read_text_file",
        arguments={"path": "/notes/../payroll/salaries.csv"},
        expect=Expected(verdict="denied", code="not_canonical", records=("denial",)),
    ),
    Act(
        say="It tries to delete a file all the same.",
        tool="delete_file",
        arguments={"path": _NOTES},
        expect=Expected(verdict="denied", records=("denial",)),
    ),
)


def can_wrap() -> bool:
    """Whether this installation has what the gateway needs."""
    return importlib.util.find_spec(NEEDED) is not None


class DeskClient:
    """A client of MCP, as small as one can be, and `licet wrap`, which it has started. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        server = [sys.executable, str(folder / "server.py"), str(folder / "home")]
        program = [sys.executable, "-c", "from licet.cli import main; main()"]
        command = [*program, "--config", str(folder / "licet.toml"), "wrap", "--", *server]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LICET_")}
        self._process = subprocess.Popen(  # noqa: S603  this very interpreter, and the example's own script
            command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._watchdog = threading.Timer(PATIENCE_S, self._process.kill)
        self._number = 0

    def __enter__(self) -> Self:
        self._watchdog.start()
        info = {"name": "licet-demo", "version": "1"}
        try:
            self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
            self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._watchdog.cancel()

    def ask(self, method: str, params: JsonObject) -> JsonObject:
        """The result; for an error, one that says so. Raises `Refusal` where no answer comes any more."""
        self._number += 1
        self._write({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        for line in self._pipe(self._process.stdout):
            message: JsonObject = json.loads(line)
            if message.get("id") == self._number:
                return message["result"] if "result" in message else _as_result(message["error"])
        said = self._pipe(self._process.stderr).read().strip()
        raise Refusal(Exit.ERROR, "not_wrapped", f"`licet wrap` has ended before it answered: {said or 'it said nothing'}")

    def _write(self, message: JsonObject) -> None:
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class WrappedPerformance:
    """The second act in a folder that holds the example `wrapped_files`. Steps are counted from `first`."""

    def __init__(self, folder: Path, *, first: int) -> None:
        self._folder = folder
        self._first = first
        self._settings: Settings = config.load(folder / "licet.toml")
        self._held: CallId | None = None

    @property
    def settings(self) -> Settings:
        """What the example's licet.toml says."""
        return self._settings

    def steps(self) -> Iterator[Told]:
        """Perform it; a step is performed when it is asked for. Raises `Refusal` where `licet wrap` does not answer."""
        with DeskClient(self._folder) as client:
            for number, act in enumerate(ACTS, self._first):
                before = self._files()
                seen = self._do(client, act)
                seen = msgspec.structs.replace(seen, records=self._records(seen), changes=tuple(changed(before, self._files())))
                tool = None if act.tool is None else f"files__{act.tool}"
                yield Told(
                    number=number,
                    chapter=CHAPTER,
                    sentence=act.say,
                    tool=tool,
                    arguments=act.arguments if act.tool is not None else None,
                    seen=seen,
                    unmet=tuple(compared(act.expect, seen)),
                )

    def _do(self, client: DeskClient, act: Act) -> Seen:
        if act.vote is not None:
            return self._vote(act.vote)
        if act.tool is None:
            names = sorted(tool["name"] for tool in client.ask("tools/list", {}).get("tools", []))
            return Seen(verdict="allowed", code="listed", reason=", ".join(names))
        result = client.ask("tools/call", {"name": act.tool, "arguments": act.arguments})
        seen = _seen(result)
        if seen.verdict == "held":
            self._held = seen.calls[0]
        return seen

    def _vote(self, planned: PlannedVote) -> Seen:
        if self._held is None:
            return Seen(verdict="refused", code="no_request", reason="nothing was held: nobody is asked for anything")
        return vote(self._settings, Matter((self._held,), request=self._request(self._held)), planned)

    def _request(self, call: CallId) -> RequestId | None:
        with reading(self._settings) as store:
            found = [read_envelope(record.envelope, record.payload).approval for record in store.records_of_call(call)]
        return next((approval.request for approval in found if approval is not None), None)

    def _records(self, seen: Seen) -> tuple[str, ...]:
        with reading(self._settings) as store:
            return tuple([brief(record) for call in seen.calls for record in store.records_of_call(call)])

    def _files(self) -> dict[tuple[str, str, str], Any]:
        home = self._folder / "home"
        return {
            ("files", str(file.relative_to(home)), "text"): _on_one_line(file.read_text(encoding="utf-8"))
            for file in sorted(home.rglob("*"))
            if file.is_file()
        }


def _on_one_line(text: str) -> str:
    return text.strip().replace("\n", " / ")


def _as_result(error: JsonObject) -> JsonObject:
    return {"content": [{"type": "text", "text": str(error.get("message"))}], "isError": True, "_meta": error.get("data") or {}}


def _seen(result: JsonObject) -> Seen:
    """What a client is told of a call."""
    told = (result.get("_meta") or {}).get("dev.licet/call") or {}
    code, text = str(told.get("code", "unknown")), "\n".join(str(part.get("text", "")) for part in result.get("content", []))
    calls = (CallId(told["id"]),) if "id" in told else ()
    verdict: Said = "held" if code == "held" else "denied"
    if not result.get("isError"):
        return Seen(verdict="allowed", code=code, reason=_on_one_line(text), calls=calls)
    return Seen(verdict=verdict, code=code, reason=text, calls=calls)
