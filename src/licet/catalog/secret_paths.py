"""Paths to the secret fields of a tool's arguments.

    auth.token            a member of an object
    items[].secret        of every member of a list
    headers.*             every member of an object whose names nobody declared
    auth."x.token"        a name with a dot, bracket, star or quote in it, written as a JSON string

Rules:

1. A path that leads to nothing in the tool's input schema is refused: what is misspelt would be recorded.
2. What the schema itself calls secret (`"writeOnly": true`, `"format": "password"`) is found at any depth, through lists, maps, references
   and alternatives. Where a schema refers to itself, everything below the second turn is secret.
3. A secret field is no part of a target template: targets are named in policies and in the log.
4. A secret has no default but null and the empty text: a default stands in the catalog, which is recorded.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, TypeAlias

from licet.catalog.schema import resolved, subschemas
from licet.errors import CatalogInvalid
from licet.model import JsonObject

SECRETS_LIMIT = 100
"""Paths a tool may have: each can become an entry of an envelope."""
PATH_LIMIT = 200
"""Characters of one path."""
_SUGGESTED_LIMIT = 1_000
_SEGMENT = re.compile(r'\.?(?:(?P<items>\[\])|(?P<members>\*)|(?P<name>[^.\[\]*"]+)|(?P<quoted>"(?:[^"\\]|\\.)+"))')
_PLAIN = re.compile(r'[^.\[\]*"]+')
_SAME_PLACE = ("anyOf", "oneOf", "allOf", "if", "then", "else", "not", "dependentSchemas")
_ITEMS = ("items", "prefixItems", "contains", "unevaluatedItems")
_MEMBERS = ("additionalProperties", "patternProperties", "unevaluatedProperties")
_BY_NAME = frozenset({"patternProperties", "dependentSchemas"})


class Every(Enum):
    """A segment that stands for all there are."""

    ITEM = "[]"
    MEMBER = "*"


Path: TypeAlias = tuple[str | Every, ...]


def parse(text: str) -> Path:
    """The segments of a path. Raises CatalogInvalid, which quotes the path."""
    segments: list[str | Every] = []
    position = 0
    while position < len(text):
        match = _SEGMENT.match(text, position)
        # A dot stands between two segments, and nowhere else; brackets follow what they belong to.
        has_dot = match is not None and match[0].startswith(".")
        if match is None or (has_dot != (position > 0 and match["items"] is None)):
            break
        segments.append(_segment(match))
        position = match.end()
    if position < len(text) or not segments or segments[0] is Every.ITEM or len(text) > PATH_LIMIT:
        raise CatalogInvalid(f"`{text[:PATH_LIMIT]}` is not a path: write `auth.token`, `items[].secret` or `headers.*`")
    return tuple(segments)


def written(path: Path) -> str:
    """A path as text; `parse` gives the path back."""
    parts: list[str] = []
    for segment in path:
        if segment is Every.ITEM:
            parts.append("[]")
        else:
            name = "*" if segment is Every.MEMBER else _name(str(segment))
            parts.append(f".{name}" if parts else name)
    return "".join(parts)


def secrets_of(schema: JsonObject, listed: Iterable[str]) -> tuple[str, ...]:
    """The secret paths of a checked input schema, those listed and those that it states: sorted, each once. Raises CatalogInvalid."""
    if isinstance(listed, str):
        raise CatalogInvalid(f"secrets must be a list of paths: write `[{json.dumps(listed)}]`")
    paths = set()
    for text in listed:
        path = parse(text)
        if not _leads_somewhere(schema, path):
            raise CatalogInvalid(f"the secret `{text}` is nowhere in the input schema{_suggestion(schema, text)}")
        paths.add(path)
    if any(map(_says_secret, subschemas(schema))):  # most schemas have none, and a walk along their references may be long
        for path in _stated(schema, schema, (), ()):
            paths.add(path)
            if len(paths) > SECRETS_LIMIT:
                break
    if () in paths:
        raise CatalogInvalid("the arguments as a whole cannot be secret: mark their fields")
    if len(paths) > SECRETS_LIMIT:
        raise CatalogInvalid(f"more than {SECRETS_LIMIT} fields are secret: mark the object that holds them")
    for path in paths:
        _check_default(schema, path)
    return tuple(sorted(map(written, paths)))


def hides(secrets: Iterable[Path], names: tuple[str, ...]) -> Path | None:
    """The secret path that the names of a target template lead to or into; None if there is none. Lists count for nothing in both."""
    for path in secrets:
        wanted = [segment for segment in path if segment is not Every.ITEM]
        if len(wanted) <= len(names) and all(want in {Every.MEMBER, name} for want, name in zip(wanted, names, strict=False)):
            return path
    return None


def is_hidden(secrets: Iterable[Path], place: Iterable[str | int]) -> bool:
    """Whether the value at this place (names and indexes) is secret, or inside of a secret one."""
    steps = tuple(place)
    return any(len(path) <= len(steps) and all(map(_covers, path, steps)) for path in secrets)


def may_hold(secrets: Iterable[Path], place: Iterable[str | int]) -> bool:
    """Whether a secret may stand at this place, around it or below it."""
    steps = tuple(place)
    return any(all(map(_covers, path, steps)) for path in secrets)


def _covers(segment: str | Every, step: str | int) -> bool:
    return isinstance(step, int) if segment is Every.ITEM else segment is Every.MEMBER or segment == step


def _segment(match: re.Match[str]) -> str | Every:
    if match["items"]:
        return Every.ITEM
    if match["members"]:
        return Every.MEMBER
    if match["name"]:
        return match["name"]
    try:
        return str(json.loads(match["quoted"]))
    except ValueError as error:
        raise CatalogInvalid(f"`{match['quoted'][:PATH_LIMIT]}` in a path is not a JSON string") from error


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else json.dumps(name)


def _same(root: JsonObject, schemas: Iterable[Any]) -> list[Any]:
    """These schemas and every schema that speaks of the same value, each once: references may lead back, or to one thing many times."""
    found: dict[int, Any] = {}
    queue = list(schemas)
    while queue:
        schema = queue.pop()
        if id(schema) in found or schema is False:
            continue
        found[id(schema)] = schema
        if isinstance(schema, dict):
            queue += _parts(schema, _SAME_PLACE)
            if "$ref" in schema:
                queue.append(resolved(root, schema["$ref"]))
    return list(found.values())


def _parts(schema: JsonObject, keywords: Iterable[str]) -> Iterator[Any]:
    """The schemas that stand under these keywords, alone, in a list or by name."""
    for keyword in keywords:
        value = schema.get(keyword)
        if isinstance(value, list):
            yield from value
        elif keyword in _BY_NAME:
            yield from (value or {}).values()
        elif value is not None:
            yield value


def _inside(schema: JsonObject) -> Iterator[tuple[Path, Any]]:
    """The parts of a schema, each with the segment that leads to it: none where it speaks of the same value."""
    yield from (((), part) for part in _parts(schema, _SAME_PLACE))
    yield from (((name,), part) for name, part in schema.get("properties", {}).items())
    yield from (((Every.MEMBER,), part) for part in _parts(schema, _MEMBERS))
    yield from (((Every.ITEM,), part) for part in _parts(schema, _ITEMS))


def _below(root: JsonObject, schemas: Iterable[Any], segment: str | Every) -> list[Any]:
    """The schemas of what this segment leads to; True where anything may be there."""
    found: list[Any] = []
    for place in _same(root, schemas):
        if not isinstance(place, dict) or _is_open(place, segment):
            found.append(True)
            continue
        if segment is Every.ITEM:
            found += _parts(place, _ITEMS)
        else:
            found += [part for name, part in place.get("properties", {}).items() if segment in {Every.MEMBER, name}]
            found += _parts(place, _MEMBERS)
    return [part for part in found if part is not False]


def _is_open(place: JsonObject, segment: str | Every) -> bool:
    """Whether the schema says what a value is, but not what is in it."""
    types = place.get("type", ())
    if segment is Every.ITEM:
        return "array" in types and not set(_ITEMS) & set(place)
    return "object" in types and not {"properties", *_MEMBERS} & set(place)


def _leads_somewhere(root: JsonObject, path: Path) -> bool:
    places: list[Any] = [root]
    for segment in path:
        places = _below(root, places, segment)
        if any(place is True for place in places):
            return True
    return bool(places)


def _says_secret(schema: JsonObject) -> bool:
    return schema.get("writeOnly") is True or schema.get("format") == "password"


def _stated(root: JsonObject, schema: Any, path: Path, seen: tuple[str, ...]) -> Iterator[Path]:
    """Where the schema itself says secret, outermost first; `seen` are the references that lead here."""
    if not isinstance(schema, dict):
        return
    if _says_secret(schema):
        yield path
        return
    reference = schema.get("$ref")
    if reference is not None and _holds_secret(root, reference):
        if reference in seen:
            yield path
            return
        yield from _stated(root, resolved(root, reference), path, (*seen, reference))
    for below, part in _inside(schema):
        yield from _stated(root, part, (*path, *below), seen)


def _holds_secret(root: JsonObject, reference: str) -> bool:
    """Whether anything that this reference leads to, by any way, is secret."""
    seen: set[str] = set()
    queue = [reference]
    while queue:
        reference = queue.pop()
        if reference not in seen:
            seen.add(reference)
            for part in subschemas(resolved(root, reference)):
                if _says_secret(part):
                    return True
                queue += [part["$ref"]] if "$ref" in part else []
    return False


def _check_default(root: JsonObject, path: Path) -> None:
    places: list[Any] = [root]
    for depth in range(len(path) + 1):
        for part in _same(root, places):
            if isinstance(part, dict) and _reaches(part.get("default"), path[depth:]):
                raise CatalogInvalid(f"the secret `{written(path)}` has a default, which would stand in the catalog for everybody to read")
        places = _below(root, places, path[depth]) if depth < len(path) else []


def _reaches(value: Any, path: Path) -> bool:
    """Whether there is anything at this path of a value."""
    if not path:
        return value is not None and value != ""
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        return first is Every.ITEM and any(_reaches(item, rest) for item in value)
    return isinstance(value, dict) and any(_reaches(inner, rest) for name, inner in value.items() if first in {Every.MEMBER, name})


def _suggestion(schema: JsonObject, text: str) -> str:
    near = difflib.get_close_matches(text, _known(schema), n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""


def _known(root: JsonObject) -> list[str]:
    """Paths that the schema has, the shortest first; a schema may be endless, so only so many."""
    found: dict[str, None] = {}
    queue: deque[tuple[Path, Any]] = deque([((), root)])
    while queue and len(found) < _SUGGESTED_LIMIT:
        path, schema = queue.popleft()
        if path:
            found[written(path)] = None
        for place in _same(root, [schema]):
            if isinstance(place, dict):
                queue += [((*path, *below), part) for below, part in _inside(place) if below and part is not False]
    return list(found)
