"""Whether the gate sees every tool of an agent.

Rules:

1. An agent is looked at by the adapter of its framework, which says of each tool whether a call of it passes through the gate.
2. What cannot be told counts as not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from licet.catalog.adopted import AdoptedTool
from licet.errors import UngovernedTools
from licet.integrations.frameworks import find_framework_of
from licet.names import quoted

if TYPE_CHECKING:
    from licet.gate.gate import Gate


class Surveyed(Struct, frozen=True, kw_only=True):
    """What an adapter sees of an agent: the framework's tools, names of functions that the gate governs itself, and what it cannot see.

    `later` are servers whose tools are governed, and known only when the agent runs.
    """

    adopted: tuple[AdoptedTool, ...] = ()
    governed: tuple[str, ...] = ()
    ungoverned: tuple[str, ...] = ()
    later: tuple[str, ...] = ()

    def __add__(self, other: Surveyed) -> Surveyed:
        return Surveyed(
            adopted=self.adopted + other.adopted,
            governed=self.governed + other.governed,
            ungoverned=self.ungoverned + other.ungoverned,
            later=self.later + other.later,
        )


class Coverage(Struct, frozen=True, kw_only=True):
    """The tools of some agents, by their names in the catalog. Those of `unclassified` are denied: nobody has said what they can do.

    `allowed` went past the gate by name. `later` are servers whose tools are governed, and known only when the agent runs.
    """

    tools: tuple[str, ...]
    unclassified: tuple[str, ...]
    allowed: tuple[str, ...]
    later: tuple[str, ...] = ()


def covered(gate: Gate, agents: Iterable[object], allow_ungoverned: Iterable[str]) -> Coverage:
    """Look at agents, and make their tools known. Raises `UngovernedTools`, also for what is no agent, and `CatalogInvalid`."""
    from licet.integrations.governing import refuse_ungoverned  # noqa: PLC0415  it needs the gate, which needs this module's callers

    surveyed = Surveyed()
    for agent in agents:
        surveyed += _adapter_of(agent).survey(gate, agent)
    allowed = frozenset({allow_ungoverned} if isinstance(allow_ungoverned, str) else allow_ungoverned)
    refuse_ungoverned(surveyed.ungoverned, allowed)
    gate.adopt(surveyed.adopted)
    names = {tool.name for tool in surveyed.adopted}
    unclassified = names & gate.registry.adoptions.unclassified
    return Coverage(
        tools=tuple(sorted((names - unclassified) | set(surveyed.governed))),
        unclassified=tuple(sorted(unclassified)),
        allowed=tuple(sorted(set(surveyed.ungoverned) & allowed)),
        later=tuple(sorted(set(surveyed.later))),
    )


def _adapter_of(agent: object) -> ModuleType | Any:
    for kind in type(agent).__mro__:
        framework = find_framework_of(kind.__module__)
        if framework is not None:
            return import_module(f"licet.integrations.{framework.name}")
    raise UngovernedTools(f"a {quoted(type(agent).__name__)} is no agent of a framework that has an adapter here", ())
