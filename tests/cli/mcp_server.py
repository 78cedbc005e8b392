"""An MCP server of 2025-11-25 over stdio, whose tools are what a file says: `python mcp_server.py tools.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    answer: dict[str, object] = {"error": {"code": -32601, "message": "no such method"}}
    if request["method"] == "initialize":
        version = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "made-up", "version": "1"}}
        answer = {"result": version | {"capabilities": {"tools": {}}}}
    elif request["method"] == "tools/list":
        answer = {"result": {"tools": json.loads(Path(sys.argv[1]).read_text())}}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"]} | answer) + "\n")
    sys.stdout.flush()
