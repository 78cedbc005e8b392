"""Where somebody may be led to: a page of this console, whatever an address says."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

HOME: Final = "/console"


def inside(there: str) -> str:
    """The address, or where one begins if it is not one of ours."""
    ours = there == HOME or there.startswith((f"{HOME}/", f"{HOME}?"))
    climbs = not {".", ".."}.isdisjoint(unquote(there.partition("?")[0]).split("/"))  # browsers read `%2e` as a point
    return there if ours and there.isprintable() and there.isascii() and "\\" not in there and not climbs else HOME
