"""Everything that is wrong with licet.toml, the catalog, the directory and the policies, each with its place.

The gate stops at the first thing that keeps it from opening; whoever mends a configuration wants to see all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct

from licet.catalog.adopted import says_too_little
from licet.catalog.declared import ToolSettings, resource_from_settings, tool_from_settings
from licet.catalog.pins import LOCK_FILE, NOTHING_PINNED, Lock, read_lock
from licet.catalog.spec import Catalog
from licet.catalog.upstream import is_of_upstream, offered
from licet.cli.toml_place import find_line
from licet.config import Settings
from licet.errors import CatalogInvalid, ConfigInvalid, DirectoryInvalid, PolicyInvalid
from licet.gate.adoptions import Adoptions
from licet.identity.directory import Directory
from licet.policy.bundle import OWN_FILE, Bundle
from licet.policy.engine import Engine
from licet.policy.own import OwnPolicies

_QUOTED = re.compile(r"`([^`]+)`")
_AT_LINE = re.compile(r"\(at line (\d+)")
_Entry = TypeVar("_Entry")


class Problem(Struct, frozen=True):
    """One thing to mend, and where: `place` is `file:line` as far as it is known."""

    part: Literal["config", "catalog", "directory", "policy"]
    place: str | None
    message: str

    def __str__(self) -> str:
        return self.message if self.place is None else f"{self.place}: {self.message}"


def config_problem(error: ConfigInvalid) -> Problem:
    """What keeps licet.toml from being read."""
    at = _AT_LINE.search(str(error))
    place = f"{_near(error.file)}:{at[1]}" if at and error.file else _place(error.file, error.key)
    return Problem("config", place, str(error))


def catalog_problems(settings: Settings) -> Iterator[Problem]:
    """Every tool and resource of licet.toml that cannot be governed."""
    folder = settings.file.parent if settings.file is not None else None
    if folder is not None:
        try:
            lock = read_lock(folder / LOCK_FILE) if settings.upstreams else NOTHING_PINNED
        except CatalogInvalid as error:
            yield Problem("catalog", None, str(error))
            return
        yield from _declared(settings, "tools", settings.tools, lambda name, tool: _tool(settings, lock, folder, name, tool))
        yield from _declared(settings, "resources", settings.resources, lambda name, one: resource_from_settings(name, one, folder=folder))


def _tool(settings: Settings, lock: Lock, folder: Path, name: str, tool: ToolSettings) -> None:
    """Raises `CatalogInvalid` for a tool that cannot be governed. One of an upstream has its schema from `licet.lock`."""
    for upstream, one in settings.upstreams.items():
        if is_of_upstream(name, upstream):
            offered({upstream: one.timeout_s}, lock, {name: tool}, folder=folder)
            return
    if not says_too_little(tool):  # else a framework is to say the rest
        tool_from_settings(name, tool, folder=folder)


def directory_problems(settings: Settings) -> tuple[Problem, ...]:
    """Every contradiction among tenants, agents, services, users, roles and groups."""
    try:
        Directory.from_settings(settings)
    except DirectoryInvalid as error:
        return tuple(Problem("directory", _place_of_quoted(settings, part), part) for part in str(error).split("; "))
    return ()


def bundle_problems(settings: Settings) -> tuple[Problem, ...]:
    """Every policy that cannot be read."""
    try:
        Bundle.read(settings.policies)
    except PolicyInvalid as error:
        return _of_policies(error)
    return ()


def policy_problems(settings: Settings, catalog: Catalog, adoptions: Adoptions) -> tuple[Problem, ...]:
    """Every policy that cannot be used with this catalog and the directory of `settings`, which must both be sound.

    `adoptions` know which tools no framework has brought yet: that is told in the place of what follows from it.
    """
    try:
        Engine.load(Bundle.read(settings.policies), catalog, Directory.from_settings(settings), meters=tuple(settings.meters))
    except PolicyInvalid as error:
        return (*_of_policies(PolicyInvalid(adoptions.explained(error.problems, catalog))), *own_problems(settings))
    return own_problems(settings)


def own_problems(settings: Settings) -> tuple[Problem, ...]:
    """What keeps `licet.cedar` from loading, where there is one: who serves nothing needs none."""
    if not (settings.policies / OWN_FILE).exists():
        return ()
    try:
        OwnPolicies.read(settings.policies, Directory.from_settings(settings))
    except PolicyInvalid as error:
        return _of_policies(error)
    return ()


def _of_policies(error: PolicyInvalid) -> tuple[Problem, ...]:
    """Policies' problems begin with their place."""
    return tuple(Problem("policy", None, problem) for problem in error.problems)


def _declared(settings: Settings, table: str, entries: Mapping[str, _Entry], make: Callable[[str, _Entry], object]) -> Iterator[Problem]:
    for name, entry in entries.items():
        try:
            make(name, entry)
        except CatalogInvalid as error:
            yield Problem("catalog", _place(str(settings.file), f"{table}.{name}", known=(table, name)), str(error))


def _place_of_quoted(settings: Settings, message: str) -> str | None:
    """The place of the first thing in backticks that licet.toml has: a table and a name in it, or a dotted key."""
    if settings.file is None:
        return None
    file, names = str(settings.file), _QUOTED.findall(message)
    candidates = [_place(file, ".".join(pair), known=pair) for pair in pairwise(names)] + [_place(file, name) for name in names]
    return next((place for place in candidates if place is not None and place != _near(file)), _near(file))


def _place(file: str | None, key: str | None, known: tuple[str, ...] | None = None) -> str | None:
    if file is None:
        return None
    line = None
    if key is not None:
        try:
            with open(file, encoding="utf-8") as stream:  # noqa: PTH123 - what is named may be anything
                text = stream.read()
        except (OSError, UnicodeDecodeError):
            return _near(file)
        line = _line(text, key, known)
    return _near(file) if line is None else f"{_near(file)}:{line}"


def _near(file: str) -> str:
    """The file as it is called from this folder."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else file


def _line(text: str, key: str, known: tuple[str, ...] | None) -> int | None:
    """A dotted key as messages write it does not say which dots are in names: every way to cut it is tried, the finest that fits wins."""
    if known is not None:
        return find_line(text, *known)
    parts = key.split(".")
    cuts = [parts, *([parts[0], ".".join(parts[1:cut]), *parts[cut:]] for cut in range(2, len(parts) + 1))]
    return next((line for line in (find_line(text, *cut) for cut in cuts) if line is not None), None)
