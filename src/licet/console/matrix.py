"""The matrix of permissions: what policies let each agent, or each role, do with each tool; and what nobody has used.

Rules:

1. A cell says what policies can say at all (policy/matrix.py), never a guess about one call: `licet can` and the inbox do that.
2. Agents of tenants out of reach stand nowhere. Policies are named to whoever may read those of the installation.
3. One page is one reading of the log; so is one cell.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal

from msgspec import Struct

from licet.console.frame import page, place_of
from licet.console.freezes import stopped_of
from licet.console.policies import address_of
from licet.console.usage import DAYS, Usage, counted_logs
from licet.model import OPERATOR_LOG, Principal, PrincipalKind
from licet.policy.matrix import Cell, cell_of, is_conditional, joined
from licet.server import directory
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import not_found
from licet.server.records import note_reading
from licet.server.shapes_records import Name

HERE: Final = "/console/permissions"
ROWS: Final = 30
"""Agents, or roles, of one page."""
_LOOKS: Final = {
    "allow": ("allow", "allowed"),
    "conditional": ("allow", "allowed under conditions"),
    "mix": ("mix", "allowed, held or denied, by its arguments"),
    "hold": ("hold", "held"),
    "deny": ("deny", "denied"),
}
_FOR: Final = {"user": "for a user", "self": "for itself", "both": "for itself or a user"}


class ShowMatrix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agents or roles, and from which on."""

    by: Literal["agents", "roles"] = "agents"
    start: int = 0


class OneCell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who, and which tool."""

    name: Name
    tool: Name
    by: Literal["agents", "roles"] = "agents"


def show(asked: Asked) -> Answer:
    """The matrix."""
    params: ShowMatrix = asked.params
    known = _known(asked)
    names = sorted(known.agents if params.by == "agents" else known.roles)
    start = max(0, min(params.start, len(names)))
    shown = names[start : start + ROWS]
    tools = asked.gate.scene.catalog.tools
    counted = counted_logs(asked)
    usage = Usage(asked, counted) if counted and params.by == "agents" else None
    matrix = _Matrix(asked, params.by, known, usage)
    groups = [
        (access.capitalize(), [matrix.row(name, shown) for name in sorted(tools) if tools[name].access == access])
        for access in ("read", "write", "destructive")
    ]
    if usage is not None:
        note_reading(asked, "count", {"by": "agent and tool", "since": usage.since.isoformat()}, counted, shown=0, payloads=False)
    never = sum(cell["is_never"] for _, rows in groups for row in rows for cell in row["cells"])
    return page(
        asked,
        "matrix.html",
        query=params,
        names=[(name, _FOR[known.agents[name].acts_for] if params.by == "agents" else "") for name in shown],
        groups=[(access, rows) for access, rows in groups if rows],
        count=len(names),
        tools=len(tools),
        days=DAYS,
        start=start,
        following=start + ROWS if start + ROWS < len(names) else None,
        counted=usage is not None,
        never=never,
    )


def show_cell(asked: Asked) -> Answer:
    """The rules of one cell, and how it was used."""
    params: OneCell = asked.params
    known = _known(asked)
    tool = asked.gate.scene.catalog.tools.get(params.tool)
    if tool is None or params.name not in (known.agents if params.by == "agents" else known.roles):
        raise not_found()
    cell = _Matrix(asked, params.by, known).cell(params.name, params.tool)
    may_read = asked.decide("policies.read", OPERATOR_LOG).allowed
    counted = counted_logs(asked)
    used = None
    if counted and params.by == "agents":
        usage = Usage(asked, counted)
        used = {word: usage.count(agent=params.name, tool=params.tool, verdict=word) for word in ("allow", "hold", "deny")}
        note_reading(asked, "count", {"agent": params.name, "tool": params.tool}, counted, shown=0, payloads=False)
    rules = [*cell.permits, *cell.holds, *cell.forbids]
    return page(
        asked,
        "cell.html",
        query=params,
        tool=tool,
        look=_LOOKS[cell.standing],
        rules=[_rule(policy) for policy in rules] if may_read else None,
        used=used,
        since=asked.gate.now() - timedelta(days=DAYS),
        days=DAYS,
        acts_for=_FOR[known.agents[params.name].acts_for] if params.by == "agents" else "",
        address=address_of,
    )


def _known(asked: Asked) -> directory.DirectoryShape:
    """The directory, as far as this one may know of it."""
    found: directory.DirectoryShape = directory.read_directory(asked.with_input(directory.ReadDirectory(tenant=place_of(asked)), None)).body
    return found


class _Matrix:
    """What is asked of each cell of one page."""

    def __init__(self, asked: Asked, by: str, known: directory.DirectoryShape, usage: Usage | None = None) -> None:
        self._engine = asked.gate.scene.engine
        self._by = by
        self._known = known
        self._usage = usage
        self._stopped = {*stopped_of(asked, "agent")} if by == "agents" else set()

    def cell(self, name: str, tool: str) -> Cell:
        """What policies can say of it."""
        tenant = next(iter(self._known.tenants), "")
        if self._by == "roles":
            kinds: tuple[PrincipalKind, ...] = ("User", "Agent", "Service")
            cells = [cell_of(self._engine, tool, Principal(kind=kind, id="", tenant=tenant, roles=(name,))) for kind in kinds]
            return joined(cells)
        return cell_of(self._engine, tool, Principal(kind="Agent", id=name, tenant=tenant, roles=self._known.agents[name].roles))

    def row(self, tool: str, names: list[str]) -> dict[str, Any]:
        """A line of the table."""
        return {"tool": tool, "cells": [self._drawn(name, tool) for name in names]}

    def _drawn(self, name: str, tool: str) -> dict[str, Any]:
        standing = self.cell(name, tool).standing
        glyph, word = _LOOKS[standing]
        used = None if self._usage is None else self._usage.count(agent=name, tool=tool)
        is_never = used is not None and used.number == 0 and standing != "deny"
        is_frozen = name in self._stopped
        return {
            "name": name,
            "standing": standing,
            "look": "frozen" if is_frozen else "never" if is_never else glyph,
            "word": f"{'frozen; else ' if is_frozen else ''}{word}{', never used' if is_never else ''}",
            "used": None if used is None else str(used),
            "tried": used is not None and standing == "deny" and used.number > 0,
            "is_never": is_never,
        }


def _rule(policy: Any) -> dict[str, Any]:
    obligation = policy.obligation
    look = "allow" if str(policy.effect) == "permit" else "hold" if obligation is not None else "deny"
    return {
        "id": policy.id,
        "look": look,
        "word": {"allow": "Allows", "hold": "Holds", "deny": "Denies"}[look],
        "when": "under conditions" if is_conditional(policy) else "always",
        "reason": policy.reason or policy.annotations.get("description", ""),
        "asks": "" if obligation is None else policy.annotations.get("require_approval") or obligation.kind,
        "file": policy.file,
        "line": policy.line,
        "text": policy.text,
    }


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consolePermissions",
        summary="What policies let each agent or role do with each tool",
        tag="console",
        action="directory.read",
        handler=show,
        params=ShowMatrix,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/cell",
        operation="consoleCell",
        summary="The rules and the use of one cell",
        tag="console",
        action="directory.read",
        handler=show_cell,
        params=OneCell,
    ),
)
