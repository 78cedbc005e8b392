"""Which names a tool and a resource type may have.

A tool's name becomes a Cedar action beside the action groups (`read`, `touches-money` ...), a resource type becomes a Cedar entity type
beside Licet's own: a name that equals one of those would be in a group that nobody put it in.
"""

from __future__ import annotations

import re

from licet.errors import CatalogInvalid

RESERVED_TOOLS = frozenset({"read", "write", "destructive"})
RESERVED_TYPES = frozenset({"User", "Agent", "Service", "Group", "Role", "Tenant", "Action", "Log"})
"""Those of callers and policy; and the one under which the ledger keeps the secret of a log."""

# Names of types in Cedar schemas, which an entity type would shadow.
_CEDAR_TYPES = frozenset({"Bool", "Boolean", "Entity", "Extension", "Long", "Record", "Set", "String"})

_TOOL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_TYPE = re.compile(r"[A-Z][A-Za-z0-9_]{0,63}")


def check_tool_name(name: str) -> None:
    """Raise CatalogInvalid unless `name` has 1 to 128 letters, digits, `_`, `.` or `-` (as MCP wants) and is no action group's name."""
    if not _TOOL.fullmatch(name):
        raise CatalogInvalid(f"the tool name `{name[:140]}` must have 1 to 128 letters, digits, `_`, `.` or `-`")
    if name.lower() in RESERVED_TOOLS or name.lower().startswith("touches-"):
        raise CatalogInvalid(f"the tool name `{name}` is reserved for a group of actions")


def check_resource_type(name: str) -> None:
    """Raise CatalogInvalid unless `name` is an identifier with a capital first, at most 64 long, none of Licet's or Cedar's own."""
    if not _TYPE.fullmatch(name):
        raise CatalogInvalid(f"the resource type `{name[:80]}` must be a capital followed by at most 63 letters, digits or `_`")
    if name in RESERVED_TYPES or name in _CEDAR_TYPES:
        raise CatalogInvalid(f"the resource type `{name}` is reserved")
