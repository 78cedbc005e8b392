"""Tools of agents' frameworks at the gate: who classifies them, when they become known, and what runs them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet import Effect, Gate, effect
from licet.catalog.adopted import AdoptedTool
from licet.config import loads
from licet.errors import CatalogInvalid, PolicyInvalid
from licet.gate.brought import NOTHING, Brought, Told
from licet.gate.results import Denied, Failed, Held, Ok, Result
from licet.gate.steps import EndedAs
from licet.testing import Clock, in_memory_gate, records, vote
from tests.gate.proof import assert_whole
from tests.gate.test_cancellation import cancelled_while, until
from tests.integrations.bare import adopted, brought

PEOPLE = """
environment = "production"
[tenants.acme]
[agents.bot]
tenants = ["acme"]
roles = ["support"]
acts_for = "self"
[users.lena]
tenants = ["acme"]
[groups]
leads = ["lena"]
[resources.Account]
tenant = "caller"
"""
POLICIES = """
@id("support-works")
permit (principal in Role::"support", action, resource);
"""
HELD = """
@id("needs-lead")
@require_approval("1 of Group::\\"leads\\"")
forbid (principal, action == Action::"pay", resource);
"""
ON_CENTS = """
@id("not-all")
forbid (principal, action == Action::"pay", resource) when { context.input.cents == "all" };
"""
PAY = '[tools.pay]\naccess = "write"\n'
PAY_ON = PAY + 'targets = "Account::{account}"\n'
TAKES = adopted("pay", "account", "cents")
GIVEN = {"account": "A-1", "cents": "5"}


@contextmanager
def gate_of(tables: str = "", policies: str = POLICIES) -> Iterator[Gate]:
    with in_memory_gate(PEOPLE + tables, policies, clock=Clock()) as gate:
        yield gate
        if gate._house is not None:
            assert_whole(gate)


@pytest.fixture
def gate() -> Iterator[Gate]:
    with gate_of() as made:
        yield made


@pytest.fixture
def classified(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    with gate_of(PAY) as made:
        made.adopt([TAKES])
        yield made


def call(
    gate: Gate, tool: str = "pay", arguments: dict[str, Any] = GIVEN, by: Brought | None = None, key: str | None = None, **acting: Any
) -> Result:
    with gate.acting(agent="bot", **acting):
        return gate.call_brought(tool, arguments, by or brought(lambda _: "paid"), idempotency_key=key, acting=None)


async def acall(gate: Gate, by: Brought, key: str | None = None) -> Result:
    with gate.acting(agent="bot"):
        return await gate.acall_brought("pay", GIVEN, by, idempotency_key=key, acting=None)


def code(result: Result) -> str:
    assert isinstance(result, Denied), result
    return result.decision.code


def kinds(gate: Gate) -> list[str]:
    return [record.kind for record in records(gate, "acme")]


def last(gate: Gate) -> Any:
    return records(gate, "acme")[-1]


# Classifying


@pytest.mark.parametrize("is_first", [True, False])
def test_a_tool_is_known_once_it_is_classified_in_python_and_brought_in_whichever_order(gate: Gate, *, is_first: bool) -> None:
    if is_first:
        gate.classify("pay", access="write", touches={"money"}, targets="Account::{account}")
        gate.adopt([TAKES])
    else:
        gate.adopt([TAKES])
        assert code(call(gate)) == "unclassified_tool"
        gate.classify("pay", access="write", touches={"money"}, targets="Account::{account}")
    assert isinstance(call(gate), Ok)
    spec = gate.scene.catalog.find_tool("pay")
    assert spec is not None
    assert (spec.access, sorted(spec.touches), [str(one) for one in spec.targets]) == ("write", ["money"], ["Account::{account}"])


def test_a_table_and_python_may_say_the_same_in_whatever_order_and_form() -> None:
    with gate_of('[tools.pay]\naccess = "write"\ntouches = ["money", "customers"]\ntargets = "Account::{account}"\n') as gate:
        for touches in (["money", "customers"], ["customers", "money"], {"customers", "money"}):
            gate.classify("pay", access="write", touches=touches, targets=["Account::{account}"])  # type: ignore[arg-type]
        gate.adopt([TAKES])
        gate.classify("pay", access="write", touches=["customers", "money"], targets="Account::{account}")
        assert isinstance(call(gate), Ok)


def test_python_may_repeat_what_a_table_says_that_gives_the_arguments_too() -> None:
    with gate_of(PAY + 'input = {account = "string"}\n') as gate:
        gate.classify("pay", access="write")
        gate.adopt([TAKES])
        assert isinstance(call(gate, arguments={"account": "A-1"}), Ok)
        assert code(call(gate)) == "unknown_argument", "the table is believed before the framework"


@pytest.mark.parametrize(
    "said",
    [
        {"access": "read"},
        {"access": "write", "touches": ["money"]},
        {"access": "write", "targets": "Account::{account}"},
        {"access": "write", "timeout_s": 5},
        {"access": "write", "keep_result": False},
        {"access": "write", "secrets": ["cents"]},
    ],
)
@pytest.mark.parametrize("tables", [PAY, ""], ids=["table", "python"])
def test_what_was_said_is_not_said_otherwise_later(tables: str, said: dict[str, Any]) -> None:
    with gate_of(tables) as gate:
        gate.classify("pay", access="write")
        with pytest.raises(CatalogInvalid, match="it was said otherwise before what the tool `pay` can do"):
            gate.classify("pay", **said)
        gate.adopt([TAKES])
        assert isinstance(call(gate), Ok)
        spec = gate.scene.catalog.find_tool("pay")
        assert spec is not None
        assert (spec.access, spec.touches, spec.targets, spec.secrets) == ("write", frozenset(), (), ())


def test_a_classification_that_cannot_be_is_corrected(gate: Gate) -> None:
    gate.adopt([TAKES])
    with pytest.raises(CatalogInvalid, match="names `acount`"):
        gate.classify("pay", access="write", targets="Account::{acount}")
    assert code(call(gate)) == "unclassified_tool"
    gate.classify("pay", access="write", targets="Account::{account}")
    assert isinstance(call(gate), Ok)


def test_a_function_of_the_gate_is_classified_where_it_is_registered(gate: Gate) -> None:
    @gate.tool("pay", access="write")
    def pay() -> None: ...

    with pytest.raises(CatalogInvalid, match="is in the catalog, which knows what it can do"):
        gate.classify("pay", access="read")


def test_an_unclassified_tool_is_denied_with_the_name_of_the_table_that_is_missing(gate: Gate) -> None:
    gate.adopt([TAKES, adopted("crm.pay")])
    denied = call(gate)
    assert isinstance(denied, Denied)
    assert (denied.decision.code, denied.decision.message) == (
        "unclassified_tool",
        "licet.toml does not say what `pay` can do: add `[tools.pay]` with its `access`, and permit it in a policy",
    )
    dotted = call(gate, "crm.pay", {})
    assert isinstance(dotted, Denied)
    assert '`[tools."crm.pay"]`' in dotted.decision.message
    assert kinds(gate) == ["denial", "denial"]


# Adopting


def test_the_same_tool_again_changes_nothing(classified: Gate) -> None:
    revision = classified.registry.revision
    classified.adopt([TAKES, adopted("pay", "account", "cents", description="Said otherwise.")])
    assert classified.registry.revision == revision


def test_words_for_a_model_make_no_other_arguments(gate: Gate) -> None:
    gate.classify("tell", access="write")
    text = {"type": "string", "description": "What to say.", "title": "Text"}
    gate.adopt([adopted("tell", schema={"type": "object", "description": "Tells.", "properties": {"text": text}})])
    gate.adopt([adopted("tell", schema={"type": "object", "title": "tell", "properties": {"text": {"type": "string"}}})])
    for name in ("description", "title"):  # arguments that are called like words
        with pytest.raises(CatalogInvalid, match="takes other arguments"):
            gate.adopt([adopted("tell", schema={"type": "object", "properties": {"text": {"type": "string"}, name: {"type": "string"}}})])


def test_another_schema_under_the_name_is_refused_and_the_first_stands(classified: Gate) -> None:
    with pytest.raises(CatalogInvalid, match="another tool `pay` takes other arguments: give one of them another name"):
        classified.adopt([adopted("pay", "account")])
    assert isinstance(call(classified), Ok)


def test_of_a_list_those_before_the_one_that_is_refused_stay_known(gate: Gate) -> None:
    gate.classify("look", access="read")
    with pytest.raises(CatalogInvalid):
        gate.adopt([adopted("look"), TAKES, adopted("pay"), adopted("after")])
    assert [gate.is_adopted(name) for name in ("look", "pay", "after")] == [True, True, False]


def test_the_name_of_a_function_of_the_gate_is_taken() -> None:
    with gate_of('[tools.pay]\naccess = "write"\ndescription = "Pays."\nschema = {type = "object"}\n') as gate:

        @gate.tool("look", access="read")
        def look(account: str) -> str:
            return account

        for tool in (adopted("look", "account"), AdoptedTool(name="look", description="", schema=look.spec.input_schema, framework="bare")):
            with pytest.raises(CatalogInvalid, match="the catalog has another tool `look`: give one of them another name"):
                gate.adopt([tool])
        with gate.acting(agent="bot"):
            assert look("A-1") == "A-1"


def test_a_function_does_not_take_the_name_of_a_tool_that_was_brought(gate: Gate) -> None:
    gate.adopt([TAKES])
    with pytest.raises(CatalogInvalid, match="an agent's framework has brought another tool `pay`"):

        @gate.tool("pay", access="write")
        def pay(account: str, cents: str) -> None: ...

    gate.classify("pay", access="write")
    assert isinstance(call(gate), Ok)


@pytest.mark.parametrize("name", ["crm__pay", "crm.resources.read", "crm__get.preview", "crm__get.undo", "crm__"])
def test_the_name_of_a_tool_of_an_upstream_is_taken(name: str) -> None:
    with gate_of('[upstreams.crm]\nurl = "https://crm.internal/mcp"\n') as gate:
        with pytest.raises(CatalogInvalid, match="would be taken for one of the upstream `crm`"):
            gate.adopt([adopted(name)])
        with pytest.raises(CatalogInvalid, match="would be taken for one of the upstream `crm`"):
            gate.classify(name, access="read")


def test_what_a_framework_makes_of_its_schema_later_changes_nothing() -> None:
    with gate_of(PAY) as gate:
        schema: dict[str, Any] = {"type": "object", "properties": {"account": {"type": "string"}}}
        gate.adopt([adopted("pay", schema=schema)])
        assert isinstance(call(gate, arguments={"account": "A-1"}), Ok)
        schema["properties"]["cents"] = {"type": "string"}
        gate.reload(gate.settings)
        assert code(call(gate)) == "unknown_argument"
        with pytest.raises(CatalogInvalid, match="takes other arguments"):
            gate.adopt([adopted("pay", schema=schema)])


# What runs


def test_a_call_brings_no_code_for_a_tool_of_somebody_else(gate: Gate) -> None:
    ran: list[str] = []

    @gate.tool("look", access="read")
    def look() -> str:
        return "the function's"

    by = brought(lambda _: ran.append("brought"))
    result = call(gate, "look", {}, by)
    assert isinstance(result, Ok)
    assert (result.value, ran, by.is_taken, by.result) == ("the function's", [], False, NOTHING)


def test_a_call_brings_no_code_for_a_tool_that_is_only_declared() -> None:
    with gate_of(PAY) as gate:
        by = brought(lambda _: "paid")
        assert code(call(gate, arguments={}, by=by)) == "no_implementation"
        assert not by.is_taken


def test_a_brought_tool_that_is_called_without_code_is_not_run(classified: Gate) -> None:
    with classified.acting(agent="bot"):
        denied = classified.call("pay", GIVEN)
        assert isinstance(denied, Denied)
        assert denied.decision.message == "`pay` is in the catalog, but this process has no function for it"
        assert code(denied) == "no_implementation"
        assert code(classified.call_brought("pay", GIVEN, None, idempotency_key=None, acting=None)) == "no_implementation"
    assert kinds(classified) == ["denial", "denial"]


def test_it_runs_with_the_arguments_that_were_decided_on_which_are_its_own(classified: Gate) -> None:
    given = {"account": "A-1", "cents": "5"}
    seen: list[Any] = []

    def run(arguments: dict[str, Any]) -> str:
        seen.append(dict(arguments))
        arguments["cents"] = "changed"
        return "paid"

    result = call(classified, arguments=given, by=brought(run))
    assert isinstance(result, Ok)
    assert result.value == {"content": "paid"}
    assert (seen, given) == ([GIVEN], GIVEN)
    arguments = records(classified, "acme")[0].payload.arguments
    assert arguments is not None
    assert json.loads(bytes(arguments)) == GIVEN


@pytest.mark.parametrize("name", ["arguments", "self", "function", "stops"])
def test_an_argument_may_have_any_name(gate: Gate, name: str) -> None:
    gate.classify("odd", access="read")
    gate.adopt([adopted("odd", name)])
    seen: list[Any] = []
    assert isinstance(call(gate, "odd", {name: "x"}, brought(seen.append)), Ok)
    assert seen == [{name: "x"}]


def test_what_a_call_brings_runs_at_most_once_from_however_many_threads(classified: Gate) -> None:
    ran: list[int] = []
    by = brought(lambda _: ran.append(1))
    barrier = threading.Barrier(8)

    def go(_: int) -> Result:
        barrier.wait()
        return call(classified, by=by)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(go, range(8)))
    assert ran == [1]
    assert sum(isinstance(result, Ok) for result in results) == 1
    refused = [result for result in results if isinstance(result, Failed)]
    assert {(one.code, one.status, one.executed) for one in refused} == {("ran_already", "not_executed", False)}


# Tables that say too little


@pytest.mark.parametrize("more", ['targets = "Account::{account}"\n', 'secrets = ["cents"]\n'])
def test_a_tool_whose_arguments_nobody_has_declared_yet_is_awaited(more: str) -> None:
    with gate_of(PAY + more) as gate:
        by = brought(lambda _: "paid")
        denied = call(gate, by=by)
        assert isinstance(denied, Denied)
        assert (denied.decision.code, denied.decision.message) == (
            "unknown_tool",
            (
                "nobody has said yet what the tool `pay` takes: give `input` in `[tools.pay]`, or call `gate.coverage(agent)` with the agent "
                "that has the tool"
            ),
        )
        assert (gate.scene.awaited, by.is_taken) == (frozenset({"pay"}), False)
        gate.adopt([TAKES])
        assert isinstance(call(gate), Ok)
        assert gate.scene.awaited == set()


def test_policies_that_speak_of_what_an_awaited_tool_takes_do_not_load_and_say_what_to_do() -> None:
    with gate_of(PAY_ON, POLICIES + ON_CENTS) as gate:
        with pytest.raises(PolicyInvalid) as caught:
            call(gate)
        assert len(caught.value.problems) == 1
        assert "nobody has said yet what the tool `pay` takes" in caught.value.problems[0]
        gate.adopt([TAKES])
        assert isinstance(call(gate), Ok)
        assert code(call(gate, arguments={**GIVEN, "cents": "all"})) == "forbidden"


def test_of_a_tool_in_the_catalog_without_arguments_it_is_said_as_well() -> None:
    with gate_of(PAY, POLICIES + ON_CENTS) as gate:
        with pytest.raises(PolicyInvalid, match="nobody has said yet what the tool `pay` takes"):
            gate.seal()
        gate.adopt([TAKES])
        assert code(call(gate, arguments={**GIVEN, "cents": "all"})) == "forbidden"


def test_what_else_is_wrong_with_policies_is_said_beside_it_and_what_follows_from_it_is_not() -> None:
    typo = '@id("typo") permit (principal in Role::"suport", action, resource);'
    with gate_of(PAY_ON, POLICIES + ON_CENTS + typo) as gate, pytest.raises(PolicyInvalid) as caught:
        gate.seal()
    text = "\n".join(caught.value.problems)
    assert "policy `typo`" in text
    assert "nobody has said yet" in text
    assert "policy `not-all`" not in text


def test_a_policy_that_speaks_of_an_argument_that_the_brought_tool_does_not_take_is_as_wrong_as_ever() -> None:
    with gate_of(PAY, POLICIES + ON_CENTS) as gate:
        gate.adopt([adopted("pay", "account")])
        with pytest.raises(PolicyInvalid, match="policy `not-all`"):
            gate.seal()


def test_a_table_without_arguments_is_a_tool_without_arguments_as_before() -> None:
    with gate_of('[tools.ping]\naccess = "write"\n') as gate, gate.acting(agent="bot"):
        assert gate.check("ping", {}).verdict == "allow"
        assert gate.check("ping", {"a": 1}).code == "unknown_argument"
        assert gate.propose("ping", {}).call


# Previews and probes that wait


def one_effect(account: str, cents: str) -> list[Effect]:
    return [Effect(target=f'Account::"{account}"', field="balance", before=0, after=int(cents))]


@pytest.mark.parametrize("tables", [PAY, PAY_ON], ids=["in the catalog", "awaited"])
def test_a_preview_waits_for_its_tool_and_is_asked_once_it_is_brought(tables: str) -> None:
    with gate_of(tables, POLICIES + HELD) as gate:
        gate.preview("pay")(one_effect)
        assert "pay" not in gate.registry.previews
        gate.adopt([TAKES])
        held = call(gate)
        assert isinstance(held, Held)
        assert held.preview == tuple(one_effect("A-1", "5"))
        vote(gate, held.request, "lena")
        assert isinstance(call(gate), Ok)


def test_a_probe_waits_for_its_tool() -> None:
    with gate_of(PAY_ON) as gate:
        gate.probe("pay")(was_paid)
        assert gate.registry.probes == {}
        gate.adopt([TAKES])
        assert set(gate.registry.probes) == {"pay"}


def test_what_waits_enters_with_a_classification_that_comes_last(gate: Gate) -> None:
    gate.classify("pay", access="write")
    gate.preview("pay")(one_effect)
    gate.adopt([TAKES])
    assert set(gate.registry.previews) == {"pay"}


def was_paid(account: str, cents: str) -> bool:
    return True


def wrong(account: str) -> list[Effect]:
    return []


@pytest.mark.parametrize("kind", ["preview", "probe"])
@pytest.mark.parametrize("tables", [PAY, PAY_ON], ids=["in the catalog", "awaited"])
def test_what_waits_and_does_not_fit_keeps_its_tool_out_however_often_it_is_brought(tables: str, kind: str) -> None:
    with gate_of(tables) as gate:
        getattr(gate, kind)("pay")(wrong)
        for _ in range(3):
            with pytest.raises(CatalogInvalid, match=f"the {kind} of `pay` must take the arguments of its tool"):
                gate.adopt([TAKES])
        by = brought(lambda _: "paid")
        assert isinstance(call(gate, by=by), Denied)
        assert not by.is_taken
        assert not gate.is_adopted("pay")


def test_a_method_that_waits_as_a_probe_keeps_its_tool_out() -> None:
    class Bank:
        def was_paid(self, account: str, cents: str) -> bool:
            return True

    with gate_of(PAY) as gate:
        gate.probe("pay")(Bank.was_paid)
        for _ in range(2):
            with pytest.raises(CatalogInvalid, match="no object is at hand"):
                gate.adopt([TAKES])


def test_a_preview_that_takes_nothing_fits_a_tool_that_takes_nothing_and_no_other() -> None:
    def nothing() -> list[Effect]:
        return [Effect(target="all", field="pinged", before=0, after=1)]

    with gate_of(PAY, POLICIES + HELD) as gate:
        gate.preview("pay")(nothing)
        assert set(gate.registry.previews) == {"pay"}, "it fits what the table says"
        for _ in range(2):
            with pytest.raises(CatalogInvalid, match="the preview of `pay`"):
                gate.adopt([TAKES])
        gate.adopt([adopted("pay")])
        held = call(gate, arguments={})
        assert isinstance(held, Held)
        assert held.preview == tuple(nothing())


def test_a_preview_whose_name_was_taken_meanwhile_keeps_its_tool_out() -> None:
    with gate_of(PAY_ON) as gate:
        gate.preview("pay")(one_effect)
        gate.adopt([adopted("pay.preview", "account", "cents")])
        for _ in range(2):
            with pytest.raises(CatalogInvalid, match=r"another tool `pay\.preview`"):
                gate.adopt([TAKES])
        assert not gate.is_adopted("pay")


def test_a_tool_has_one_preview_also_while_it_is_awaited() -> None:
    with gate_of(PAY_ON) as gate:
        gate.preview("pay")(one_effect)
        with pytest.raises(CatalogInvalid, match="preview of `pay` is already registered"):
            gate.preview("pay")(wrong)
        gate.adopt([TAKES])


def test_a_preview_for_a_tool_that_is_there_is_compared_by_the_names_of_its_arguments(classified: Gate) -> None:
    with pytest.raises(CatalogInvalid, match="must take the arguments of its tool"):
        classified.preview("pay")(wrong)
    classified.preview("pay")(one_effect)
    assert set(classified.registry.previews) == {"pay"}


def test_a_preview_of_a_tool_that_nobody_has_classified_waits_for_its_classification(gate: Gate) -> None:
    gate.adopt([TAKES])
    gate.preview("pay")(wrong)
    with pytest.raises(CatalogInvalid, match="must take the arguments of its tool"):
        gate.classify("pay", access="write")
    assert code(call(gate)) == "unclassified_tool"


def test_a_preview_of_a_tool_that_nobody_knows_has_no_tool(gate: Gate) -> None:
    with pytest.raises(CatalogInvalid, match="there is no `pay`"):
        gate.preview("pay")(one_effect)


# Undos


def test_a_brought_tool_is_undone_by_a_function_of_the_gate(gate: Gate) -> None:
    undone: list[Any] = []
    titled = {"title": "P", "type": "object", "properties": {"account": {"title": "Account", "type": "string"}}, "required": ["account"]}
    gate.classify("pay", access="write")
    gate.adopt([adopted("pay", schema=titled)])

    @gate.undoes("pay")
    def undo(account: str, effects: list[Effect]) -> str:
        undone.append((account, [(one.before, one.after) for one in effects]))
        return "undone"

    done = call(gate, arguments={"account": "A-1"}, by=brought(lambda _: effect("A-1", "balance", before=0, after=5)))
    assert isinstance(done, Ok)
    with gate.acting(agent="bot"):
        assert gate.undo(done.call).unwrap() == "undone"
    assert undone == [("A-1", [(5, 0)])]


def test_the_undo_of_a_brought_tool_takes_its_arguments(classified: Gate) -> None:
    with pytest.raises(CatalogInvalid, match="the undo of `pay` must take the arguments of its tool"):

        @classified.undoes("pay")
        def undo(account: str, effects: list[Effect]) -> None: ...


# Reloading


def reload(gate: Gate, tables: str) -> None:
    assert gate.settings.file is not None
    fresh = loads(PEOPLE + tables, file=gate.settings.file)
    gate.reload(replace(fresh, store=gate.settings.store, policies=gate.settings.policies))


def test_a_reload_keeps_what_was_brought_and_takes_the_new_classification(classified: Gate) -> None:
    assert isinstance(call(classified), Ok)
    reload(classified, PAY.replace("write", "destructive") + 'touches = ["money"]\n')
    assert isinstance(call(classified), Ok)
    spec = classified.scene.catalog.find_tool("pay")
    assert spec is not None
    assert (spec.access, sorted(spec.touches)) == ("destructive", ["money"])
    assert set(spec.input_schema["properties"]) == {"account", "cents"}


def test_a_reload_without_the_table_leaves_the_tool_unclassified_and_the_next_classifies_it_again(classified: Gate) -> None:
    reload(classified, "")
    assert code(call(classified)) == "unclassified_tool"
    reload(classified, PAY)
    assert isinstance(call(classified), Ok)


def test_a_reload_keeps_what_was_said_in_python_and_refuses_a_table_that_says_otherwise(gate: Gate) -> None:
    gate.classify("pay", access="write")
    gate.adopt([TAKES])
    reload(gate, PAY)
    assert isinstance(call(gate), Ok)
    with pytest.raises(CatalogInvalid, match="said otherwise"):
        reload(gate, PAY.replace("write", "read"))
    assert isinstance(call(gate), Ok)


def test_what_waits_for_a_tool_outlasts_reloads_and_enters_with_it() -> None:
    with gate_of(PAY, POLICIES + HELD) as gate:
        gate.preview("pay")(one_effect)
        reload(gate, PAY)
        gate.adopt([TAKES])
        assert isinstance(held := call(gate), Held)
        assert held.preview
        reload(gate, PAY_ON)
        assert isinstance(held := call(gate), Held)
        assert held.preview


def test_a_preview_has_the_targets_of_its_tool_after_a_reload() -> None:
    with gate_of(PAY, POLICIES + HELD) as gate:
        gate.adopt([TAKES])
        gate.preview("pay")(one_effect)
        gate.probe("pay")(was_paid)
        assert isinstance(call(gate), Held)
        reload(gate, PAY_ON)
        assert isinstance(call(gate), Held)
        assert [str(one) for one in gate.registry.previews["pay"].spec.targets] == ["Account::{account}"]
        assert [str(one) for one in gate.registry.probes["pay"].spec.targets] == ["Account::{account}"]


def test_a_reload_without_the_table_stops_the_tool_whose_preview_waits_until_it_is_back() -> None:
    with gate_of(PAY, POLICIES) as gate:
        gate.adopt([TAKES])
        gate.preview("pay")(one_effect)
        gate.probe("pay")(was_paid)
        assert isinstance(call(gate), Ok)
        reload(gate, "")
        assert code(call(gate)) == "unclassified_tool"
        assert (gate.registry.previews, gate.registry.probes) == ({}, {})
        reload(gate, PAY_ON)
        assert isinstance(call(gate), Ok)
        assert (set(gate.registry.previews), set(gate.registry.probes)) == ({"pay"}, {"pay"})


def test_what_waits_enters_also_where_a_reload_brings_the_classification_back() -> None:
    with gate_of(PAY_ON) as gate:
        gate.preview("pay")(one_effect)
        reload(gate, "")
        gate.adopt([TAKES])
        assert code(call(gate)) == "unclassified_tool"
        reload(gate, PAY_ON)
        assert isinstance(call(gate), Ok)
        assert set(gate.registry.previews) == {"pay"}


# Other processes


def two_gates(folder: Path, tables: str = PAY_ON, others: str | None = None, policies: str = POLICIES) -> tuple[Gate, Gate]:
    """Two processes on one store; the second may have a licet.toml of its own."""
    for name, config in (("one", tables), ("two", tables if others is None else others)):
        (folder / f"{name}.toml").write_text(PEOPLE + config)
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(policies)
    return Gate(folder / "one.toml"), Gate(folder / "two.toml")


@pytest.mark.parametrize("tables", [PAY, PAY_ON], ids=["in the catalog", "awaited"])
def test_what_another_process_saw_a_tool_take_completes_a_table(tmp_path: Path, tables: str) -> None:
    agents, server = two_gates(tmp_path, tables, policies=POLICIES + ON_CENTS)
    with agents, server:
        agents.adopt([TAKES])
        agents.seal()
        with server.acting(agent="bot"):
            assert server.check("pay", GIVEN).verdict == "allow"
            assert server.check("pay", {**GIVEN, "cents": "all"}).code == "forbidden"
            assert server.check("pay", {**GIVEN, "a": 1}).code == "unknown_argument"
            by = brought(lambda _: "paid")
            assert code(server.call_brought("pay", GIVEN, by, idempotency_key=None, acting=None)) == "no_implementation"
            assert not by.is_taken, "this process was brought nothing"


@pytest.mark.parametrize(
    "theirs",
    [
        PAY_ON.replace("write", "read"),
        PAY_ON + 'touches = ["money"]\n',
        PAY,
        PAY_ON.replace("{account}", "A-1"),
        PAY_ON + "keep_result = false\n",
    ],
)
def test_another_process_that_classifies_otherwise_is_not_believed(tmp_path: Path, theirs: str) -> None:
    agents, server = two_gates(tmp_path, theirs, PAY_ON)
    with agents, server:
        agents.adopt([TAKES])
        agents.seal()
        with server.acting(agent="bot"):
            assert server.check("pay", GIVEN).code == "unknown_tool"
        assert server.scene.awaited == {"pay"}


def test_nor_where_the_classification_was_made_in_python(tmp_path: Path) -> None:
    agents, server = two_gates(tmp_path, PAY_ON.replace("write", "read"), "")
    with agents, server:
        agents.adopt([TAKES])
        agents.seal()
        server.classify("pay", access="write", targets="Account::{account}")
        with server.acting(agent="bot"):
            assert server.check("pay", GIVEN).code == "unknown_tool"
        assert server.scene.catalog.find_tool("pay") is None


def test_what_is_brought_here_counts_before_what_another_process_saw(tmp_path: Path) -> None:
    agents, other = two_gates(tmp_path)
    with agents, other:
        agents.adopt([TAKES])
        agents.seal()
        other.adopt([adopted("pay", "account")])
        assert isinstance(call(other, arguments={"account": "A-1"}), Ok)
        assert code(call(other)) == "unknown_argument"
        assert isinstance(call(agents), Ok)


def test_a_function_is_not_given_the_arguments_that_another_process_saw_under_its_name(tmp_path: Path) -> None:
    agents, other = two_gates(tmp_path, PAY)
    with agents, other:
        agents.adopt([TAKES])
        agents.seal()
        table = other.registry.catalog.find_tool("pay")
        assert table is not None

        @other.tool("ping", access="write")
        def ping() -> str:
            return "pong"

        with other.acting(agent="bot"):
            assert other.call("ping", {}).unwrap() == "pong"


# How what was brought ends


@pytest.mark.parametrize("is_async", [False, True])
def test_what_it_gives_is_the_frameworks_and_its_record_is_json(classified: Gate, *, is_async: bool) -> None:
    gift = object()

    async def run_awaited(arguments: dict[str, Any]) -> object:
        await asyncio.sleep(0)
        return gift

    by = brought(run_awaited if is_async else lambda _: gift)
    result = asyncio.run(acall(classified, by)) if is_async else call(classified, by=by)
    assert isinstance(result, Ok)
    assert by.result is gift
    assert result.value == {"content": {"not_json": "object"}}
    assert kinds(classified) == ["intent", "outcome"]


def test_an_asynchronous_one_runs_from_synchronous_code_and_the_other_way(classified: Gate) -> None:
    async def run(arguments: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return "paid"

    assert isinstance(call(classified, by=brought(run)), Ok)
    assert isinstance(asyncio.run(acall(classified, brought(lambda _: "paid"))), Ok)


def test_one_that_says_itself_that_it_failed_is_recorded_as_failed_with_its_code(classified: Gate) -> None:
    by = Brought(lambda *_: "no money", lambda result: Told(failed=f"it said: {result}", code="broke"), is_async=False)
    failed = call(classified, by=by)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.message, failed.status, failed.executed, failed.retry) == (
        "broke",
        "it said: no money",
        "error",
        True,
        False,
    )
    assert (by.result, isinstance(failed.error, EndedAs)) == ("no money", True)


def test_what_is_not_json_of_it_is_not_released(classified: Gate) -> None:
    by = Brought(lambda *_: "paid", lambda _: Told(object()), is_async=False)
    failed = call(classified, by=by)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.executed, failed.error) == ("result_not_json", True, None)


def test_an_adapter_that_cannot_tell_of_a_result_leaves_an_outcome(classified: Gate) -> None:
    def tell(_: object) -> Told:
        raise LookupError("no such field")

    failed = call(classified, by=Brought(lambda *_: "paid", tell, is_async=False))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.executed) == ("LookupError", True)
    assert kinds(classified) == ["intent", "outcome"]


class Stop(Exception):
    """The framework stops a tool to go on with it later."""


@pytest.mark.parametrize("is_async", [False, True])
def test_one_that_the_framework_stops_is_recorded_as_paused(classified: Gate, *, is_async: bool) -> None:
    stop = Stop("what is your name?")

    async def run_awaited(arguments: dict[str, Any]) -> object:
        raise stop

    def run(arguments: dict[str, Any]) -> object:
        raise stop

    by = brought(run_awaited if is_async else run, paused=(Stop,))
    failed = asyncio.run(acall(classified, by)) if is_async else call(classified, by=by)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.message) == ("paused", "the framework stopped the tool to go on with it later (Stop)")
    assert by.raised is stop
    assert "name" not in last(classified).payload.message


def test_an_error_that_is_only_called_like_a_pause_is_none(classified: Gate) -> None:
    error = type("paused", (Exception,), {})("no money")

    def run(arguments: dict[str, Any]) -> object:
        raise error

    by = brought(run, paused=(Stop,))
    failed = call(classified, by=by)
    assert isinstance(failed, Failed)
    assert (failed.code, by.raised) == ("tool_error", error)
    told = Brought(lambda *_: "x", lambda _: Told(failed="x", code="paused"), is_async=False)
    assert isinstance(failed := call(classified, by=told), Failed)
    assert failed.code == "tool_error"


def test_the_number_of_stops_before_is_told_to_it(classified: Gate) -> None:
    seen: list[int] = []
    by = Brought(lambda _, stops: seen.append(stops), lambda _: Told(), is_async=False, stops=3)
    assert isinstance(call(classified, by=by), Ok)
    assert seen == [3]


def test_one_that_ends_the_process_leaves_an_outcome_and_is_not_swallowed(classified: Gate) -> None:
    def leave(arguments: dict[str, Any]) -> object:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        call(classified, by=brought(leave))
    assert kinds(classified) == ["intent", "outcome"]
    assert last(classified).envelope.outcome.code == "SystemExit"


def test_cancelled_while_it_runs_it_is_cancelled_and_what_it_did_is_not_known(classified: Gate) -> None:
    started = threading.Event()
    ended: list[str] = []

    async def run(arguments: dict[str, Any]) -> object:
        started.set()
        try:
            return await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def main() -> None:
        await cancelled_while(acall(classified, brought(run)), lambda: until(started))

    asyncio.run(main())
    assert ended == ["cancelled"]
    assert last(classified).envelope.outcome.status == "unknown"


def test_cancelled_before_it_runs_it_is_not_run(classified: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    async def run(arguments: dict[str, Any]) -> object:
        ran.append(1)
        return "paid"

    async def main() -> None:
        task = asyncio.ensure_future(acall(classified, brought(run)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ran == []


def test_one_that_takes_too_long_is_given_up_and_its_late_end_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gate.clerk.TICK_S", 0.01)
    release, ended = threading.Event(), threading.Event()

    def run(arguments: dict[str, Any]) -> object:
        release.wait()
        ended.set()
        return "paid"

    with gate_of(PAY + "timeout_s = 0.05\n") as gate:
        gate.adopt([TAKES])
        by = brought(run)
        failed = call(gate, by=by)
        assert isinstance(failed, Failed)
        assert (failed.code, failed.executed, failed.error, by.result) == ("timeout", True, None, NOTHING)
        release.set()
        ended.wait()
        while kinds(gate) != ["intent", "outcome", "outcome"]:
            threading.Event().wait(0.005)  # until the clerk has written it
        assert [record.envelope.outcome.status for record in records(gate, "acme")[1:] if record.envelope.outcome] == ["timeout", "ok"]


def test_a_read_of_a_framework_is_one_record(gate: Gate) -> None:
    gate.classify("look", access="read")
    gate.adopt([adopted("look")])
    assert isinstance(call(gate, "look", {}), Ok)
    assert kinds(gate) == ["call"]


# Asking before the call


async def ask(gate: Gate, key: str | None = None) -> Held | None:
    with gate.acting(agent="bot"):
        return await gate.aask_brought("pay", GIVEN, idempotency_key=key, acting=None)


def test_people_are_asked_before_a_call_and_the_call_uses_what_they_decided() -> None:
    with gate_of(PAY, POLICIES + HELD) as gate:
        gate.adopt([TAKES])
        held = asyncio.run(ask(gate))
        assert held is not None
        again = asyncio.run(ask(gate))
        assert again is not None
        assert again.request == held.request
        assert len(gate.approvals.all()) == 1
        vote(gate, held.request, "lena")
        assert asyncio.run(ask(gate)) is None, "then the call itself finds out"
        assert isinstance(call(gate), Ok)
        assert isinstance(call(gate), Held), "it was used"


def test_nobody_is_asked_about_a_call_that_is_permitted_denied_or_was_made(classified: Gate) -> None:
    assert asyncio.run(ask(classified)) is None
    assert kinds(classified) == []
    with gate_of(PAY, POLICIES + HELD) as gate:
        gate.adopt([TAKES])
        held = asyncio.run(ask(gate, "k"))
        assert held is not None
        vote(gate, held.request, "lena")
        assert isinstance(call(gate, key="k"), Ok)
        assert asyncio.run(ask(gate, "k")) is None
        assert len(gate.approvals.all()) == 1


def test_nobody_acts_where_no_block_is_open(gate: Gate) -> None:
    gate.classify("pay", access="write")
    gate.adopt([TAKES])
    with gate.acting(agent="bot") as acting:
        assert gate.acting_now() == acting
    by = brought(lambda _: "paid")
    assert code(gate.call_brought("pay", GIVEN, by, idempotency_key=None, acting=None)) == "no_caller"
    assert code(gate.call_brought("pay", GIVEN, by, idempotency_key=None, acting=gate.acting_now())) == "no_caller"
    assert not by.is_taken
    assert isinstance(gate.call_brought("pay", GIVEN, by, idempotency_key=None, acting=acting), Ok)


def test_a_block_of_another_gate_names_nobody_here(gate: Gate) -> None:
    with gate_of() as other:
        block = other.acting(agent="bot")
        assert (other.acting_in(block).agent, gate.acting_in(block).agent) == ("bot", None)
