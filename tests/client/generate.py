"""The generated half of the clients, made from the API's OpenAPI document. `python -m tests.client.generate` (or `make clients`) writes it.

`src/licet/client/types.py` has a Struct for each schema, `src/licet/client/operations.py` a method for each operation, and
`clients/typescript/openapi.json` is the document itself, from which npm `openapi-typescript` makes the TypeScript types.
"""

from __future__ import annotations

import builtins
import json
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from licet.server.api import endpoints
from licet.server.openapi import document
from tests.client.schemas import Names, class_of, python_type

ROOT = Path(__file__).parents[2]
TYPES = ROOT / "src" / "licet" / "client" / "types.py"
OPERATIONS = ROOT / "src" / "licet" / "client" / "operations.py"
DOCUMENT = ROOT / "clients" / "typescript" / "openapi.json"
JSON = "application/json"
LINE = 140
PARAGRAPH = "\n\n        "
REPEATABLE = frozenset({"reportOutcome"})
"""Beside what reads and what has an idempotency key: operations that answer a second time as they did the first."""

WAITS = "timeout_s"
BODY_WAITS = "wait_s"
"""The parameter of a long poll, and the member of a body: the answer may take so much longer."""

HEAD = '''"""{what}

Generated from the OpenAPI document by `make clients`: not edited by hand.
"""

from __future__ import annotations

'''


def openapi() -> dict[str, Any]:
    """The document, with no version and no address of an installation in it."""
    return json.loads(json.dumps(document(endpoints(), version="1", url=None)))  # type: ignore[no-any-return]


def files() -> dict[Path, str]:
    """Every generated file, as it should be."""
    whole = openapi()
    return {
        TYPES: formatted(types_module(whole), TYPES),
        OPERATIONS: formatted(operations_module(whole), OPERATIONS),
        DOCUMENT: json.dumps(whole, indent=1, sort_keys=True) + "\n",
    }


def types_module(whole: dict[str, Any]) -> str:
    """A Struct or an alias for each schema, by name."""
    schemas: dict[str, Any] = whole["components"]["schemas"]
    names = Names(schemas)
    body = "\n\n".join(class_of(names, name, schemas[name]) for name in sorted(schemas))
    return HEAD.format(what="What the API takes and answers with.") + IMPORTS + body + "\n"


IMPORTS = """from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType, field

"""


def operations_module(whole: dict[str, Any]) -> str:
    """One class with a method for each operation, in the order of the document."""
    names = Names(whole["components"]["schemas"])
    found = [(path, method, operation) for path, methods in whole["paths"].items() for method, operation in methods.items()]
    methods = "\n".join(_method(names, *one) for one in found)
    return HEAD.format(what="A method for each operation of the API.") + OPERATIONS_HEAD + methods


OPERATIONS_HEAD = '''from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal

from licet.client import types
from licet.client.connection import Connection, in_path


class Operations:
    """The API of one server. Each method raises `ServerProblem` for what the server refuses, `ServerUnreachable` where none answers."""

    def __init__(self, connection: Connection) -> None:
        """Ask through this connection."""
        self.connection = connection

'''


def _method(names: Names, path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = operation["parameters"]
    in_path = {one["name"]: one for one in parameters if one["in"] == "path"}
    in_query = {one["name"]: one for one in parameters if one["in"] == "query"}
    body = operation.get("requestBody")
    returns, streamed = _returns(names, operation)
    given = ["self", *(f"{_name(name)}: {python_type(names, one['schema'], 'types.')}" for name, one in in_path.items())]
    if body is not None:
        kind = python_type(names, body["content"][JSON]["schema"], "types.")
        given.append(f"body: {kind}" if body["required"] else f"body: {kind} | None = None")
    given += list(_keywords(names, in_query))
    is_tagged = "412" in operation["responses"]
    if is_tagged and "*" not in given:
        given.append("*")
    given += ["if_match: str | None = None"] if is_tagged else []
    asked = [repr(method.upper()), _path(path)]
    if in_query:
        asked.append("query={" + ", ".join(f"{name!r}: {_name(name)}" for name in in_query) + "}")
    asked += ["body=body"] if body is not None else []
    asked += ['headers=None if if_match is None else {"If-Match": if_match}'] if is_tagged else []
    asked += list(_repeats(names, operation, body))
    if body is not None and BODY_WAITS in names.properties(body["content"][JSON]["schema"]):
        asked.append(f"waits_s=body.{BODY_WAITS}" if body["required"] else f"waits_s=0.0 if body is None else body.{BODY_WAITS}")
    if WAITS in in_query:
        asked.append(f"waits_s={in_query[WAITS]['schema']['default']} if {WAITS} is None else {WAITS}")
    needs = f". Needs `{operation['x-licet-action']}`" if "x-licet-action" in operation else ""
    lines = [f"    def {snake(operation['operationId'])}({', '.join(given)}) -> {returns}:"]
    said = f'        """{operation["summary"]}{needs}."""'
    lines.append(said if len(said) <= LINE else f'        """{operation["summary"]}{needs.replace(". ", "." + PARAGRAPH)}.\n        """')
    call = f"self.connection.{'stream' if streamed else 'ask'}({', '.join(asked)})"
    lines.append(f"        return {call}" if streamed else _answer(call, returns))
    return "\n".join(lines) + "\n"


def _answer(call: str, returns: str) -> str:
    if returns == "None":
        return f"        {call}"
    return f"        return self.connection.decoded({call}, {returns})"


def _returns(names: Names, operation: dict[str, Any]) -> tuple[str, bool]:
    """What the method returns, and whether it is read part by part."""
    success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    content = success.get("content", {})
    if JSON in content:
        return python_type(names, content[JSON]["schema"], "types."), False
    return ("AbstractContextManager[Iterator[bytes]]", True) if content else ("None", False)


def _keywords(names: Names, in_query: dict[str, Any]) -> Iterator[str]:
    if in_query:
        yield "*"
    for name, one in in_query.items():
        kind = python_type(names, one["schema"], "types.")
        optional = "" if one["required"] else " = None"
        if not one["required"] and "None" not in kind:
            kind = f"{kind} | None"
        yield f"{_name(name)}: {kind}{optional}"


def _repeats(names: Names, operation: dict[str, Any], body: dict[str, Any] | None) -> Iterator[str]:
    if operation["operationId"] in REPEATABLE:
        yield "repeatable=True"
    elif body is not None and "idempotency_key" in names.properties(body["content"][JSON]["schema"]):
        yield "repeatable=body.idempotency_key is not None"


def _path(path: str) -> str:
    if "{" not in path:
        return repr(path)
    return "f" + repr(re.sub(r"\{(\w+)\}", lambda found: "{in_path(" + _name(found[1]) + ")}", path))


def _name(name: str) -> str:
    own = re.sub(r"\W", "_", name)
    return f"{own}_" if keyword.iskeyword(own) or hasattr(builtins, own) else own


def snake(name: str) -> str:
    """`findRecords` as `find_records`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def formatted(text: str, path: Path) -> str:
    """As ruff would leave it in that place, without imports that nothing uses."""
    for command in (["check", "--fix", "--select", "F401,I001,UP037", "--quiet"], ["format", "--quiet"]):
        name = ["--stdin-filename", str(path)]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *name, "-"], input=text, capture_output=True, text=True, check=True, cwd=ROOT
        )
        text = done.stdout
    return text


if __name__ == "__main__":
    for file, content in files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
