"""The steps that the pipeline asks for. The pipeline does no I/O; a driver, synchronous or asynchronous, performs these.

Each step says what the driver sends back and what it may throw into the pipeline instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from licet.gate.effects import Collector
from licet.gate.scene import Resolver
from licet.ledger.seal import Filing
from licet.model import Caller, EntityRef, JsonObject, OutcomeStatus


class Tool(Protocol):
    """What a driver needs of a tool to run it."""

    @property
    def is_async(self) -> bool:
        """Whether calling it gives an awaitable."""
        ...

    @property
    def is_method(self) -> bool:
        """Whether it needs the instance that it is called on."""
        ...

    @property
    def keeps_time(self) -> bool:
        """Whether it ends in time by itself: one that asks people something meanwhile, whose time is not the tool's."""
        ...

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        ...


class Resolve(Struct, frozen=True):
    """Find the targets, each with its resolver (None: its type belongs to whoever asks).

    Sends back `tuple[Target | None, ...]`, None where there is no such thing. Throws `ResolverFailed`.
    """

    targets: tuple[tuple[EntityRef, Resolver | None], ...]
    caller: Caller


class FindKey(Struct, frozen=True):
    """Who has this idempotency key? Sends back `TakenKey | None`. Throws `StoreError`."""

    log: str
    scope: str
    key: str
    digest: str


class FindOutcome(Struct, frozen=True):
    """The records of an earlier call. Sends back `tuple[StoredRecord, ...]`. Throws `StoreError`."""

    call: str


class FindRequest(Struct, frozen=True):
    """The latest request with this key, its votes and its records. Sends back `Dossier | None`. Throws `StoreError`."""

    tenant: str
    key: str


class FindFreezes(Struct, frozen=True):
    """What is frozen; `anew`, whatever was seen a moment ago? Sends back `Stops`, which is false where nothing is. Throws `StoreError`."""

    anew: bool = False


class Preview(Struct, frozen=True):
    """What the call would change. Sends back `Ran`, whose value is what the preview function returned."""

    tool: Tool
    instance: Any
    arguments: Mapping[str, Any]
    timeout_s: float | None


class Append(Struct, frozen=True):
    """Make a filing durable. Sends back `tuple[Receipt, ...]`. Throws `ConditionLost` or `StoreError`. Cancellation never abandons it."""

    filing: Filing


class Execute(Struct, frozen=True):
    """Run the tool. Sends back `Ran`, whatever the tool does. `late` is called with a second `Ran` if the tool ends after its timeout.

    `effects` takes what the tool reports, until it has ended.
    """

    tool: Tool
    instance: Any
    arguments: Mapping[str, Any]
    timeout_s: float | None
    late: Callable[[Ran], None]
    effects: Collector


class Ran(Struct, frozen=True, kw_only=True):
    """How a tool ended. `error` is what it raised, `SystemExit` and cancellation included."""

    status: OutcomeStatus
    duration_us: int
    value: Any = None
    error: BaseException | None = None


class EndedAs(Exception):
    """Raised by an implementation that knows how its end is to be recorded: one that hands the call to somebody else and sees what comes.

    `status` and `code` stand in the outcome; the message goes into the payload only. `result` is what the tool returned that says itself
    that it has failed.
    """

    result: JsonObject | None = None

    def __init__(self, status: OutcomeStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status: OutcomeStatus = status
        self.code = code


Step: TypeAlias = Resolve | FindKey | FindOutcome | FindRequest | FindFreezes | Preview | Append | Execute


class ResolverFailed(Exception):
    """A resolver raised, took too long or answered with something it did not declare. `message` is for people and tells no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
