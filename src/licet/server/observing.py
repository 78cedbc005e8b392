"""What the server tells of each request, to whoever counts, logs or traces."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from msgspec import Struct

REQUEST_ID: ContextVar[str] = ContextVar("licet_request_id", default="")
"""The id of the request that is being answered, for the log."""
CREDENTIAL: ContextVar[str] = ContextVar("licet_credential", default="")
"""The credential that asks, by an id that is no secret."""


class Answered(Struct, frozen=True, kw_only=True):
    """A request that was answered. `route` is the template of its path, `""` where there is none: never what a stranger has written."""

    request_id: str
    method: str
    route: str
    status: int
    duration_s: float
    code: str = ""
    credential: str = ""
    client: str = ""


class Observer(Protocol):
    """Is told of what happened; raises nothing, and is quick: it runs on the event loop."""

    def began(self) -> None:
        """A request is being answered from now on."""
        ...

    def answered(self, answered: Answered) -> None:
        """A request that began was answered, or its peer went away (status 499)."""
        ...

    def not_authenticated(self, reason: str) -> None:
        """A credential was refused. `reason` is of a fixed set."""
        ...


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def began(self) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.began()

    def answered(self, answered: Answered) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.answered(answered)

    def not_authenticated(self, reason: str) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.not_authenticated(reason)
