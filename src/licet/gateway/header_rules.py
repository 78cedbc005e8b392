"""What headers of a modern request must say: the same as its body (2026-07-28, basic/transports/streamable-http, "Request Metadata").

Whoever stands between client and gateway may have looked at the headers alone; a body that says something else would have passed them by.

Rules:

1. `MCP-Protocol-Version`, `Mcp-Method` and, for requests that name something, `Mcp-Name` are there, once, and equal what the body says.
2. `Mcp-Param-*` is there for each argument that the tool's pinned definition mirrors (`x-mcp-header`), and equals it; where the argument
   is missing or null, the header is not there. Headers that mirror nothing are passed over.
3. Values may be Base64 of UTF-8 between `=?base64?` and `?=`, and are compared as what they stand for.
4. What is wrong is `HeaderMismatch`, 400.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias

from licet.gateway.messages import HEADER_MISMATCH, RpcError
from licet.model import JsonObject

Mirrored: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Headers (in lower case) that mirror arguments, each with the path of its argument."""
VERSION: Final = "mcp-protocol-version"
METHOD: Final = "mcp-method"
NAME: Final = "mcp-name"
PARAM: Final = "mcp-param-"
MIRRORED: Final = "x-mcp-header"
NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The parameter that `Mcp-Name` says."""
_PLAIN: Final = re.compile(r"[\t\x20-\x7e]*")
_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.0{1,18})?")


def check_headers(headers: Mapping[str, str], twice: Collection[str], message: JsonObject, version: str) -> None:
    """Rule 1. Raises `RpcError`."""
    for name in (VERSION, METHOD, NAME):
        if name in twice:
            raise mismatch(f"the header `{name}` stands twice")
    _check(headers, VERSION, version)
    if "id" not in message and METHOD not in headers:
        return  # the specification leaves open what headers a notification has
    _check(headers, METHOD, message["method"])
    parameter = NAMED_BY.get(message["method"])
    if parameter is not None:
        said = message.get("params", {}).get(parameter)
        _check(headers, NAME, said if isinstance(said, str) else None, encoded=True)


def check_params(headers: Mapping[str, str], twice: Collection[str], wanted: Mirrored, arguments: Mapping[str, Any]) -> None:
    """Rule 2, for one call of a tool that mirrors these. Raises `RpcError`."""
    for header, path in wanted:
        if header in twice:
            raise mismatch(f"the header `{header}` stands twice")
        value, shown = _at(arguments, path), headers.get(header)
        if value is None and shown is None:
            continue
        if value is None or shown is None:
            raise mismatch(f"the header `{header}` and the argument `{'.'.join(path)}` must both be there, or neither")
        if not _is_same(decoded(shown, header), value):
            raise mismatch(f"the header `{header}` does not say what the argument `{'.'.join(path)}` says")


def mirrored(schema: JsonObject) -> Mirrored:
    """What the input schema of a tool wants mirrored."""
    return tuple(_mirrored(schema, ()))


def decoded(value: str, header: str) -> str:
    """What a header stands for (rule 3). Raises `RpcError`."""
    if not _PLAIN.fullmatch(value):
        raise mismatch(f"the header `{header}` holds what no header may; encode it as Base64")
    found = _ENCODED.fullmatch(value)
    if found is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise mismatch(f"the header `{header}` is no Base64 of UTF-8") from error


def mismatch(text: str) -> RpcError:
    """Rule 4."""
    return RpcError(HEADER_MISMATCH, f"header mismatch: {text}", http_status=400)


def _check(headers: Mapping[str, str], header: str, wanted: str | None, *, encoded: bool = False) -> None:
    shown = headers.get(header)
    if shown is None:
        raise mismatch(f"the header `{header}` is missing")
    if not _PLAIN.fullmatch(shown):
        raise mismatch(f"the header `{header}` holds what no header may; encode it as Base64")
    if (decoded(shown, header) if encoded else shown) != wanted:
        raise mismatch(f"the header `{header}` does not say what the body says")


def _mirrored(schema: JsonObject, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    properties = schema.get("properties")
    for name, found in properties.items() if isinstance(properties, dict) else ():
        if isinstance(found, dict):
            header = found.get(MIRRORED)
            if isinstance(header, str):
                yield PARAM + header.lower(), (*path, name)
            yield from _mirrored(found, (*path, name))


def _at(arguments: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = arguments
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _is_same(shown: str, value: Any) -> bool:
    """Whether a header says this value: text as it is, `true` and `false`, numbers as numbers."""
    if isinstance(value, str):
        return shown == value
    if isinstance(value, bool):
        return shown == ("true" if value else "false")
    if isinstance(value, int):
        return _NUMBER.fullmatch(shown) is not None and int(shown.partition(".")[0]) == value
    return False
