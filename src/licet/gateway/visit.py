"""What the HTTP door needs of the server that it stands in: one request, read and answered within the server's own bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from licet.identity.authenticated import Authenticated

R = TypeVar("R")


class Left(Exception):
    """The peer went away before it was answered."""


class Visit(Protocol):
    """One HTTP request. What the server raises here is the server's to answer: nobody between catches it."""

    @property
    def verb(self) -> str:
        """The method of HTTP."""
        ...

    @property
    def upstream(self) -> str | None:
        """The one that the path names; None for all of them."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in lower case; the last of those that were sent twice."""
        ...

    @property
    def twice(self) -> frozenset[str]:
        """Names of headers that were sent more than once: two readers could see different ones."""
        ...

    def share_with(self, origin: str) -> None:
        """The answer may be read by this page."""
        ...

    async def enter(self) -> Authenticated:
        """Who asks, counted within their limits. To be called first, once. Raises where nobody may enter."""
        ...

    def permit(self, tenant: str | None) -> None:
        """Raises where the credential may not propose calls in this tenant, as for every other door."""
        ...

    async def look_again(self) -> None:
        """Raises where the credential that was shown does not hold any more."""
        ...

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body, which is JSON. Raises where it is larger, not JSON by its own account, or does not come."""
        ...

    async def run(self, function: Callable[[], R]) -> R:
        """What a function returns that may take long, in a thread."""
        ...

    async def gone(self) -> None:
        """Returns when the peer goes away."""
        ...

    async def answer(self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None, code: str = "") -> None:
        """The whole answer: JSON, or nothing. `code` is for the log."""
        ...

    async def begin(self, headers: Mapping[str, str]) -> None:
        """An answer that comes in parts (200)."""
        ...

    async def part(self, content: bytes) -> None:
        """A part of it. Waits while the peer takes nothing."""
        ...

    async def end(self) -> None:
        """That was all."""
        ...
