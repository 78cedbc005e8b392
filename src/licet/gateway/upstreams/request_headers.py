"""The headers of a request to an upstream over HTTP (2026-07-28, "Request Metadata"; 2025-11-25, "Protocol Version Header").

Rules:

1. What a modern request says in its body, its headers say too: version, method, name, and the arguments that the tool's definition wants
   mirrored (`x-mcp-header`).
2. What is no plain header value goes as Base64 between `=?base64?` and `?=`; nothing of an argument can end a header and begin another.
3. Of the client's headers those go on that licet.toml names, and of these never what proves who somebody is or where they come from
   (`config/passed_on.py`).
4. A tool whose definition wants something mirrored that may not be is not called: the specification refuses its definition.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from licet.config.passed_on import may_be_passed_on
from licet.gateway.connection import NotSent
from licet.gateway.eras import META_VERSION
from licet.model import JsonObject
from licet.names import quoted

Mirrored: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Headers that mirror arguments, each with the path of its argument."""

TOOLS: Final = 10_000
"""Of one upstream, that want something mirrored. Calls of what is beyond are refused by the upstream itself."""
MIRRORED: Final = "x-mcp-header"
VERSION: Final = "MCP-Protocol-Version"
METHOD: Final = "Mcp-Method"
NAME: Final = "Mcp-Name"
PARAM: Final = "Mcp-Param-"
SESSION: Final = "Mcp-Session-Id"
_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PLAIN: Final = re.compile(r"(?!=\?base64\?.*\?=\Z)[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?", re.DOTALL)
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_SAFE_INTEGER: Final = 2**53 - 1


class Mirrors:
    """What the tools of one upstream want mirrored, as it has listed them over this very connection."""

    def __init__(self) -> None:
        self._of: dict[str, Mirrored] = {}
        self._refused: dict[str, str] = {}

    def learn(self, result: object) -> None:
        """One page of `tools/list`. What another page said stands: calls are made while lists are read."""
        tools = result.get("tools") if isinstance(result, dict) else None
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and isinstance(tool.get("name"), str) and isinstance(tool.get("inputSchema"), dict):
                self._learn(tool["name"], tool["inputSchema"])

    def _learn(self, name: str, schema: JsonObject) -> None:
        self._of.pop(name, None)
        self._refused.pop(name, None)
        if len(self._of) + len(self._refused) >= TOOLS:
            return
        try:
            found = mirrored(schema)
        except ValueError as error:
            self._refused[name] = str(error)
        else:
            if found:
                self._of[name] = found

    def headers(self, name: object, arguments: object) -> Iterator[tuple[str, str]]:
        """Those of one call (rules 2 and 4). Raises `NotSent`."""
        if not isinstance(name, str):
            return
        if name in self._refused:
            raise NotSent(f"the definition of {quoted(name)} is not one that may be called over HTTP: {self._refused[name]}")
        for header, path in self._of.get(name, ()):
            text = _text(_at(arguments, path))
            if text is not None:
                yield header, encoded(text)


def mirrored(schema: JsonObject) -> Mirrored:
    """What the input schema of a tool wants mirrored. Raises `ValueError` where it wants what it may not (rule 4)."""
    found = tuple(_declared(schema, ()))
    names = [header.lower() for header, _ in found]
    if len(set(names)) != len(names):
        raise ValueError(f"two of its arguments have one `{MIRRORED}`")
    if _count(schema) != len(found):
        raise ValueError(f"`{MIRRORED}` stands where it cannot be reached by `properties` alone")
    return found


def encoded(text: str) -> str:
    """A value as a header may have it (rule 2)."""
    return text if _PLAIN.fullmatch(text) else f"=?base64?{b64encode(text.encode('utf-8', 'surrogatepass')).decode()}?="


def modern_version(params: object) -> str | None:
    """The version that a message says itself; None for one of the legacy era."""
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get(META_VERSION) if isinstance(meta, dict) else None
    return version if isinstance(version, str) else None


def modern_headers(version: str, method: str, params: JsonObject, mirrors: Mirrors) -> dict[str, str]:
    """Rule 1. Raises `NotSent`."""
    headers = {VERSION: version, METHOD: method}
    if (named_by := _NAMED_BY.get(method)) is not None:
        named = params.get(named_by)
        if isinstance(named, str):
            headers[NAME] = encoded(named)
        if method == "tools/call":
            headers.update(mirrors.headers(named, params.get("arguments")))
    return headers


def passed_on(headers: Mapping[str, str], allowed: frozenset[str]) -> dict[str, str]:
    """Rule 3. `allowed` are lower case."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in allowed and may_be_passed_on(name) and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)
    }


def _declared(schema: JsonObject, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    properties = schema.get("properties")
    for name, found in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(found, dict):
            continue
        if MIRRORED in found:
            header = found[MIRRORED]
            if not isinstance(header, str) or not _TOKEN.fullmatch(header):
                raise ValueError(f"the `{MIRRORED}` of `{name}` is no name of a header")
            if found.get("type") not in ("string", "integer", "boolean"):  # a tuple: a type may be a list, too
                raise ValueError(f"`{name}` is mirrored into a header, and is no string, integer or boolean")
            yield PARAM + header, (*path, name)
        yield from _declared(found, (*path, name))


def _count(schema: object, *, names: bool = False) -> int:
    """How often `x-mcp-header` is said anywhere; `names`: the keys here are names of properties, and say nothing themselves."""
    if isinstance(schema, list):
        return sum(_count(one) for one in schema)
    if not isinstance(schema, dict):
        return 0
    here = int(MIRRORED in schema and not names)
    return here + sum(
        _count(one, names=key == "properties" and not names)
        for key, one in schema.items()
        if names or key not in {"const", "default", "enum", "examples"}  # values, and no schemas
    )


def _at(arguments: object, path: tuple[str, ...]) -> object:
    found = arguments
    for name in path:
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def _text(value: object) -> str | None:
    """What a header says of this value; None where there is nothing to say."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) > _SAFE_INTEGER:
            raise NotSent(f"`{value}` is too large a number to be mirrored into a header")
        return str(value)
    return value if isinstance(value, str) else None
