"""The half of the gate by which tools, previews, undos, probes and resources become known. Nothing is validated against policy here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from licet.catalog.python import resource_from_function, tool_from_function
from licet.config import Settings
from licet.gate.carried import Carrier
from licet.gate.governed import GovernedTool, P, R
from licet.gate.registry import Registry
from licet.gate.scene import Resolver
from licet.model import Access, Touch

if TYPE_CHECKING:
    from licet.gate.gate import Gate

F = TypeVar("F", bound=Callable[..., Any])


class Registering:
    """What a gate offers to whoever defines tools."""

    settings: Settings
    _registry: Registry
    _lock: threading.RLock

    def tool(
        self,
        name: str,
        *,
        access: Access,
        touches: Iterable[Touch] = (),
        targets: str | Iterable[str] = (),
        description: str | None = None,
        timeout_s: float | None = None,
        keep_result: bool | None = None,
        secrets: Iterable[str] = (),
    ) -> Callable[[Callable[P, R]], GovernedTool[P, R]]:
        """Register a function as a tool; what is returned in its place can only be called through the gate.

        `targets` are templates over the arguments (`"Customer::{customer_id}"`). `timeout_s` is in seconds. `keep_result` says whether the
        log keeps what the tool returned (by default writes do, reads keep a salted digest). `secrets` are paths of arguments that no record
        may hold (`"auth.token"`). Raises `CatalogInvalid`.
        """
        templates = (targets,) if isinstance(targets, str) else tuple(targets)
        limit = timeout_s if timeout_s is not None else self.settings.limits.tool_timeout_s

        def register(function: Callable[P, R]) -> GovernedTool[P, R]:
            tool = tool_from_function(
                function,
                name=name,
                access=access,
                touches=frozenset(touches),
                targets=templates,
                description=description,
                timeout_s=limit,
                keep_result=keep_result,
                secrets=secrets,
            )
            with self._lock:
                self._registry.add_tool(tool)
            return GovernedTool(self._gate, tool)

        return register

    def preview(self, name: str) -> Callable[[F], F]:
        """Register what computes a tool's effects without changing anything: a function of the same arguments. Raises `CatalogInvalid`."""

        def register(function: F) -> F:
            with self._lock:
                self._registry.add_preview(name, function)
            return function

        return register

    def undoes(self, name: str) -> Callable[[Callable[..., Any]], GovernedTool[..., Any]]:
        """Register what takes a tool's calls back, as the tool `NAME.undo`: a function of the same arguments and `effects: list[Effect]`.

        `effects` are the changes to bring about: those that the call reported, each with `before` and `after` swapped, the last one first.
        It runs through `undo` only, where policy permits `NAME.undo`. Raises `CatalogInvalid`.
        """

        def register(function: Callable[..., Any]) -> GovernedTool[..., Any]:
            with self._lock:
                tool = self._registry.add_undo(name, function)
            return GovernedTool(self._gate, tool)

        return register

    def probe(self, name: str) -> Callable[[F], F]:
        """Register what tells whether a call happened of which nobody saw the end: a function of the same arguments.

        It returns True, False, or None where it cannot tell, and changes nothing. Raises `CatalogInvalid`.
        """

        def register(function: F) -> F:
            with self._lock:
                self._registry.add_probe(name, function)
            return function

        return register

    def resource(self, type_name: str, *, blocking: bool = True) -> Callable[[F], F]:
        """Register how a target type is resolved: a function from an id to its tenant and attributes, or None where there is no such thing.

        With `blocking=False` it promises to answer from memory; it is then called where the call runs, without a deadline of its own.
        """

        def register(function: F) -> F:
            resolver = Resolver(resource_from_function(type_name, function), blocking)
            with self._lock:
                self._registry.add_resolver(resolver)
            return function

        return register

    def lists(self, type_name: str) -> Callable[[F], F]:
        """Register what lists the ids of a target type for searches: a function from a tenant to ids.

        What it lists is looked at, and never more: each is resolved and decided as ever. Raises `CatalogInvalid`.
        """

        def register(function: F) -> F:
            with self._lock:
                self._registry.add_lister(type_name, function)
            return function

        return register

    def carry(self, carrier: Carrier) -> None:
        """From now on this process executes the tools of `[upstreams]`, by this function."""
        with self._lock:
            self._registry.carry(carrier)

    @property
    def _gate(self) -> Gate:
        return cast("Gate", self)
