"""What is in the side of every page."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Entry(Struct, frozen=True):
    """A page, by its name and where it is."""

    name: str
    path: str

    def is_here(self, path: str) -> bool:
        """Whether the page that is looked at is this one, or below it."""
        return path == self.path or path.startswith(f"{self.path}/")


MENU: Final = (("Decide", (Entry("Inbox", "/console/inbox"),)),)
