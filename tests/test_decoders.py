"""What is decoded in several threads is decoded by a decoder that was made when its module was imported.

msgspec finds out what a type is made of when it meets it first, and two threads that meet it at one moment crash the process: that is a kill,
whenever a server is asked twice as soon as it has started.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "licet"
ROOMS = ("approvals", "gate", "identity", "policy", "server", "client")
LOCKED = {"server/cursors.py", "client/connection.py"}
"""There the type is an argument, and a lock is held."""
ONE_THREAD = {"policy/lint.py", "policy/suite.py", "approvals/notify/slack.py"}
"""A bundle that is loaded, tests of policies, and the one thread that hears of buttons."""
_BUILT_IN = {"dict", "list", "tuple", "str", "int", "bytes"}


@pytest.mark.parametrize("room", ROOMS)
def test_no_type_is_first_met_by_two_threads(room: str) -> None:
    for path in sorted((SRC / room).rglob("*.py")):
        if str(path.relative_to(SRC)) in LOCKED | ONE_THREAD:
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "msgspec.json.decode":
                kinds = [ast.unparse(one.value).partition("[")[0] for one in call.keywords if one.arg == "type"]
                assert set(kinds) <= _BUILT_IN, f"{path}:{call.lineno}: make a `msgspec.json.Decoder({kinds[0]})` beside the type"
