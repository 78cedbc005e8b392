"""A check of events against the definition of their class (tests/vectors/ocsf_api_activity_1.8.0.json names its source)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

SCHEMA = msgspec.json.decode((Path(__file__).parents[2] / "vectors/ocsf_api_activity_1.8.0.json").read_bytes())
_TYPES: dict[str, type | tuple[type, ...]] = {"integer_t": int, "long_t": int, "timestamp_t": int, "boolean_t": bool, "object_t": dict}


def violations(event: dict[str, Any]) -> list[str]:
    """What the event has that the class does not allow, and what it lacks."""
    return list(_check(event, SCHEMA["class"], "", {}))


def _check(value: dict[str, Any], definition: dict[str, Any], path: str, constraints: dict[str, list[str]]) -> Iterator[str]:
    attributes = definition["attributes"]
    yield from (f"{path}{name}: unknown" for name in value.keys() - attributes.keys())
    yield from (
        f"{path}{name}: missing" for name, said in attributes.items() if said.get("requirement") == "required" and name not in value
    )
    if constraints and not any(name in value for name in constraints["at_least_one"]):
        yield f"{path}: none of {constraints['at_least_one']}"
    for name in value.keys() & attributes.keys():
        said = attributes[name]
        many = said.get("is_array", False)
        if many and not isinstance(value[name], list):
            yield f"{path}{name}: no list"
            continue
        for item in value[name] if many else [value[name]]:
            yield from _check_one(item, said, f"{path}{name}")
        yield from _check_sibling(value, name, said, path)


def _check_one(item: Any, said: dict[str, Any], path: str) -> Iterator[str]:
    kind = said["type"]
    if kind != "json_t" and (not isinstance(item, _TYPES.get(kind, str)) or (kind != "boolean_t" and isinstance(item, bool))):
        yield f"{path}: `{item}` is no {kind}"
    elif "enum" in said and str(item) not in said["enum"]:
        yield f"{path}: `{item}` is not among {list(said['enum'])}"
    elif "object" in said:
        inner = SCHEMA["objects"].get(said["object"])
        if inner is None:
            yield f"{path}: object `{said['object']}` is not in the trimmed schema"
        else:
            yield from _check(item, inner, f"{path}.", inner["constraints"])


def _check_sibling(value: dict[str, Any], name: str, said: dict[str, Any], path: str) -> Iterator[str]:
    """The text beside a number must be the number's caption, and stand there where the number is 99 (Other)."""
    number, sibling = value[name], said.get("sibling")
    if sibling is None or "enum" not in said:
        return
    if number == 99:
        if not value.get(sibling):
            yield f"{path}{sibling}: missing beside 99"
    elif sibling in value and value[sibling] != said["enum"].get(str(number)):
        yield f"{path}{sibling}: `{value[sibling]}` is not `{said['enum'].get(str(number))}`"
