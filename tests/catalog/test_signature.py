from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from licet.catalog.python import PythonTool, tool_from_function
from licet.errors import CatalogInvalid

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


def make(function: Callable[..., Any], **options: Any) -> PythonTool:
    return tool_from_function(function, **{"name": "t", "access": "write", **options})


def passed(tool: PythonTool, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What the function would be called with, after a direct call."""
    return tool.kwargs(tool.reader.read(tool.propose(args, kwargs)))


def invalid(function: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(CatalogInvalid) as caught:
        make(function, **options)
    return str(caught.value)


def adjust(customer_id: str, amount_cents: int, note: str | None = None, *, rate: float = 1.0) -> Unknown:
    """Adjust a bill."""


class Support:
    def lookup(self, customer_id: str) -> None: ...

    async def search(self, text: str, limit: int = 5) -> None: ...

    def __call__(self, text: str) -> None: ...


class Awaited:
    async def __call__(self, text: str) -> None: ...


def test_methods_leave_self_out_and_bound_methods_and_callable_objects_work() -> None:
    method, bound = make(Support.lookup), make(Support().search)
    assert (method.is_method, method.is_async, set(method.spec.input_schema["properties"])) == (True, False, {"customer_id"})
    assert (bound.is_method, bound.is_async, set(bound.spec.input_schema["properties"])) == (False, True, {"text", "limit"})
    assert passed(method, "C-1") == {"customer_id": "C-1"}
    assert passed(make(Support()), "x") == {"text": "x"}
    assert (make(Support()).is_async, make(Awaited()).is_async) == (False, True)


def test_a_wrapped_or_partial_function_has_the_parameters_that_are_left() -> None:
    @functools.wraps(adjust)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return adjust(*args, **kwargs)

    assert make(wrapper).spec.input_schema == make(adjust).spec.input_schema
    left = make(functools.partial(adjust, "C-1", note="x"), description="d")
    assert "customer_id" not in left.spec.input_schema["properties"]


def test_types_of_the_enclosing_function_and_class_are_found() -> None:
    class Local(BaseModel):
        x: int

    class Service:
        class Inner(BaseModel):
            y: int

        def run(self, local: Local, inner: Inner) -> None: ...

        tool = make(run)

    assert passed(Service.tool, Local(x=1), Service.Inner(y=2)) == {"local": Local(x=1), "inner": Service.Inner(y=2)}


def of_class(cls: type) -> None: ...


def var_args(*ids: str) -> None: ...


def var_kwargs(**ids: str) -> None: ...


def positional(a: int, /) -> None: ...


def bare(a, b: int) -> None: ...  # type: ignore[no-untyped-def]


def unresolved(a: Unknown) -> None: ...


def callback(a: Callable[[], None]) -> None: ...


def foreign(a: Foreign) -> None: ...


class Foreign:
    pass


def unordered(a: set[str]) -> None: ...


def sentinel(a: str = object()) -> None: ...  # type: ignore[assignment]


def wrong_default(a: str = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013 - what is tested


def generator(a: str) -> Any:
    yield a


async def async_generator(a: str) -> Any:
    yield a


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (var_args, "the parameter `*ids` takes arguments that no schema describes: name each one"),
        (var_kwargs, "the parameter `**ids` takes arguments that no schema describes: name each one"),
        (positional, "the parameter `a` is positional-only, and tools are called by name"),
        (bare, "the parameter `a` has no annotation, so nothing would check what it is given"),
        (unresolved, "an annotation cannot be resolved: name 'Unknown' is not defined"),
        (callback, "cannot be written as JSON Schema"),
        (foreign, "cannot be written as JSON Schema"),
        (unordered, "a set has no order"),
        (sentinel, "cannot be written as JSON Schema: non-serializable-default"),
        (wrong_default, "the default of `a` is not what its own schema asks for"),
        (generator, "a generator cannot be a tool"),
        (async_generator, "a generator cannot be a tool"),
        (classmethod(of_class), "put `@classmethod` and `@staticmethod` above the tool's decorator"),
        (dict.get, "is positional-only"),
    ],
)
def test_a_function_whose_arguments_no_schema_can_hold_is_refused(function: Callable[..., Any], message: str) -> None:
    found = invalid(function)
    assert found.startswith("tool `t`: ")
    assert message in found


def test_a_template_or_a_name_that_does_not_fit_is_refused_at_registration() -> None:
    assert "names `customer`, which the input schema does not have" in invalid(adjust, targets="Customer::{customer}")
    assert "needs a string or an integer" in invalid(adjust, targets="Customer::{rate}")
    assert "is not a target template" in invalid(adjust, targets="customer_id")
    assert "is reserved for a group of actions" in invalid(adjust, name="read")
