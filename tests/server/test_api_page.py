"""`docs/api.md` does what it says: every example is sent, and every endpoint of these subjects stands in its table."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from string import Template

from licet.server.routes import ENDPOINTS
from tests.server.world import server_world

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
EXAMPLES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
LICET = "https://licet.example.com"


def test_every_endpoint_stands_in_the_table_with_its_permission() -> None:
    rows = re.findall(r"^\| `(\w+) (\S+)` \| `(\S+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted((one.method, one.path, one.action, one.summary) for one in ENDPOINTS)


def test_every_example_is_answered() -> None:
    assert len(EXAMPLES) > 10
    with server_world() as served:
        request = served.world.held(50_000).request
        binding = served.get(f"/api/v1/requests/{request}", "lena").json["binding"]
        names = {"LICET": LICET, "TOKEN": "lena", "ADMIN": "admin", "REQUEST": request, "BINDING": binding}
        for example in EXAMPLES:
            method, path, who, raw = _read(Template(example).substitute(names))
            reply = served.request(method, path, who, raw=raw)
            assert reply.status in {200, 201}, (example, reply.content)


def _read(command: str) -> tuple[str, str, str, bytes | None]:
    """Method, path, who and body of a curl command. Whatever it says otherwise is not read, and fails."""
    words = shlex.split(command)
    assert words[:2] == ["curl", "-s"]
    method, path, who = "GET", "", ""
    body: bytes | None = None
    rest = iter(words[2:])
    for word in rest:
        if word == "-H":
            name, value = next(rest).split(": ", 1)
            who = value.removeprefix("Bearer ") if name == "Authorization" else who
            assert (name, value) == ("Content-Type", "application/json") or name == "Authorization"
        elif word == "-X":
            method = next(rest)
        elif word == "-d":
            body = next(rest).encode()
        else:
            assert word.startswith(LICET), word
            path = word.removeprefix(LICET)
    return method, path, who, body
