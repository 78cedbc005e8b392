"""What an upstream's tool changed, read from its result by a mapping in licet.toml.

    [tools.crm__set_limit]
    effects = [{target = "Customer::{id}", field = "limit", before = "limit.old", after = "limit.new"}]
    preview_argument = "dry_run"
    dry_run_trusted = true

Rules:

1. `target` is a template over the arguments of the call; `before` and `after` are paths into the result's `structuredContent`: names of
   members, and numbers of items, with dots between them. Without `before` nobody knows what was there; without `after` there is nothing
   any more.
2. A path that leads nowhere is no effect, and the record says which it was. Nothing is guessed; a preview with such a path, or with more
   effects than are read, has failed.
3. What a result says is a claim of the upstream. It decides nothing.
4. A call that only asks what would happen (`preview_argument`) has changed nothing, whatever its result says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, Struct

from licet.catalog.templates import TargetTemplate
from licet.errors import ArgumentsRefused, CatalogInvalid
from licet.model import Effect, JsonObject

PATH_LIMIT: Final = 32
MAPPED_LIMIT: Final = 1_000
"""Effects of one result. More is no list that anybody reads."""
_NOWHERE: Final = object()


class EffectSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `effects` in a table of `[tools]`."""

    target: str
    field: str
    before: str | None = None
    after: str | None = None


class EffectMap(Struct, frozen=True):
    """One entry, read: where it finds what."""

    target: TargetTemplate
    field: str
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None


class Mapped(Struct, frozen=True):
    """What a result said that was changed, how many effects in all, and which paths led nowhere."""

    effects: tuple[Effect, ...] = ()
    missing: tuple[str, ...] = ()
    count: int = 0


def effect_maps(settings: Sequence[EffectSettings], schema: JsonObject) -> tuple[EffectMap, ...]:
    """The entries of one tool, whose input schema this is. Raises `CatalogInvalid`."""
    return tuple([_read(one, schema) for one in settings])


def mapped(maps: Sequence[EffectMap], arguments: JsonObject, result: object) -> Mapped:
    """What this result of `tools/call` says that a call with these arguments changed, or would change."""
    content = result.get("structuredContent") if isinstance(result, dict) else None
    effects: list[Effect] = []
    missing: dict[str, None] = {}
    for one in maps:
        found = [_find(content, path) if path is not None else None for path in (one.before, one.after)]
        lost = [path for path, value in zip((one.before, one.after), found, strict=True) if path is not None and value is _NOWHERE]
        targets = _targets(one, arguments)
        for path in lost:
            missing[".".join(path)] = None
        if not targets:
            missing[str(one.target)] = None
        if not lost:
            before, after = found
            unknown = True if one.before is None else UNSET
            effects += [Effect(target=name, field=one.field, before=before, after=after, before_unknown=unknown) for name in targets]
    return Mapped(tuple(effects[:MAPPED_LIMIT]), tuple(missing), len(effects))


def _read(one: EffectSettings, schema: JsonObject) -> EffectMap:
    if one.before is None and one.after is None:
        raise CatalogInvalid(f"the effect on `{one.field}` says neither `before` nor `after`")
    if not one.field.strip() or not one.field.isprintable():
        raise CatalogInvalid("the `field` of an effect is text that can be read")
    target = TargetTemplate.parse(one.target)
    target.check(schema)
    return EffectMap(target, one.field, _path(one.before), _path(one.after))


def _path(written: str | None) -> tuple[str, ...] | None:
    if written is None:
        return None
    path = tuple(written.split("."))
    if not all(path) or len(path) > PATH_LIMIT:
        raise CatalogInvalid(f"`{written[:80]}` is no path such as `balance.old`")
    return path


def _find(content: Any, path: tuple[str, ...]) -> Any:
    here = content
    for step in path:
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isascii() and step.isdigit() and len(step) <= 6 and int(step) < len(here):  # noqa: PLR2004 - enough
            here = here[int(step)]
        else:
            return _NOWHERE
    return here


def _targets(one: EffectMap, arguments: JsonObject) -> list[str]:
    try:
        return [str(ref) for ref in one.target.expand(arguments)]
    except ArgumentsRefused:
        return []  # the argument was left out
