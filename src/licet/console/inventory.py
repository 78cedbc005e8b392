"""The inventory: which agents and tools there are, who answers for them, when they were last used, and what nobody uses.

Rules:

1. Agents of tenants out of reach stand nowhere. Use is counted in logs that this one may read, and told as one reading for the page.
2. A tool that has drifted from what was accepted says how, in the words that deny its calls.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal

from msgspec import Struct

from licet.console.frame import page, place_of
from licet.console.freezes import stopped_of
from licet.console.usage import DAYS, Usage, counted_logs
from licet.gate.checks import find_drift
from licet.model import Principal
from licet.policy.environments import Speaking
from licet.policy.matrix import cell_of
from licet.server import directory
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.records import note_reading

HERE: Final = "/console/inventory"
ROWS: Final = 50
_FOR: Final = {"user": "for a user", "self": "for itself", "both": "for itself or a user"}


class ShowInventory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agents or tools, and from which on."""

    of: Literal["agents", "tools"] = "agents"
    start: int = 0


def show(asked: Asked) -> Answer:
    """The inventory."""
    params: ShowInventory = asked.params
    counted = counted_logs(asked)
    usage = Usage(asked, counted) if counted else None
    rows, count = _agents(asked, usage, params.start) if params.of == "agents" else _tools(asked, usage, params.start)
    if usage is not None:
        note_reading(asked, "count", {"by": params.of, "since": usage.since.isoformat()}, counted, shown=0, payloads=False)
    start = max(0, params.start)
    return page(
        asked,
        "inventory.html",
        query=params,
        rows=rows,
        count=count,
        days=DAYS,
        since=asked.gate.now() - timedelta(days=DAYS),
        counted=usage is not None,
        start=start,
        following=start + ROWS if start + ROWS < count else None,
        may_freeze=bool(asked.tenants("freezes.place")),
        may_read_freezes=bool(asked.tenants("freezes.read")),
    )


def _agents(asked: Asked, usage: Usage | None, start: int) -> tuple[list[dict[str, Any]], int]:
    known: directory.DirectoryShape = directory.read_directory(asked.with_input(directory.ReadDirectory(tenant=place_of(asked)), None)).body
    engine, tools = asked.gate.scene.engine, asked.gate.scene.catalog.tools
    speaking = Speaking(asked.gate.scene.environment)
    stopped = stopped_of(asked, "agent")
    names = sorted(known.agents)
    rows = []
    for name in names[max(0, start) :][:ROWS]:
        agent = known.agents[name]
        principal = Principal(kind="Agent", id=name, tenant=next(iter(known.tenants), ""), roles=agent.roles)
        open_to = [tool for tool in sorted(tools) if cell_of(engine, tool, principal, speaking).standing != "deny"]
        unused = [] if usage is None else [tool for tool in open_to if usage.count(agent=name, tool=tool).number == 0]
        rows.append(
            {
                "name": name,
                "acts_for": _FOR[agent.acts_for],
                "owner": agent.owner,
                "tenants": agent.tenants,
                "roles": agent.roles,
                "last": None if usage is None else usage.last(agent=name),
                "calls": None if usage is None else usage.count(agent=name),
                "denied": None if usage is None else usage.count(agent=name, verdict="deny"),
                "tools": len(open_to),
                "unused": unused,
                "frozen": stopped.get(name, ()),
            }
        )
    return rows, len(names)


def _tools(asked: Asked, usage: Usage | None, start: int) -> tuple[list[dict[str, Any]], int]:
    listed: directory.Tools = directory.list_tools(asked).body
    stopped = stopped_of(asked, "tool")
    rows = [
        {
            "name": tool.name,
            "access": tool.access,
            "touches": tool.touches,
            "description": tool.description,
            "definition": tool.definition,
            "drift": find_drift(asked.gate.scene, tool.name),
            "last": None if usage is None else usage.last(tool=tool.name),
            "calls": None if usage is None else usage.count(tool=tool.name),
            "denied": None if usage is None else usage.count(tool=tool.name, verdict="deny"),
            "frozen": stopped.get(tool.name, ()),
        }
        for tool in listed.tools[max(0, start) :][:ROWS]
    ]
    return rows, len(listed.tools)


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consoleInventory",
        summary="Which agents and tools there are, and how they are used",
        tag="console",
        action="directory.read",
        handler=show,
        params=ShowInventory,
    ),
)
