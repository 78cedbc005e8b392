from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest
import typing_extensions
from msgspec import Struct
from pydantic import BaseModel, computed_field

from licet.catalog.declared import ResourceSettings, resource_from_settings
from licet.catalog.python import PythonResource, ResourceFacts, resource_from_function
from licet.errors import CatalogInvalid, OperatorError, ResolverRefused


@dataclasses.dataclass
class Plain:
    tenant: str
    vip: bool
    limit: Decimal = Decimal("1.50")
    since: date | None = None
    tags: list[str] = dataclasses.field(default_factory=list)
    environment: str | None = None


class Modelled(BaseModel):
    tenant: str
    vip: bool
    environment: str = "production"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rank(self) -> int:
        return 2 if self.vip else 1


class Structured(Struct):
    tenant: str
    vip: bool
    environment: str | None = None


class Sparse(Struct, omit_defaults=True):
    tenant: str
    vip: bool = False


class Typed(TypedDict):
    tenant: str
    vip: bool
    note: NotRequired[str]


class Extended(typing_extensions.TypedDict):
    tenant: str
    vip: bool


def extended(key: str) -> Extended | None:
    raise NotImplementedError


def plain(key: str) -> Plain | None:
    raise NotImplementedError


def modelled(key: str) -> Modelled:
    raise NotImplementedError


async def structured(key: str) -> Structured | None:
    raise NotImplementedError


def sparse(key: str) -> Sparse:
    raise NotImplementedError


def typed(key: str) -> Typed | None:
    raise NotImplementedError


def promised(key: str) -> Awaitable[Plain | None]:
    raise NotImplementedError


def make(function: Callable[..., Any]) -> PythonResource:
    return resource_from_function("Customer", function)


def refusal(function: Callable[..., Any], returned: Any) -> str:
    with pytest.raises(ResolverRefused) as caught:
        make(function).facts(returned)
    assert str(caught.value).startswith("the resolver of `Customer` cannot be believed: ")
    return str(caught.value).removeprefix("the resolver of `Customer` cannot be believed: ")


def test_the_return_type_is_the_schema_of_the_attributes() -> None:
    spec = make(plain).spec
    assert (spec.type, spec.tenant_from) == ("Customer", "resolver")
    assert spec.attributes["properties"] == {
        "vip": {"type": "boolean"},
        "limit": {"type": "string", "format": "decimal"},
        "since": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
    }
    assert spec.attributes["required"] == ["limit", "since", "tags", "vip"]
    assert spec.attributes["additionalProperties"] is False


@pytest.mark.parametrize(
    ("function", "returned", "facts"),
    [
        (plain, Plain("acme", True), ResourceFacts("acme", None, {"vip": True, "limit": "1.50", "since": None, "tags": []})),
        (
            promised,
            Plain("acme", True, environment="staging"),
            ResourceFacts("acme", "staging", {"vip": True, "limit": "1.50", "since": None, "tags": []}),
        ),
        (modelled, Modelled(tenant="acme", vip=True), ResourceFacts("acme", "production", {"vip": True, "rank": 2})),
        (structured, Structured("acme", False, "staging"), ResourceFacts("acme", "staging", {"vip": False})),
        (sparse, Sparse("acme"), ResourceFacts("acme", None, {})),
        (typed, {"tenant": "acme", "vip": True}, ResourceFacts("acme", None, {"vip": True})),
        (extended, {"tenant": "acme", "vip": True}, ResourceFacts("acme", None, {"vip": True})),
        (typed, {"tenant": "acme", "vip": True, "note": "n"}, ResourceFacts("acme", None, {"vip": True, "note": "n"})),
    ],
)
def test_what_a_resolver_returns_becomes_tenant_environment_and_attributes(
    function: Callable[..., Any], returned: Any, facts: ResourceFacts
) -> None:
    assert make(function).facts(returned) == facts


def test_none_means_not_found() -> None:
    assert make(plain).facts(None) is None


def test_async_resolvers_are_known_as_such() -> None:
    assert [make(function).is_async for function in (plain, structured, promised)] == [False, True, True]


