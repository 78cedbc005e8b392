"""Tools and resources that are not Python functions: the tables `[tools]` and `[resources]` of licet.toml.

    [tools."account.suspend"]
    access = "destructive"
    touches = ["access", "customers"]
    targets = ["Customer::{customer_id}"]
    input = {customer_id = "string", "reasons" = "string[]", until = "date?"}

    [resources.Customer]
    attributes = {vip = "boolean"}
    tenant = "resolver"
    url = "https://crm.internal/customers/{id}"

In the short form a property is a type (`string`, `integer`, `number`, `boolean`) or a format (`date`, `date-time`, `email`, `uri`, `uuid`,
`decimal`), with `[]` behind it for a list and `?` behind that where it may be left out; or a table, which is JSON Schema. `schema` holds a
whole JSON Schema instead, and `schema_file` names a file with one, from the folder of licet.toml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from licet.catalog import strict
from licet.catalog.effects_map import EffectSettings
from licet.catalog.spec import ResourceSpec, TenantSource, ToolSpec
from licet.catalog.templates import TargetTemplate
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import Access, JsonObject, Touch

_TYPES = frozenset({"string", "integer", "number", "boolean"})
_FORMATS = frozenset({"date", "date-time", "email", "uri", "uuid", "decimal"})


class ToolSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of `[tools]`. `timeout_s` is in seconds; one of `input`, `schema` and `schema_file`, or none for no arguments.

    The last four are for tools of an upstream alone (`catalog/upstream.py`): how its results say what was changed, and how it is asked what
    would be.
    """

    access: Access
    touches: tuple[Touch, ...] = ()
    targets: str | tuple[str, ...] = ()
    description: str = ""
    input: dict[str, str | JsonObject] | None = None
    schema: JsonObject | None = None
    schema_file: str | None = None
    timeout_s: float | None = None
    keep_result: bool | None = None
    secrets: tuple[str, ...] = ()
    effects: tuple[EffectSettings, ...] = ()
    preview: str | None = None
    preview_argument: str | None = None
    dry_run_trusted: bool = False


class ResourceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of `[resources]`. `tenant = "caller"` states that every id of this type belongs to whoever asks.

    `url` is where another service tells what an id is (`gate/http_resolver.py`); `headers` say where the values of its headers come from.
    """

    attributes: dict[str, str | JsonObject] | None = None
    schema: JsonObject | None = None
    schema_file: str | None = None
    tenant: TenantSource = "resolver"
    url: str | None = None
    headers: dict[str, str] = {}


def tool_from_settings(name: str, settings: ToolSettings, *, folder: Path, pinned: str = "") -> ToolSpec:
    """The spec of a declared tool; `folder` is where licet.toml lies. Raises CatalogInvalid, which names the tool.

    `pinned` is the SHA-256 (hex) of the definition that an upstream gave, where the tool is one's.
    """
    if not pinned and (settings.effects or settings.preview or settings.preview_argument):
        raise CatalogInvalid(f"tool `{name}`: `effects` and previews are read from results of an upstream, and this is no tool of one")
    try:
        schema = _schema(settings.input, settings.schema, settings.schema_file, folder)
        written = (settings.targets,) if isinstance(settings.targets, str) else settings.targets
        targets = tuple(TargetTemplate.parse(text) for text in written)
    except CatalogInvalid as invalid:
        raise CatalogInvalid(f"tool `{name}`: {invalid}") from invalid
    return ToolSpec(
        name=name,
        access=settings.access,
        touches=frozenset(settings.touches),
        description=settings.description,
        input_schema=schema,
        targets=targets,
        timeout_s=settings.timeout_s,
        keep_result=settings.keep_result,
        secrets=settings.secrets,
        pinned=pinned,
    )


def resource_from_settings(type: str, settings: ResourceSettings, *, folder: Path) -> ResourceSpec:  # noqa: A002 - the word of the design
    """The spec of a declared resource type; `folder` is where licet.toml lies. Raises CatalogInvalid, which names the type."""
    try:
        schema = _schema(settings.attributes, settings.schema, settings.schema_file, folder)
    except CatalogInvalid as invalid:
        raise CatalogInvalid(f"resource `{type}`: {invalid}") from invalid
    return ResourceSpec(type=type, attributes=schema, tenant_from=settings.tenant)


def short_schema(properties: dict[str, str | JsonObject]) -> JsonObject:
    """The JSON Schema of a short form: every property required unless it ends in `?`. Raises CatalogInvalid."""
    parts = {name: _property(name, written) for name, written in properties.items()}
    required = [name for name, written in properties.items() if not _is_optional(written)]
    return {"type": "object", "properties": parts, "required": required, "additionalProperties": False}


def _schema(short: dict[str, str | JsonObject] | None, full: JsonObject | None, file: str | None, folder: Path) -> JsonObject:
    if sum(form is not None for form in (short, full, file)) > 1:
        raise CatalogInvalid("give the short form, `schema` or `schema_file`, and only one of them")
    if file is not None:
        return _schema_from_file(folder / file)
    return full if full is not None else short_schema(short or {})


def _schema_from_file(path: Path) -> JsonObject:
    try:
        schema = strict.parse(path.read_bytes(), limit_values=strict.LIMIT_BYTES)
    except OSError as error:
        raise CatalogInvalid(f"the schema file `{path}` cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CatalogInvalid("the schema file's name is not a path") from error
    except ArgumentsRefused as refused:
        raise CatalogInvalid(f"the schema file `{path}` cannot be used: {refused}") from refused
    if not isinstance(schema, dict):
        raise CatalogInvalid(f"the schema file `{path}` holds no JSON object")
    return schema


def _is_optional(written: str | JsonObject) -> bool:
    return written.endswith("?") if isinstance(written, str) else "default" in written


def _property(name: str, written: str | JsonObject) -> Any:
    if isinstance(written, dict):
        return written
    word = written.removesuffix("?")
    item = word.removesuffix("[]")
    if item not in _TYPES | _FORMATS:
        raise CatalogInvalid(
            f"`{name}` has the unknown type `{written}`: use one of {', '.join(sorted(_TYPES | _FORMATS))}, with `[]` or `?`"
        )
    described: JsonObject = {"type": item} if item in _TYPES else {"type": "string", "format": item}
    return described if item == word else {"type": "array", "items": described}
