"""Tools and resources from Python functions.

Rules:

1. The signature is the schema: pydantic turns it into JSON Schema, and no parameter stays outside of it.
2. Nothing is coerced: `"5"` is not 5, in JSON and in Python.
3. The function gets values built from the canonical bytes that were decided on. Where its types are more than JSON (dates, decimals,
   models), those values are written as JSON once more and must give the same bytes; a type that does not is refused (`not_stable`).
4. Where all its types are plain JSON, pydantic takes no part at call time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from licet.catalog import strict
from licet.catalog.arguments import ArgumentReader, Arguments
from licet.catalog.plain import is_plain, wants_float
from licet.catalog.problem import unquoted
from licet.catalog.pydantic_schema import SchemaGenerator, finished
from licet.catalog.resolver import PythonResource, ResourceFacts, resource_from_function
from licet.catalog.schema import checked
from licet.catalog.secret import opened
from licet.catalog.secret_paths import may_hold, parse, secrets_of
from licet.catalog.signature import MISSING, Parameter, Signature, read_signature
from licet.catalog.spec import ToolSpec
from licet.catalog.templates import TargetTemplate
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import Access, JsonObject, Touch

__all__ = ["PythonResource", "PythonTool", "ResourceFacts", "resource_from_function", "tool_from_function"]


Result = TypeVar("Result")


class PythonTool:
    """A Python function as a tool. Built once by `tool_from_function`; safe to share between threads."""

    keeps_time = False

    def __init__(self, spec: ToolSpec, function: Callable[..., Any], signature: Signature, types: Types) -> None:
        self.spec = spec
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - a callable object's own
        self.is_method = signature.is_method
        self._names = tuple(parameter.name for parameter in signature.parameters)
        self._positional = signature.positional
        self._floats = tuple(parameter.name for parameter in signature.parameters if wants_float(parameter.annotation))
        self._types = None if all(is_plain(parameter.annotation) for parameter in signature.parameters) else types
        self.reader = ArgumentReader(spec, normalise=None if self._types is None else self._types.normalised)

    def propose(self, args: Sequence[Any], kwargs: dict[str, Any]) -> JsonObject:
        """The arguments of a direct call as JSON-able values, for `reader.read`; `self` is not among `args`. Raises ArgumentsRefused."""
        if len(args) > self._positional:
            raise ArgumentsRefused(
                "unknown_argument", f"`{self.spec.name}` takes {self._positional} arguments by position, {len(args)} were given"
            )
        named = dict(zip(self._names, args, strict=False))
        for name in kwargs:
            if name in named:
                raise ArgumentsRefused("duplicate_argument", f"the argument {strict.shown(name)} was given twice")
        named.update(kwargs)
        return named if self._types is None else self._types.proposed(named)

    def kwargs(self, arguments: Arguments) -> dict[str, Any]:
        """Fresh Python values for the function, built from the canonical bytes. Raises ArgumentsRefused (`not_stable`)."""
        if self._types is not None:
            return self._types.built(arguments.json)
        values: dict[str, Any] = strict.decode(arguments.json)
        for name in self._floats:
            if type(values.get(name)) is int:
                values[name] = float(values[name])
        return values


class Types:
    """The parameters of one function as a pydantic model: field `p0` is the first parameter, under its own name in JSON.

    Own field names keep parameters such as `schema`, `copy` or `_x` apart from the attributes of the model.
    """

    def __init__(self, parameters: tuple[Parameter, ...], listed_secrets: Iterable[str] = ()) -> None:
        self._fields = {parameter.name: f"p{index}" for index, parameter in enumerate(parameters)}
        fields: dict[str, Any] = {f"p{index}": (parameter.annotation, _field(parameter)) for index, parameter in enumerate(parameters)}
        try:
            self._model: type[BaseModel] = create_model(
                "Arguments",
                # A NaN inside a model must stay one, so that it is refused: pydantic's default writes null.
                __config__=ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="constants"),
                **fields,
            )
            self.schema = finished(self._model.model_json_schema(schema_generator=SchemaGenerator))
        except (PydanticUserError, TypeError, NameError) as error:
            raise CatalogInvalid(f"the parameters cannot be written as JSON Schema: {str(error).splitlines()[0]}") from error
        self._secrets = tuple(map(parse, secrets_of(checked(self.schema), listed_secrets)))

    def proposed(self, named: dict[str, Any]) -> JsonObject:
        """Python values as JSON-able ones. Raises ArgumentsRefused for a value that is not of its parameter's type."""
        return self._dumped(self._checked(lambda: self._model.model_validate(named, strict=True, by_alias=True)))

    def normalised(self, value: JsonObject) -> JsonObject:
        """Valid arguments as these types write them. Raises ArgumentsRefused."""
        return self._dumped(self._read(strict.encode(value)))

    def built(self, canonical: bytes) -> dict[str, Any]:
        """Python values from canonical bytes, which must be what those values write. Raises ArgumentsRefused."""
        model = self._read(canonical)
        if strict.encode(strict.copied(self._dumped(model))) != canonical:
            # INVARIANT: what is executed is what was decided on.
            raise ArgumentsRefused("not_stable", "the tool's own types do not give back the arguments that were decided on")
        return {name: model.__dict__[field] for name, field in self._fields.items()}

    def _read(self, encoded: bytes) -> BaseModel:
        return self._checked(lambda: self._model.model_validate_json(encoded, strict=True, by_alias=True))

    def _dumped(self, model: BaseModel) -> JsonObject:
        return self._checked(lambda: self._written(model))

    def _written(self, model: BaseModel) -> JsonObject:
        written = model.model_dump(mode="json", by_alias=True, round_trip=True, warnings="error")
        if not self._secrets:
            return written
        boxes = model.model_dump(mode="python", by_alias=True, round_trip=True)
        result: JsonObject = opened(written, boxes, self._secrets)
        return result

    def _checked(self, step: Callable[[], Result]) -> Result:
        try:
            return step()
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            path = strict.pointer(first["loc"])
            if may_hold(self._secrets, first["loc"][:1]):  # what follows may name a branch of a union, which no path does
                raise unquoted(path) from None
            raise ArgumentsRefused("invalid", f"{first['msg'][:200]} (at `{path[:200] or '/'}`)", path) from None
        except ArgumentsRefused:
            raise
        except Exception as error:
            # The types are the tool author's code and may raise anything; whatever it is, the call has no arguments then.
            raise ArgumentsRefused("invalid", f"the tool's own types refused the arguments with {type(error).__name__}") from error


