"""Resources from Python functions: `(id: str) -> Customer | None`, plain or async.

Rules:

1. The return annotation is the schema: a dataclass, a msgspec Struct, a pydantic model or a TypedDict with `tenant: str`, perhaps
   `environment: str`, and attributes.
2. What comes back is believed only as far as it has the declared types: a resolver that returns something else is an error, and so a
   denial.
3. None means that there is no such resource. Whoever asks hears the same as for a resource of another tenant.
4. Attributes are copied out as JSON values: what the resolver's object becomes later changes no decision.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict

from licet.catalog import strict
from licet.catalog.problem import find_problem
from licet.catalog.pydantic_schema import SchemaGenerator, finished
from licet.catalog.schema import resolved, subschemas, validator
from licet.catalog.signature import MISSING, read_signature, return_annotation
from licet.catalog.spec import RESERVED_ATTRIBUTES, ResourceSpec
from licet.errors import CatalogInvalid, ResolverRefused
from licet.model import JsonObject

Dump = Callable[[Any], Any]


class ResourceFacts(Struct, frozen=True):
    """What a resolver says about one id: the tenant it belongs to, the environment if it has its own, and its attributes as JSON values."""

    tenant: str
    environment: str | None
    attributes: JsonObject


class PythonResource:
    """A Python function as the resolver of one resource type. Built once; safe to share between threads."""

    def __init__(self, spec: ResourceSpec, function: Callable[..., Any], returned: Any, dump: Dump, *, is_async: bool) -> None:
        self.spec = spec
        self.function = function
        self.is_async = is_async
        self._class: Any = Mapping if is_typeddict(returned) else returned
        self._name = returned.__name__
        self._dump = dump
        self._validator = validator(spec.attributes)

    def facts(self, returned: Any) -> ResourceFacts | None:
        """What the function returned, checked by its declared type and copied; None if there is no resource. Raises ResolverRefused."""
        if returned is None:
            return None
        if not isinstance(returned, self._class):
            raise self._refused(f"it returned a `{type(returned).__name__}` in place of `{self._name}`")
        try:
            attributes = strict.copied(self._dump(returned))
        except Exception as error:
            # The object is the application's: writing it as JSON runs its code, which may raise anything.
            raise self._refused(f"what it returned cannot be written as JSON: {type(error).__name__}") from error
        tenant, environment = attributes.pop("tenant", None), attributes.pop("environment", None)
        if type(tenant) is not str or not tenant:
            raise self._refused("it returned no `tenant`")
        if environment is not None and (type(environment) is not str or not environment):
            raise self._refused("it returned an `environment` that is not text")
        wrong = find_problem(self._validator, attributes)
        if wrong is not None:
            raise self._refused(f"it returned a wrong attribute: {wrong}")
        return ResourceFacts(tenant, environment, attributes)

    def _refused(self, message: str) -> ResolverRefused:
        return ResolverRefused(f"the resolver of `{self.spec.type}` cannot be believed: {message}")


def resource_from_function(type: str, function: Callable[..., Any]) -> PythonResource:  # noqa: A002 - the word of the design
    """Make a resolver of a function from one id to what that id names. Raises CatalogInvalid."""
    try:
        signature = read_signature(function)
        if signature.is_method or not _takes_one_id(signature.parameters):
            raise _not_a_resolver()
        annotation = return_annotation(function)
        is_async = inspect.iscoroutinefunction(function) or get_origin(annotation) in {Awaitable, Coroutine}
        returned = _returned_class(annotation)
        schema, dump = _described(returned)
        attributes = _attributes(schema, writes_defaults=_writes_defaults(returned))
    except CatalogInvalid as invalid:
        raise CatalogInvalid(f"resource `{type}`: {invalid}") from invalid
    return PythonResource(ResourceSpec(type=type, attributes=attributes), function, returned, dump, is_async=is_async)


def _not_a_resolver() -> CatalogInvalid:
    return CatalogInvalid("it must be a function of one parameter, `id: str`")


def _takes_one_id(parameters: tuple[Any, ...]) -> bool:
    required = [parameter for parameter in parameters if parameter.default is MISSING]
    return len(required) == 1 and required[0] is parameters[0] and required[0].annotation is str


def _returned_class(annotation: Any) -> Any:
    if get_origin(annotation) in {Awaitable, Coroutine}:
        annotation = get_args(annotation)[-1]
    if get_origin(annotation) in {Union, types.UnionType}:
        members = [member for member in get_args(annotation) if member is not type(None)]
        annotation = members[0] if len(members) == 1 else None
    if annotation is MISSING or not isinstance(annotation, type):
        raise CatalogInvalid("its return annotation must be one class, or that class or None")
    return annotation


def _writes_defaults(returned: Any) -> bool:
    if is_typeddict(returned):
        return False
    return not (issubclass(returned, Struct) and returned.__struct_config__.omit_defaults)


def _described(returned: Any) -> tuple[JsonObject, Dump]:
    """The JSON Schema of a class, and what turns its instances into JSON-able values."""
    try:
        if is_typeddict(returned) or issubclass(returned, Struct):
            return msgspec.json.schema(returned), msgspec.to_builtins
        if dataclasses.is_dataclass(returned) or issubclass(returned, BaseModel):
            adapter: TypeAdapter[Any] = TypeAdapter(returned)
            schema = adapter.json_schema(mode="serialization", schema_generator=SchemaGenerator)
            # A wrong type is written as it is: the schema then refuses it and can say where.
            return schema, lambda value: adapter.dump_python(value, mode="json", by_alias=True, warnings=False)
    except (PydanticUserError, TypeError, NameError, ValueError) as error:
        raise CatalogInvalid(f"`{returned.__name__}` cannot be written as JSON Schema: {str(error).splitlines()[0]}") from error
    raise CatalogInvalid(f"`{returned.__name__}` is not a dataclass, a msgspec Struct, a pydantic model or a TypedDict")


def _attributes(schema: JsonObject, *, writes_defaults: bool) -> JsonObject:
    finished(schema)
    root = schema
    while "$ref" in root:
        root = resolved(schema, root["$ref"])
    properties = root.get("properties", {})
    if properties.get("tenant", {}).get("type") != "string" or "tenant" not in root.get("required", ()):
        raise CatalogInvalid("what it returns must have `tenant: str`, without a default: whose it is must always be said")
    if writes_defaults:
        _require_all(schema)
    definitions = {name: part for name, part in schema.get("$defs", {}).items() if part is not root}
    return {
        "type": "object",
        "properties": {name: part for name, part in properties.items() if name not in RESERVED_ATTRIBUTES},
        "required": sorted(set(root["required"]) - RESERVED_ATTRIBUTES),
        "additionalProperties": False,
        # Left out where there are none, so that a table in licet.toml that says the same is the same definition.
        **({"$defs": definitions} if definitions else {}),
    }


def _require_all(schema: JsonObject) -> None:
    # A default is written like any other value, so every attribute is always there and policies need no `has`.
    for part in subschemas(schema):
        if "properties" in part:
            part["required"] = list(part["properties"])
        for described in part.get("properties", {}).values():
            described.pop("default", None)
