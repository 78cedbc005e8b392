"""The OpenAPI 3.1 document, made from the table of endpoints: what it says is what is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from licet.model import JsonObject
from licet.server.endpoint import Endpoint
from licet.server.problems import MEDIA_TYPE, PLAIN, ProblemDetails

REF_TEMPLATE: Final = "#/components/schemas/{name}"
JSON: Final = "application/json"
_TITLES: Final = {
    400: "the request cannot be understood",
    401: "no valid credential",
    403: "not permitted",
    404: "there is none, or none that this credential may see",
    405: "the path does not take this method",
    408: "the request did not arrive in time",
    409: "something else was first, or it has moved meanwhile",
    412: "`If-Match` names something else than what is there",
    413: "too large",
    415: "not JSON",
    422: "refused",
    429: "too many requests",
    500: "a record is not what was written, or an error of the server",
    503: "the store cannot be reached, or the server is closing",
}


def document(endpoints: Iterable[Endpoint], *, version: str, url: str | None) -> JsonObject:
    """The whole document (OpenAPI 3.1)."""
    table = tuple(endpoints)
    types = _Types(table)
    paths: dict[str, JsonObject] = {}
    for endpoint in table:
        paths.setdefault(_path(endpoint), {})[endpoint.method.lower()] = _operation(endpoint, types)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Licet",
            "version": version,
            "description": "Explicit permissions for every tool call an AI agent makes, approval where it hurts, and an audit log.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url or "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in table)],
        "paths": paths,
        "components": {
            "schemas": types.components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "an API key (`licet_...`), or a JWT access token (RFC 9068)"}
            },
        },
    }


class _Types:
    """The schema of every type that the table names, with one name for each."""

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        named: list[Any] = [ProblemDetails]
        for endpoint in endpoints:
            named += [kind for kind in (endpoint.body, endpoint.returns) if kind is not None]
            named += [one.type for one in _parameters(endpoint)]
        unique = list(dict.fromkeys(named))
        schemas, components = msgspec.json.schema_components(unique, ref_template=REF_TEMPLATE)
        self._schemas = dict(zip(unique, schemas, strict=True))
        self.components: JsonObject = components

    def of(self, kind: Any) -> JsonObject:
        """The schema of a type of the table."""
        return dict(self._schemas[kind])


def _path(endpoint: Endpoint) -> str:
    return "/".join("{" + part[1:-1].partition(":")[0] + "}" if part.startswith("{") else part for part in endpoint.path.split("/"))


def _operation(endpoint: Endpoint, types: _Types) -> JsonObject:
    operation: JsonObject = {
        "operationId": endpoint.operation,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [_parameter(endpoint, types, named) for named in _parameters(endpoint)],
        "responses": _responses(endpoint, types),
    }
    if endpoint.public:
        operation["security"] = []
    elif endpoint.action is not None:
        operation["x-licet-action"] = endpoint.action
    if endpoint.body is not None:
        operation["requestBody"] = {"required": not endpoint.body_optional, "content": {JSON: {"schema": types.of(endpoint.body)}}}
    return operation


class _Named(Struct, frozen=True):
    """A parameter: whether it must be given, and what it is where it is not."""

    name: str
    type: Any
    needed: bool
    default: Any


def _parameters(endpoint: Endpoint) -> Iterator[_Named]:
    """Every parameter of path and query."""
    params: type[Struct] | None = endpoint.params
    if params is None:
        return
    hints = get_type_hints(params, include_extras=True)
    for field in fields(params):
        needed = field.default is NODEFAULT and field.default_factory is NODEFAULT
        yield _Named(field.encode_name, hints[field.name], needed, None if needed else field.default)


def _parameter(endpoint: Endpoint, types: _Types, named: _Named) -> JsonObject:
    in_path = named.name in endpoint.path_names
    schema = types.of(named.type)
    if isinstance(named.default, str | int | bool | float):
        schema["default"] = named.default
    return {"name": named.name, "in": "path" if in_path else "query", "required": in_path or named.needed, "schema": schema}


def _responses(endpoint: Endpoint, types: _Types) -> JsonObject:
    success: JsonObject = {"description": endpoint.summary, "headers": {"X-Request-ID": {"schema": {"type": "string"}}}}
    if endpoint.returns is not None:
        success["content"] = {endpoint.media_type: {"schema": types.of(endpoint.returns)}}
    elif endpoint.media_type != JSON:
        success["content"] = {media_type: {"schema": {"type": "string"}} for media_type in (endpoint.media_type, *endpoint.other_media)}
    responses: JsonObject = {str(endpoint.status): success}
    for status in sorted(statuses_of(endpoint)):
        described: JsonObject = {"description": _TITLES.get(status, "a problem")}
        described["content"] = {MEDIA_TYPE: {"schema": types.of(ProblemDetails)}}
        if endpoint.plain_errors:  # a path that does not take the method has no endpoint, and answers as all others do
            described["content"][PLAIN] = {"schema": {"type": "string"}}
        responses[str(status)] = described
    return responses


def statuses_of(endpoint: Endpoint) -> frozenset[int]:
    """Every status of a problem that this endpoint may answer with."""
    found = {400, 404, 405, 500, 503, *endpoint.statuses}
    if not endpoint.public:
        found |= {401, 403, 429}
    if endpoint.method != "GET":
        found |= {408, 413, 415}
    return frozenset(found - {endpoint.status})
