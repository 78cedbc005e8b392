"""The matrix of permissions: what policies let each agent, or each role, do with each tool; and what nobody has used.

Rules:

1. A cell says what policies can say at all (policy/matrix.py), never a guess about one call: `licet can` and the inbox do that.
2. Agents of tenants out of reach stand nowhere. Policies, and the environments that they name, are told to whoever may read those of the
   installation.
3. One page is one reading of the log; so is one cell.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal

from msgspec import Struct

from licet.console.frame import page, place_of, to_query
from licet.console.freezes import stopped_of
from licet.console.policies import address_of
from licet.console.usage import DAYS, Usage, counted_logs
from licet.model import OPERATOR_LOG, Principal, PrincipalKind
from licet.policy.bundle import Policy
from licet.policy.environments import Speaking, environments_of
from licet.policy.matrix import Cell, cell_of, is_conditional, joined
from licet.server import directory
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import bad_request, not_found
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
    """Agents or roles, from which on, and in which environment: the gate's own where none is named."""

    by: Literal["agents", "roles"] = "agents"
    environment: str = ""
    start: int = 0


class OneCell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who, which tool, and in which environment, as above."""

    name: Name
    tool: Name
    by: Literal["agents", "roles"] = "agents"
    environment: str = ""


def show(asked: Asked) -> Answer:
    """The matrix."""
    params: ShowMatrix = asked.params
    environment, environments = _environment(asked, params.environment)
    known = _known(asked)
    names = sorted(known.agents if params.by == "agents" else known.roles)
    start = max(0, min(params.start, len(names)))
    shown = names[start : start + ROWS]
    tools = asked.gate.scene.catalog.tools
    counted = counted_logs(asked)
    usage = Usage(asked, counted, environment) if counted and params.by == "agents" else None
    matrix = _Matrix(asked, params.by, known, environment, usage)
    groups = [
        (access.capitalize(), [matrix.row(name, shown) for name in sorted(tools) if tools[name].access == access])
        for access in ("read", "write", "destructive")
    ]
    if usage is not None:
        note_reading(
            asked,
            "count",
            {"by": "agent and tool", "environment": environment, "since": usage.since.isoformat()},
            counted,
            shown=0,
            payloads=False,
        )
    never = sum(cell["is_never"] for _, rows in groups for row in rows for cell in row["cells"])
    return page(
        asked,
        "matrix.html",
        query=params,
        shown_in=environment,
        environments=environments,
        link=lambda **changes: _address(params, **changes),
        besides="".join(f"&{one}" for one in [to_query(params, start=0)] if one),
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
    environment, _ = _environment(asked, params.environment)
    known = _known(asked)
    tool = asked.gate.scene.catalog.tools.get(params.tool)
    if tool is None or params.name not in (known.agents if params.by == "agents" else known.roles):
        raise not_found()
    matrix = _Matrix(asked, params.by, known, environment)
    cell = matrix.cell(params.name, params.tool)
    may_read = asked.decide("policies.read", OPERATOR_LOG).allowed
    counted = counted_logs(asked)
    used = None
    if counted and params.by == "agents":
        usage = Usage(asked, counted, environment)
        used = {word: usage.count(agent=params.name, tool=params.tool, verdict=word) for word in ("allow", "hold", "deny")}
        note_reading(
            asked, "count", {"agent": params.name, "tool": params.tool, "environment": environment}, counted, shown=0, payloads=False
        )
    rules = [*cell.permits, *cell.holds, *cell.forbids]
    return page(
        asked,
        "cell.html",
        query=params,
        tool=tool,
        look=_LOOKS[cell.standing],
        shown_in=environment,
        back=_address(ShowMatrix(by=params.by, environment=params.environment)),
        rules=[_rule(policy, matrix.speaking) for policy in rules] if may_read else None,
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


def _address(params: ShowMatrix, **changes: Any) -> str:
    query = to_query(params, **changes)
    return f"{HERE}?{query}" if query else HERE


def _environment(asked: Asked, named: str) -> tuple[str, list[str]]:
    """The one that is asked for, and all that can be. Raises `Problem` for another one."""
    scene = asked.gate.scene
    may_read = asked.decide("policies.read", OPERATOR_LOG).allowed
    others = environments_of(scene.engine.bundle.policies) if may_read else set[str]()
    if named and named != scene.environment and named not in others:
        raise bad_request(
            "no policy names this environment", "it is the gate's own, or one that policies compare `context.environment` with"
        )
    return named or scene.environment, [scene.environment, *sorted(others - {scene.environment})]


class _Matrix:
    """What is asked of each cell of one page."""

    def __init__(self, asked: Asked, by: str, known: directory.DirectoryShape, environment: str, usage: Usage | None = None) -> None:
        self.speaking = Speaking(environment)
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
            found = [Principal(kind=kind, id="", tenant=tenant, roles=(name,)) for kind in kinds]
            return joined([cell_of(self._engine, tool, principal, self.speaking) for principal in found])
        agent = Principal(kind="Agent", id=name, tenant=tenant, roles=self._known.agents[name].roles)
        return cell_of(self._engine, tool, agent, self.speaking)

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


def _rule(policy: Policy, speaking: Speaking) -> dict[str, Any]:
    obligation = policy.obligation
    look = "allow" if str(policy.effect) == "permit" else "hold" if obligation is not None else "deny"
    return {
        "id": policy.id,
        "look": look,
        "word": {"allow": "Allows", "hold": "Holds", "deny": "Denies"}[look],
        "when": "under conditions" if is_conditional(policy, speaking) else "always",
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
