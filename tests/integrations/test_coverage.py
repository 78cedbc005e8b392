"""What the gate sees of agents, and says of it: looked at by the adapter of their framework, here one that was made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from licet import Gate
from licet.catalog.adopted import AdoptedTool
from licet.errors import CatalogInvalid, UngovernedTools
from licet.integrations import coverage
from licet.integrations.coverage import Coverage, Surveyed
from licet.integrations.frameworks import FRAMEWORKS, Framework, find_framework_of
from licet.integrations.governing import Governing
from tests.integrations.bare import adopted
from tests.integrations.shop import gate_in_memory

PRETEND = Framework(name="pretend", title="Pretend", extra="pretend", distributions=(), packages=("pretend",), line="")


class Agent:
    """An agent of the made-up framework."""

    __module__ = "pretend.agents"

    def __init__(self, *tools: AdoptedTool, governed: tuple[str, ...] = (), ungoverned: tuple[str, ...] = ()) -> None:
        self.seen = Surveyed(adopted=tools, governed=governed, ungoverned=ungoverned)


class Own(Agent):
    """What a program makes of it."""

    __module__ = "shop.agents"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    adapter: Any = ModuleType("licet.integrations.pretend")
    adapter.survey = lambda _, agent: agent.seen
    monkeypatch.setitem(sys.modules, "licet.integrations.pretend", adapter)
    monkeypatch.setattr(
        coverage, "find_framework_of", lambda module: PRETEND if module.startswith("pretend") else find_framework_of(module)
    )
    with gate_in_memory() as found:
        yield found


LOOK, NOTE, UNKNOWN = adopted("look", "customer"), adopted("note", "text"), adopted("unknown", "text")


def test_it_says_which_tools_are_known_and_makes_them_so(gate: Gate) -> None:
    assert gate.coverage(Agent(NOTE, LOOK, UNKNOWN, governed=("own",))) == Coverage(
        tools=("look", "note", "own"), unclassified=("unknown",), allowed=()
    )
    assert [gate.is_adopted(name) for name in ("look", "note", "unknown", "own")] == [True, True, True, False]


def test_several_agents_are_looked_at_at_once_and_none_is_nothing(gate: Gate) -> None:
    assert gate.coverage() == Coverage(tools=(), unclassified=(), allowed=())
    assert gate.coverage(Agent(LOOK), Own(NOTE, LOOK)).tools == ("look", "note")


def test_what_nobody_sees_is_named_and_nothing_becomes_known(gate: Gate) -> None:
    with pytest.raises(UngovernedTools) as caught:
        gate.coverage(Agent(LOOK, ungoverned=("web_search",)), Agent(ungoverned=("code`x\n", "web_search")))
    assert caught.value.tools == ("code`x\n", "web_search")
    assert str(caught.value) == (
        "these tools do not pass through the gate: `code\\u{60}x\\u{a}`, `web_search`; take them from the agent, or name them in "
        "`allow_ungoverned` if they may run without being decided or recorded"
    )
    assert not gate.is_adopted("look")


@pytest.mark.parametrize("allowed", ["web_search", ["web_search"], ("web_search", "other"), {"web_search"}, iter(["web_search"])])
def test_what_somebody_lets_past_is_said_beside_it(gate: Gate, allowed: Any) -> None:
    found = gate.coverage(Agent(LOOK, ungoverned=("web_search",)), allow_ungoverned=allowed)
    assert found == Coverage(tools=("look",), unclassified=(), allowed=("web_search",))


@pytest.mark.parametrize("allowed", ["", "web", "web_search_2", "w", [], ["web", "search"], "*", ["look"]])
def test_only_its_whole_name_lets_a_tool_past(gate: Gate, allowed: Any) -> None:
    with pytest.raises(UngovernedTools, match="web_search"):
        gate.coverage(Agent(ungoverned=("web_search",)), allow_ungoverned=allowed)


@pytest.mark.parametrize("allowed", ["web_search", ["web_search"]])
def test_an_adapter_lets_past_what_it_was_given_by_name(gate: Gate, allowed: Any) -> None:
    governing: Governing[None] = Governing(gate, "pretend", allow_ungoverned=allowed)
    governing.see([LOOK], ["web_search"])
    assert gate.is_adopted("look")
    with pytest.raises(UngovernedTools) as caught:
        governing.see([NOTE], ["web_search", "web"])
    assert caught.value.tools == ("web",)
    assert not gate.is_adopted("note")


def test_to_let_a_tool_past_by_name_is_no_classification_of_one_that_is_seen(gate: Gate) -> None:
    assert gate.coverage(Agent(UNKNOWN), allow_ungoverned="unknown") == Coverage(tools=(), unclassified=("unknown",), allowed=())


def test_a_tool_that_cannot_be_governed_is_named(gate: Gate) -> None:
    with pytest.raises(CatalogInvalid, match="tool `look`"):
        gate.coverage(Agent(adopted("look", schema={"type": "object", "properties": {"a": {"$ref": "https://example.com"}}})))


@pytest.mark.parametrize("unknown", [None, 1, "agent", object(), [], {}, ValueError("x"), Gate, lambda: None])
def test_what_is_no_agent_of_a_known_framework_is_not_seen(gate: Gate, unknown: Any) -> None:
    with pytest.raises(UngovernedTools, match="is no agent of a framework that has an adapter here") as caught:
        gate.coverage(Agent(LOOK), unknown)
    assert caught.value.tools == ()
    assert not gate.is_adopted("look")
    assert type(unknown).__name__ in str(caught.value)


def test_a_class_of_an_agent_is_no_agent(gate: Gate) -> None:
    with pytest.raises(UngovernedTools, match="`type` is no agent"):
        gate.coverage(Agent)


def test_what_only_says_that_it_is_an_agent_is_none(gate: Gate) -> None:
    lying = type("Lying", (), {"__class__": Agent, "seen": Surveyed(adopted=(LOOK,))})
    with pytest.raises(UngovernedTools, match="`Lying` is no agent"):
        gate.coverage(lying())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("langchain", "langchain"),
        ("langgraph.graph.state", "langchain"),
        ("langchain_core.tools", None),
        ("agents", "openai"),
        ("agents_of_mine", None),
        ("my.agents", None),
        ("google.adk.runners", "adk"),
        ("google", None),
        ("", None),
    ],
)
def test_a_framework_is_known_by_the_module_of_its_classes(module: str, expected: str | None) -> None:
    found = find_framework_of(module)
    assert (None if found is None else found.name) == expected


def test_no_two_frameworks_have_a_package_or_a_name_in_common() -> None:
    packages = [package for framework in FRAMEWORKS for package in framework.packages]
    assert len(packages) == len(set(packages))
    assert len({framework.name for framework in FRAMEWORKS}) == len(FRAMEWORKS)
