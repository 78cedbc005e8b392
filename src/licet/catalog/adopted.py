"""Tools that belong to an agent's framework, as tools of the catalog.

Rules:

1. Name, description and arguments are those that the framework shows its model; what a tool can do is said by whoever runs it, in
   licet.toml or with `Gate.classify`. Nothing that a framework or a tool says of itself is read as a classification.
2. A table of licet.toml that gives a schema is believed before the framework's: then it is what arguments are validated by.
3. A tool that nobody classified is in no catalog: it is denied, and the denial says what is missing.
4. Arguments that are not declared are refused, also where the framework would take any: no policy could speak of them.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from licet.catalog.declared import ToolSettings, tool_from_settings
from licet.catalog.dialects import modernised
from licet.catalog.schema import subschemas
from licet.catalog.spec import ToolSpec
from licet.catalog.templates import TargetTemplate
from licet.errors import CatalogInvalid
from licet.model import JsonObject


class AdoptedTool(Struct, frozen=True, kw_only=True):
    """A tool as its framework shows it to a model. `schema` is the JSON Schema of its arguments, `framework` says whose it is."""

    name: str
    description: str
    schema: JsonObject
    framework: str


def is_open(table: ToolSettings) -> bool:
    """Whether a table classifies a tool without saying what it takes: then whoever brings the tool says so."""
    return table.input is None and table.schema is None and table.schema_file is None


def adopted_spec(tool: AdoptedTool, table: ToolSettings, *, folder: Path, timeout_s: float | None) -> ToolSpec:
    """What the catalog knows of it. `timeout_s` is for tools whose table gives none. Raises `CatalogInvalid`."""
    described = replace(table, description=table.description or tool.description, timeout_s=table.timeout_s or timeout_s)
    if is_open(table):
        try:
            described = replace(described, schema=modernised(tool.schema))
        except CatalogInvalid as invalid:
            raise CatalogInvalid(f"tool `{tool.name}`: {invalid}") from invalid
    return tool_from_settings(tool.name, described, folder=folder)


def says_too_little(table: ToolSettings) -> bool:
    """Whether nothing can be made of a table until somebody says what the tool takes: it names arguments as targets or as secrets."""
    written = (table.targets,) if isinstance(table.targets, str) else table.targets
    return is_open(table) and (bool(table.secrets) or any(TargetTemplate.parse(text).constant is None for text in written))


def is_classified_so(spec: ToolSpec, table: ToolSettings) -> bool:
    """Whether a definition says the same of what a tool can do as its table, whatever it says of what the tool takes."""
    said = (table.access, frozenset(table.touches), table.keep_result, _targets(table))
    return said == (spec.access, spec.touches, spec.keep_result, set(map(str, spec.targets))) and set(table.secrets) <= set(spec.secrets)


def say_the_same(one: ToolSettings, other: ToolSettings) -> bool:
    """Whether two tables classify a tool alike, in whatever form and order they say it, and whatever they say of what it takes."""
    said, said_there = (
        (table.access, frozenset(table.touches), table.timeout_s, table.keep_result, frozenset(table.secrets)) for table in (one, other)
    )
    return said == said_there and _targets(one) == _targets(other)


def take_the_same(one: AdoptedTool, other: AdoptedTool) -> bool:
    """Whether two tools take the same arguments, however they are described to a model."""
    return _without_words(one.schema) == _without_words(other.schema)


def _without_words(schema: JsonObject) -> JsonObject:
    bare = deepcopy(schema)
    for part in subschemas(bare):
        part.pop("title", None)
        part.pop("description", None)
    return bare


def _targets(table: ToolSettings) -> set[str]:
    written = (table.targets,) if isinstance(table.targets, str) else table.targets
    return {str(TargetTemplate.parse(text)) for text in written}