@pytest.mark.parametrize(
    ("function", "returned", "message"),
    [
        (plain, "C-1", "it returned a `str` in place of `Plain`"),
        (plain, {"tenant": "acme", "vip": True}, "it returned a `dict` in place of `Plain`"),
        (structured, Plain("acme", True), "it returned a `Plain` in place of `Structured`"),
        (typed, Plain("acme", True), "it returned a `Plain` in place of `Typed`"),
        (plain, Plain("acme", "yes"), 'it returned a wrong attribute: `"yes"` is not of type boolean (at `/vip`)'),  # type: ignore[arg-type]
        (plain, Plain("acme", 1), "it returned a wrong attribute: `1` is not of type boolean (at `/vip`)"),  # type: ignore[arg-type]
        (plain, Plain("acme", True, tags=[1]), "it returned a wrong attribute: `1` is not of type string (at `/tags/0`)"),  # type: ignore[list-item]
        (structured, Structured("acme", 1), "it returned a wrong attribute: `1` is not of type boolean (at `/vip`)"),  # type: ignore[arg-type]
        (
            modelled,
            Modelled.model_construct(tenant="acme", vip="no"),
            'it returned a wrong attribute: `"no"` is not of type boolean (at `/vip`)',
        ),
        (typed, {"tenant": "acme"}, 'it returned a wrong attribute: the argument `"vip"` is missing (at `/vip`)'),
        (typed, {"tenant": "acme", "vip": True, "x": 1}, 'it returned a wrong attribute: there is no argument `"x"` (at `/x`)'),
        (typed, {"vip": True}, "it returned no `tenant`"),
        (plain, Plain("", True), "it returned no `tenant`"),
        (plain, Plain(None, True), "it returned no `tenant`"),  # type: ignore[arg-type]
        (structured, Structured(5, True), "it returned no `tenant`"),  # type: ignore[arg-type]
        (plain, Plain("acme", True, environment=""), "it returned an `environment` that is not text"),
        (plain, Plain("acme", True, environment=5), "it returned an `environment` that is not text"),  # type: ignore[arg-type]
        (plain, Plain("acme", object()), "what it returned cannot be written as JSON: PydanticSerializationError"),  # type: ignore[arg-type]
        (structured, Structured("acme", float("nan")), "what it returned cannot be written as JSON: ArgumentsRefused"),  # type: ignore[arg-type]
        (structured, Structured("acme", 2**63), "what it returned cannot be written as JSON: ArgumentsRefused"),  # type: ignore[arg-type]
    ],
)
def test_a_resolver_that_returns_something_else_is_not_believed(function: Callable[..., Any], returned: Any, message: str) -> None:
    assert refusal(function, returned) == message


def test_what_the_resolver_does_to_its_object_later_changes_no_facts() -> None:
    returned = Plain("acme", True, tags=["a"])
    facts = make(plain).facts(returned)
    returned.tags.append("b")
    returned.tenant = "globex"
    assert facts is not None
    assert (facts.tenant, facts.attributes["tags"]) == ("acme", ["a"])


@dataclasses.dataclass
class NoTenant:
    vip: bool


@dataclasses.dataclass
class DefaultTenant:
    tenant: str = "acme"


@dataclasses.dataclass
class MaybeTenant:
    tenant: str | None


@dataclasses.dataclass
class Strange:
    tenant: str
    what: Callable[[], None]


def no_tenant(key: str) -> NoTenant:
    raise NotImplementedError


def default_tenant(key: str) -> DefaultTenant:
    raise NotImplementedError


def maybe_tenant(key: str) -> MaybeTenant:
    raise NotImplementedError


def strange(key: str) -> Strange:
    raise NotImplementedError


def unannotated(key: str):  # type: ignore[no-untyped-def]  # noqa: ANN201 - what is tested
    raise NotImplementedError


def two(key: str) -> Plain | Modelled:
    raise NotImplementedError


def text(key: str) -> str:
    raise NotImplementedError


def mapping(key: str) -> dict[str, str]:
    raise NotImplementedError


def no_parameter() -> Plain:
    raise NotImplementedError


def more(key: str, other: str) -> Plain:
    raise NotImplementedError


def number(key: int) -> Plain:
    raise NotImplementedError


class Holder:
    def method(self, key: str) -> Plain:
        raise NotImplementedError

    def resolve(self, key: str, depth: int = 1) -> Plain:
        raise NotImplementedError


TENANT = "what it returns must have `tenant: str`, without a default: whose it is must always be said"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_tenant, TENANT),
        (default_tenant, TENANT),
        (maybe_tenant, TENANT),
        (strange, "`Strange` cannot be written as JSON Schema"),
        (unannotated, "its return annotation must be one class, or that class or None"),
        (two, "its return annotation must be one class, or that class or None"),
        (mapping, "its return annotation must be one class, or that class or None"),
        (text, "`str` is not a dataclass, a msgspec Struct, a pydantic model or a TypedDict"),
        (no_parameter, "it must be a function of one parameter, `id: str`"),
        (more, "it must be a function of one parameter, `id: str`"),
        (number, "it must be a function of one parameter, `id: str`"),
        (Holder.method, "it must be a function of one parameter, `id: str`"),
    ],
)
def test_a_function_that_cannot_be_a_resolver_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(CatalogInvalid) as caught:
        make(function)
    assert str(caught.value).startswith("resource `Customer`: ")
    assert message in str(caught.value)


def test_a_reserved_type_has_no_resolver() -> None:
    with pytest.raises(CatalogInvalid, match="the resource type `User` is reserved"):
        resource_from_function("User", plain)


def test_bound_methods_and_further_parameters_with_defaults_are_fine() -> None:
    assert make(Holder().resolve).spec == make(plain).spec


def test_who_must_act_on_a_bad_resolver_is_the_operator() -> None:
    assert issubclass(ResolverRefused, OperatorError)


def test_a_table_that_says_the_same_is_the_same_definition() -> None:
    def find(identifier: str) -> Extended | None: ...

    declared = resource_from_settings("Customer", ResourceSettings(attributes={"vip": "boolean"}), folder=Path())
    assert resource_from_function("Customer", find).spec == declared
