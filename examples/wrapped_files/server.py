"""A small MCP server for files, over stdio: `python server.py FOLDER`. It has never heard of Licet, and needs nothing but Python.

Its tools are those of `@modelcontextprotocol/server-filesystem` that the demo uses, by name and arguments; paths begin at FOLDER
(`/notes/todo.md`). Whoever may speak to it may read, write and delete everything below FOLDER: what an agent may do is not its business.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

VERSION = "2025-11-25"
PATH = {"path": {"type": "string", "description": "Where, from the folder that is served: /notes/todo.md"}}


class Files:
    """What the tools do. `OSError` and `ValueError` are told to whoever called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def read_text_file(self, path: str) -> str:
        """Read a file."""
        return self._at(path).read_text(encoding="utf-8")

    def list_directory(self, path: str) -> str:
        """List the names in a folder."""
        names = [f"[{'DIR' if entry.is_dir() else 'FILE'}] {entry.name}" for entry in sorted(self._at(path).iterdir())]
        return "\n".join(names)

    def write_file(self, path: str, content: str) -> str:
        """Write a file, in place of whatever was there."""
        self._at(path).write_text(content, encoding="utf-8")
        return f"wrote {path}"

    def delete_file(self, path: str) -> str:
        """Delete a file."""
        self._at(path).unlink()
        return f"deleted {path}"

    def _at(self, path: str) -> Path:
        found = (self._folder / path.lstrip("/")).resolve()
        if not found.is_relative_to(self._folder):
            raise ValueError(f"{path} lies outside of what is served")
        return found


def definition(name: str, description: str, **more: Any) -> dict[str, Any]:
    """A tool as `tools/list` shows it."""
    properties = {**PATH, **more}
    return {
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "properties": properties, "required": list(properties)},
    }


TOOLS = [
    definition("read_text_file", "Read a text file."),
    definition("list_directory", "List the names in a folder."),
    definition("write_file", "Write a text file, in place of whatever was there.", content={"type": "string"}),
    definition("delete_file", "Delete a file."),
]


def answer(files: Files, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for a method that is not known."""
    if method == "initialize":
        return {"protocolVersion": VERSION, "capabilities": {"tools": {}}, "serverInfo": {"name": "small-files", "version": "1.0.0"}}
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call" and params.get("name") in {tool["name"] for tool in TOOLS}:
        try:
            text, failed = str(getattr(files, params["name"])(**params.get("arguments", {}))), False
        except (OSError, TypeError, ValueError) as error:
            text, failed = str(error), True
        return {"content": [{"type": "text", "text": text}], "isError": failed}
    return None


def main(folder: str) -> None:
    """Answer until the client has said all: one message a line."""
    files = Files(Path(folder))
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message or "id" not in message:
            continue
        result = answer(files, message["method"], message.get("params", {}))
        if result is None:
            said: dict[str, Any] = {"error": {"code": -32601, "message": f"there is no {message['method']} here"}}
        else:
            said = {"result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