def tool_from_function(
    function: Callable[..., Any],
    *,
    name: str,
    access: Access,
    touches: Iterable[Touch] = (),
    targets: str | TargetTemplate | Sequence[str | TargetTemplate] = (),
    description: str | None = None,
    timeout_s: float | None = None,
    keep_result: bool | None = None,
    secrets: Iterable[str] = (),
) -> PythonTool:
    """Make a tool of a function: plain, async, a method (its `self` is no argument), a bound method, an object with `__call__`.

    `description` is the function's docstring by default. `timeout_s` is in seconds. `secrets` are paths as in `secret_paths`, beside those
    that the types mark. Raises CatalogInvalid, which names tool and parameter.
    """
    try:
        signature = read_signature(function)
        listed_secrets = (secrets,) if isinstance(secrets, str) else tuple(secrets)
        types = Types(signature.parameters, listed_secrets)
        listed = [targets] if isinstance(targets, str | TargetTemplate) else targets
        templates = tuple(target if isinstance(target, TargetTemplate) else TargetTemplate.parse(target) for target in listed)
    except CatalogInvalid as invalid:
        raise CatalogInvalid(f"tool `{name}`: {invalid}") from invalid
    spec = ToolSpec(
        name=name,
        access=access,
        touches=frozenset(touches),
        description=description if description is not None else inspect.getdoc(function) or "",
        input_schema=types.schema,
        targets=templates,
        timeout_s=timeout_s,
        keep_result=keep_result,
        secrets=listed_secrets,
    )
    return PythonTool(spec, function, signature, types)


def _field(parameter: Parameter) -> Any:
    if parameter.default is MISSING:
        return Field(alias=parameter.name)
    return Field(default=parameter.default, alias=parameter.name)
