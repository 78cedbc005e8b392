"""Which endpoint a path and a method name.

A path is taken apart before it is decoded: `%2F` is a letter of a name and never ends one, so that nobody who stands in front of the server
and goes by the path takes a request for another than it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

import msgspec
from starlette.routing import compile_path

from licet.server.endpoint import Endpoint
from licet.server.problems import Problem, not_found


class Routes:
    """The table, ready to be looked up: paths without parameters at once, the others one after the other."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints: Final = tuple(endpoints)
        self._exact: Final[dict[str, dict[str, Endpoint]]] = {}
        templates: dict[str, dict[str, Endpoint]] = {}
        operations: set[str] = set()
        for endpoint in self.endpoints:
            methods = (templates if endpoint.path_names else self._exact).setdefault(endpoint.path, {})
            if endpoint.method in methods or endpoint.operation in operations:
                raise ValueError(f"`{endpoint.method} {endpoint.path}` (`{endpoint.operation}`) stands twice")
            methods[endpoint.method] = endpoint
            operations.add(endpoint.operation)
            for shape in (endpoint.params, endpoint.body):
                if shape is not None:
                    msgspec.json.Decoder(shape)  # two threads that meet a type first at one moment crash in msgspec 0.22
        self._patterns: Final[list[tuple[re.Pattern[str], dict[str, Endpoint]]]] = [
            (compile_path(path)[0], methods) for path, methods in templates.items()
        ]

    def find(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """The endpoint, and the parameters in its path, decoded. `path` is as it was sent. Raises `Problem` (404, 405)."""
        methods = self._exact.get(path)
        if methods is not None:
            return _of_method(methods, method), {}
        for pattern, found in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                return _of_method(found, method), {name: unquote(part) for name, part in match.groupdict().items()}
        raise not_found()


def _of_method(methods: Mapping[str, Endpoint], method: str) -> Endpoint:
    endpoint = methods.get("GET" if method == "HEAD" else method)
    if endpoint is None:
        allowed = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
        raise Problem("method_not_allowed", f"this path takes {allowed}", headers=(("Allow", allowed),))
    return endpoint
