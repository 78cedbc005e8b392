"""A tool that travels with its call: the framework of an agent has it, and the gate runs it in the one order of checks.

Rules:

1. It runs only where its name is that of a tool that was adopted from a framework: no call brings code for a tool of somebody else.
2. It runs with the arguments that were decided on, at most once.
3. What it gives back goes to the framework as it is; what is recorded of it is JSON, which `Told` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from msgspec import Struct

from licet.catalog import strict
from licet.catalog.arguments import Arguments
from licet.gate.steps import EndedAs
from licet.model import JsonObject

NOTHING: Final = object()
"""In place of a result: the tool has given none."""


FAILED: Final = "tool_error"
"""The code of an outcome where the tool says itself that it has failed."""


class Told(Struct, frozen=True):
    """What a record says of a result: JSON; or that the tool says itself that it has failed, with `code` and a message."""

    value: Any = None
    failed: str | None = None
    code: str = FAILED


Run: TypeAlias = Callable[[JsonObject, int], Any]
"""Runs the framework's tool with these arguments, which it has stopped so often before; an awaitable where it is asynchronous."""
Tell: TypeAlias = Callable[[Any], Told]
"""What is recorded of the framework's result."""
Paused: TypeAlias = tuple[type[BaseException], ...]


class Brought:
    """One call's tool. `is_taken` says whether it was started.

    `paused` are exceptions by which the framework stops a tool to go on with it later: they are no failures of it.
    """

    is_method = False
    keeps_time = False

    def __init__(self, run: Run, tell: Tell, *, is_async: bool, paused: Paused = (), stops: int = 0) -> None:
        self.is_async = is_async
        self.result: Any = NOTHING
        self.raised: BaseException | None = None
        self._run = run
        self._tell = tell
        self._paused = paused
        self._stops = stops
        self._lock = threading.Lock()
        self.is_taken = False
        self.function: Callable[..., Any] = self._run_async if is_async else self._run_sync

    def kwargs(self, arguments: Arguments) -> JsonObject:
        """Fresh values, built from the canonical bytes, under one name: a tool's own may be anything."""
        values: JsonObject = strict.decode(arguments.json)
        return {"arguments": values}

    def _run_sync(self, *, arguments: JsonObject) -> Any:
        self._take()
        try:
            return self._read(self._run(arguments, self._stops))
        except BaseException as error:
            self._tell_pause(error)
            raise

    async def _run_async(self, *, arguments: JsonObject) -> Any:
        self._take()
        try:
            return self._read(await self._run(arguments, self._stops))
        except BaseException as error:
            self._tell_pause(error)
            raise

    def _take(self) -> None:
        with self._lock:  # rule 2
            if self.is_taken:
                raise EndedAs("not_executed", "ran_already", "this call has run its tool already")
            self.is_taken = True

    def _tell_pause(self, error: BaseException) -> None:
        """Raise what is recorded where the framework has stopped the tool, or where an error is called like that and is none of these."""
        if isinstance(error, self._paused):
            self.raised = error
            raise EndedAs("error", PAUSED, f"the framework stopped the tool to go on with it later ({type(error).__name__})") from error
        if type(error).__name__ == PAUSED:  # it would run again under the same id
            self.raised = error
            raise EndedAs("error", FAILED, f"the tool raised an error of the type `{PAUSED}`") from error

    def _read(self, result: Any) -> Any:
        told = self._tell(result)
        self.result = result
        if told.failed is not None:
            raise EndedAs("error", told.code if told.code != PAUSED else FAILED, told.failed)
        return told.value


PAUSED: Final = "paused"
"""The code of an outcome: the framework has stopped the tool, to run it again later. No other end has it."""
