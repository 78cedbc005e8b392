"""How the conformance suite drives an agent of a framework, whichever it is: with a scripted model and no network.

A driver makes agents whose model says what a script tells it to, turn by turn, and tells what the model was answered. One file of `drivers/`
is one framework's driver; it holds a class `Driver`.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Literal, TypeAlias

from licet import Gate

FRAMEWORK = os.environ.get("LICET_FRAMEWORK")
"""The framework of this environment, by the name of its extra."""
Way = Literal["sync", "async", "streaming"]
WAYS: tuple[Way, ...] = ("sync", "async", "streaming")


@dataclass(frozen=True)
class Ask:
    """The model calls a tool. `id` is the call's, as the model gives it."""

    id: str
    tool: str
    arguments: Mapping[str, Any]


Turn: TypeAlias = Sequence[Ask] | str
"""What the model says at once: calls of tools, made in parallel, or its last words."""


@dataclass(frozen=True)
class Setting:
    """An agent to be made.

    `functions` are its tools, plain functions to be made tools as the framework's users make them. `thread` names the conversation, where the
    framework keeps any. `user` is whom the framework's own context names: then the integration is to take the caller (agent `shop-bot`) from
    there. `pause` is that of the integration. `retries` adds the framework's own way to try tools again (three times in all). `hosted` adds a tool that the
    gate cannot see, named `web_search`. `helper` is another agent, offered as the tool `ask_helper`, with one argument of text; `successor` one that the
    work is handed to by the framework's own means, with a call of the tool `hand_over`. `saved` is what `Agent.saved` gave: the agent goes on from there.
    """

    gate: Gate
    functions: Sequence[Callable[..., Any]]
    script: Sequence[Turn]
    thread: str = "thread-1"
    user: str | None = None
    pause: bool = True
    retries: bool = False
    hosted: bool = False
    helper: Setting | None = None
    successor: Setting | None = None
    saved: bytes | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """Where a run stands: what the model was told of each call by its id, for which requests it waits, and its last words."""

    told: Mapping[str, str]
    waiting: tuple[str, ...] = ()
    said: str | None = None


class Agent(ABC):
    """One agent in one conversation."""

    @abstractmethod
    def run(self, way: Way = "async") -> Ended:
        """Let it work, until it has ended or waits for people. In the calling thread, with its context."""

    @abstractmethod
    def resume(self, way: Way = "async") -> Ended:
        """Let it go on, now that people may have decided. What is resumed with says nothing of what they decided."""

    @abstractmethod
    def saved(self) -> bytes:
        """What another process needs to go on with it."""

    @abstractmethod
    def changed(self, call: str, arguments: Mapping[str, Any]) -> None:
        """Somebody changes the arguments of a call that waits, where the framework keeps it."""

    @abstractmethod
    def cancel_when(self, started: threading.Event) -> None:
        """Let it work asynchronously, and cancel it once a tool has been started. Returns when the cancellation is through."""


class Driver(ABC):
    """A framework."""

    name: ClassVar[str]
    """Of the extra, and of the file in `drivers/`."""
    package: ClassVar[str]
    """The distribution whose version is told in the table."""
    hooks: ClassVar[tuple[str, ...]]
    """The adapter's functions that the framework enters for a call of a tool, and for a turn of the model, none within another, by their names
    in its module: benchmarks time them."""
    within: ClassVar[tuple[str, ...]] = ("acall_brought",)
    """The gate's functions that they enter once for each call."""
    cannot: ClassVar[Mapping[str, str]] = {}
    """Rows of the table that the framework has nothing for, and what happens instead."""

    @abstractmethod
    def agent(self, setting: Setting) -> Agent:
        """An agent whose tools are governed by `setting.gate`, with the integration's one line."""

    @abstractmethod
    def look_at(self, agent: Agent) -> Any:
        """What `gate.coverage` is given for this agent."""

    @abstractmethod
    def sees_trace(self, trace_id: str | None, span_id: str | None, call: str) -> bool:
        """Whether these are the framework's own ids for the call of this id."""


def driver_of(framework: str) -> Driver:
    """The driver of a framework that is installed."""
    found: Driver = import_module(f"tests.integrations.drivers.{framework}").Driver()
    return found
