"""What is in the side of every page, for whoever may look at it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from licet.policy.own import OwnAction
from licet.server.endpoint import Asked


class Entry(Struct, frozen=True):
    """A page: its name, where it is, and what one must be permitted somewhere (or the `other`) to see it in the menu."""

    name: str
    path: str
    action: OwnAction | None = None
    other: OwnAction | None = None

    def is_here(self, path: str) -> bool:
        """Whether the page that is looked at is this one, or below it."""
        return path == self.path or path.startswith(f"{self.path}/")


MENU: Final[tuple[tuple[str, tuple[Entry, ...]], ...]] = (
    ("", (Entry("Overview", "/console/overview", "records.read"),)),
    ("Decide", (Entry("Inbox", "/console/inbox", "requests.read", "requests.read_own"),)),
    (
        "Find out",
        (
            Entry("Audit", "/console/audit", "records.read"),
            Entry("Traces", "/console/traces", "records.read"),
            Entry("Subjects", "/console/subjects", "records.read"),
        ),
    ),
    (
        "Rules",
        (
            Entry("Permissions", "/console/permissions", "directory.read"),
            Entry("Policies", "/console/policies", "policies.read"),
            Entry("Inventory", "/console/inventory", "directory.read"),
        ),
    ),
)


def menu_of(asked: Asked) -> list[tuple[str, list[Entry]]]:
    """The entries by their groups, without those that lead nowhere for this one."""
    found = [(name, [entry for entry in entries if _is_open(asked, entry)]) for name, entries in MENU]
    return [(name, entries) for name, entries in found if entries]


def _is_open(asked: Asked, entry: Entry) -> bool:
    return entry.action is None or any(asked.tenants(action) for action in (entry.action, entry.other) if action is not None)
