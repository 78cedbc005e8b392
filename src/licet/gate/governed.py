"""A decorated tool: called like the function it wraps, governed like every other call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from licet.catalog.python import PythonTool
from licet.catalog.spec import ToolSpec

if TYPE_CHECKING:
    from licet.gate.gate import Gate

P = ParamSpec("P")
R = TypeVar("R")


class GovernedTool(Generic[P, R]):
    """A function that can only be reached through the gate.

    Calling it raises `CallDenied`, `CallHeld`, `CallFailed` or what it raised itself.

    An asynchronous function stays one. A method is governed on whatever object it is called on; the object is not an argument.
    """

    def __init__(self, gate: Gate, tool: PythonTool) -> None:
        self._gate = gate
        self._tool = tool
        functools.update_wrapper(self, tool.function)
        # Without `__wrapped__`: software that unwraps what it is given would get the function itself, and call it past the gate.
        del self.__dict__["__wrapped__"]
        self.__signature__ = inspect.signature(tool.function)
        self.__globals__ = getattr(inspect.unwrap(tool.function), "__globals__", {})  # where its annotations are resolved

    @property
    def spec(self) -> ToolSpec:
        """What the catalog knows of the tool."""
        return self._tool.spec

    def is_of(self, gate: object) -> bool:
        """Whether it is governed by this very gate."""
        return self._gate is gate

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the tool in the name of whoever acts now."""
        if self._tool.is_method:
            return self._call(args[0] if args else None, args[1:], kwargs)
        return self._call(None, args, kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> GovernedTool[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., R]: ...
    def __get__(self, instance: object | None, owner: type) -> GovernedTool[P, R] | Callable[..., R]:
        return self if instance is None else functools.partial(self._bound, instance)

    def preview(self, function: Callable[P, Any]) -> Callable[P, Any]:
        """Register what computes a call's effects without changing anything: a function of the same arguments."""
        self._gate.preview(self.spec.name)(function)
        return function

    def probe(self, function: Callable[P, Any]) -> Callable[P, Any]:
        """Register what tells whether a call happened: a function of the same arguments that returns True, False or None."""
        self._gate.probe(self.spec.name)(function)
        return function

    def undo(self, function: Callable[..., Any]) -> GovernedTool[..., Any]:
        """Register what takes a call back: a function of the same arguments and `effects`, the changes to bring about.

        What is returned can have a preview and a probe of its own; it runs through `Gate.undo` only.
        """
        return self._gate.undoes(self.spec.name)(function)

    def _bound(self, instance: object, /, *args: Any, **kwargs: Any) -> R:
        return self._call(instance, args, kwargs)

    def _call(self, instance: object | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        result: R = self._gate.call_governed(self._tool, instance, args, kwargs)
        return result
