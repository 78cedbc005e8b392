"""The tools that agents' frameworks bring: which they are, who says what they can do, and what is still to come with them.

Rules:

1. A name means one tool. Another agent's tool of the same name is the same tool if it takes the same arguments, and is refused if not.
   The name of a function of the gate, or of what stands beside one, is taken.
2. A tool enters the catalog when somebody has said what it can do and a framework what it takes, in whichever order; with it enter the
   preview and the probe that have waited for it. Where one of them does not fit, none of this happens, however often it is tried.
3. What a framework has said of a tool stays said: what becomes of its own values later changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from licet.catalog.adopted import AdoptedTool, adopted_spec, is_classified_so, is_open, say_the_same, take_the_same
from licet.catalog.declared import ToolSettings
from licet.catalog.spec import Catalog, ToolSpec
from licet.catalog.upstream import table_of
from licet.config import Settings
from licet.errors import CatalogInvalid
from licet.names import quoted

Companion = tuple[str, Callable[..., Any]]
"""A preview or a probe, by its kind."""


class Adoptions:
    """Guarded by its gate's lock. `unclassified` are names of tools of which nobody has said what they can do.

    `written` are the tables of licet.toml that are not of tools of upstreams, `functions` the tools that the gate has functions for, as
    they become more. `fits` raises `CatalogInvalid` where what stands beside a tool does not go with it.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        catalog: Catalog,
        written: Mapping[str, ToolSettings],
        *,
        functions: Container[str],
        fits: Callable[[ToolSpec], None],
    ) -> None:
        self.unclassified: frozenset[str] = frozenset()
        self._functions = functions
        self._fits = fits
        self._settings = settings
        self._written = written
        self._folder = folder
        self._catalog = catalog
        self._tables: dict[str, ToolSettings] = {}
        self._tools: dict[str, AdoptedTool] = {}
        self._companions: dict[str, list[Companion]] = {}

    def under(self, other: Adoptions) -> None:
        """The same tools under other settings. Raises `CatalogInvalid`."""
        other._companions = {name: list(waiting) for name, waiting in self._companions.items()}
        for name, table in self._tables.items():
            other.classify(name, table)
        for tool in self._tools.values():
            other.take(tool)

    def classify(self, name: str, table: ToolSettings) -> bool:
        """Somebody says what a tool can do; whether the catalog has changed. Raises `CatalogInvalid` where it was said otherwise."""
        known = self._written.get(name) or self._tables.get(name)
        if known is not None and not say_the_same(known, table):
            raise CatalogInvalid(f"it was said otherwise before what the tool {quoted(name)} can do")
        if name in self._functions or (known is None and self._catalog.find_tool(name) is not None):
            raise CatalogInvalid(f"the tool {quoted(name)} is in the catalog, which knows what it can do")
        entered = name in self.unclassified and self._enter(self._tools[name], table)
        self._tables[name] = known or table  # last: what cannot be so was not said
        return entered

    def take(self, tool: AdoptedTool) -> bool:
        """A framework brings a tool; whether it is new. Raises `CatalogInvalid`: another has its name, or it cannot be governed."""
        known = self._tools.get(tool.name)
        if known is not None:
            if not take_the_same(known, tool):
                raise CatalogInvalid(f"another tool {quoted(tool.name)} takes other arguments: give one of them another name")
            return False
        table = self._written.get(tool.name) or self._tables.get(tool.name)
        if tool.name in self._functions or (table is None and self._catalog.find_tool(tool.name) is not None):
            raise CatalogInvalid(f"the catalog has another tool {quoted(tool.name)}: give one of them another name")
        tool = replace(tool, schema=deepcopy(tool.schema))  # rule 3
        if table is None:
            self._tools[tool.name] = tool
            self.unclassified |= {tool.name}
            return True
        return self._enter(tool, table)

    def find(self, name: str) -> AdoptedTool | None:
        """The tool of this name, classified or not."""
        return self._tools.get(name)

    @property
    def names(self) -> frozenset[str]:
        """The tools that are in the catalog."""
        return frozenset(self._tools) - self.unclassified

    def is_awaited(self, name: str) -> bool:
        """Whether somebody has said what the tool can do, and no framework has brought it yet."""
        table = self._tables.get(name) or self._written.get(name)
        return name not in self._tools and name not in self._functions and table is not None and is_open(table)

    def wait_for(self, name: str, companion: Companion) -> None:
        """Keep a preview or probe until its tool is brought. Raises `CatalogInvalid` for a second preview of it."""
        kind, _ = companion
        if kind == "preview" and any(kind == waiting for waiting, _ in self._companions.get(name, ())):
            raise CatalogInvalid(f"the preview of {quoted(name)} is already registered with another function")
        self._companions.setdefault(name, []).append(companion)

    def waiting_for(self, name: str) -> list[Companion]:
        """What waits for this tool."""
        return list(self._companions.get(name, ()))

    def companions_of(self, name: str) -> list[Companion]:
        """What has waited for this tool; it waits no longer."""
        return self._companions.pop(name, [])

    @property
    def awaited(self) -> frozenset[str]:
        """Tools of which somebody has said what they can do, and that are in no catalog: nobody has said yet what they take."""
        said = {**self._written, **self._tables}
        return frozenset(name for name in said if self.is_awaited(name) and self._catalog.find_tool(name) is None)

    def seen_elsewhere(self, catalog: Catalog, theirs: Catalog) -> Catalog:
        """What of another process's catalog counts here: of a tool that is only classified here, what that process saw it take.

        It counts where the tool is classified there as it is here now. Where `catalog` has such a tool without arguments, it is given them.
        """
        outdated = set()
        for name, table in {**self._written, **self._tables}.items():
            seen = theirs.find_tool(name)
            if seen is None or not self.is_awaited(name):
                continue
            if not is_classified_so(seen, table):
                outdated.add(name)
            elif catalog.find_tool(name) is not None:
                catalog.replace_tool(seen)
        return theirs.without(outdated) if outdated else theirs

    def explained(self, problems: Sequence[str], catalog: Catalog) -> tuple[str, ...]:
        """Why policies do not load: of policies that speak of awaited tools that these are awaited, and nothing of what follows from it."""
        names = {name for name in (*self._written, *self._tables) if self.is_awaited(name) and not _takes_anything(catalog, name)}
        spoken = {name for name in names if any(_speaks_of(problem, name) for problem in problems)}
        policies = {_policy_of(problem) for problem in problems if any(_speaks_of(problem, name) for name in spoken)} - {None}
        rest = [problem for problem in problems if _policy_of(problem) not in policies]
        return (*[awaited_message(name) for name in sorted(spoken)], *rest)

    def _enter(self, tool: AdoptedTool, table: ToolSettings) -> bool:
        spec = adopted_spec(tool, table, folder=self._folder, timeout_s=self._settings.limits.tool_timeout_s)
        self._fits(spec)
        if tool.name in self._written:
            self._catalog.replace_tool(spec)  # its own table has entered it before, without what it takes
        else:
            self._catalog.add_tool(spec)
        self._tools[tool.name] = tool
        self.unclassified -= {tool.name}
        return True


def awaited_message(name: str) -> str:
    """Why a tool that is classified cannot be called yet, and what to do about it."""
    how = f"give `input` in {quoted(table_of(name))}, or call `gate.coverage(agent)` with the agent that has the tool"
    return f"nobody has said yet what the tool {quoted(name)} takes: {how}"


def _takes_anything(catalog: Catalog, name: str) -> bool:
    spec = catalog.find_tool(name)
    return spec is not None and bool(spec.input_schema.get("properties"))


def _speaks_of(problem: str, name: str) -> bool:
    """Whether a problem of a policy names a tool, or its preview, as the engine or the loader does."""
    return re.search(rf"[`\"]{re.escape(name)}(\.preview)?[`\"]", problem) is not None


def _policy_of(problem: str) -> str | None:
    found = re.search(r"policy `([^`]+)`", problem)
    return None if found is None else found[1]
