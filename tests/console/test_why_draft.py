"""A draft permits the denied call, loads, and permits nothing else: for any call, however it is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from licet.console.why_draft import Draft, Ground, NoDraft, draft_of, entity, string
from licet.model import EntityRef, JsonObject
from licet.policy.engine import Engine, Question
from tests.policy.scene import (
    ADJUST,
    BASE,
    BILLING,
    DIRECTORY,
    PROFILE,
    STATUS,
    SUSPEND,
    TEXTS,
    catalog,
    customer,
    engine,
    principals,
    question,
    tool,
)

RICH = tool(
    "odd.write",
    {
        "customer_id": {"type": "string"},
        "amount": {"type": "integer"},
        "flag": {"type": "boolean"},
        "price": {"type": "string", "format": "decimal"},
        "note": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "where": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, 'a "b"\n': {"type": "string"}},
            "required": ["x"],
            "additionalProperties": False,
        },
        "in": {"type": "string"},
    },
    "Customer::{customer_id}",
    access="write",
    required=["customer_id", "amount", "flag", "price", "tags"],
)
OTHER = tool("odd.other", RICH.input_schema["properties"], "Customer::{customer_id}", access="write", required=["customer_id"])
TOOLS = (RICH, OTHER, ADJUST)
WALLED = {"policies/base.cedar": BASE, "policies/more.cedar": '@id("a") permit (principal == User::"dana", action, resource); // end'}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", '\\"', "\n", "\r", '"; permit(principal,action,resource);//', "\u202e", "\u2028", "*", "\0", "${x}", "'", "-- a"]
)
CALLS = st.fixed_dictionaries(
    {
        "customer_id": TEXT.filter(bool),
        "amount": st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
        "flag": st.booleans(),
        "price": st.sampled_from(["1", "1.5", "-0.0001", "99999999999999"]),
        "tags": st.lists(TEXT, max_size=3),
    },
    optional={
        "note": TEXT,
        "where": st.fixed_dictionaries({"x": st.integers(0, 3)}, optional={'a "b"\n': TEXT}),
        "in": TEXT,
    },
)
CALLERS = st.sampled_from(
    [principals("reader-bot", "bob"), principals("support-bot", "alice"), principals("support-bot", None), principals("reader-bot", "omar")]
)


def asked(arguments: JsonObject, by: Any, asked_tool: Any = RICH, tenant: str = "acme", environment: str = "production") -> Question:
    return question(asked_tool, arguments, by=by, on=(customer(arguments["customer_id"], tenant),), environment=environment)


def ground(texts: dict[str, str] | None = None, *tools: Any) -> Ground:
    made = tools or TOOLS
    return Ground(engine=engine(texts or WALLED, *made), catalog=catalog(*made), directory=DIRECTORY)


GROUND = ground()
BILLED = ground(TEXTS, PROFILE, ADJUST, SUSPEND, STATUS)


def drafted(wanted: Question, on: Ground = GROUND) -> Draft:
    return draft_of(on, wanted, "acme:18")


def seen(one: Question) -> Any:
    """What makes a call the same to policies: a list is a set to them, an absent argument and null are one, and 1 is 1.0 where decimal."""
    given = {name: value for name, value in one.input.items() if value is not None}
    given["tags"] = frozenset(given.get("tags", ()))
    who = frozenset(str(principal.ref) for principal in one.principals)
    on = frozenset((target.type, target.id, target.tenant) for target in one.targets)
    return (who, one.tool.name, on, one.environment, given)


@settings(max_examples=60, deadline=None)
@given(CALLS, CALLERS)
def test_with_the_draft_the_denied_call_is_allowed_and_the_draft_loads(arguments: JsonObject, by: Any) -> None:
    wanted = asked(arguments, by)
    draft = drafted(wanted)
    assert (draft.decision.verdict, draft.decision.code) == ("allow", "allowed")
    assert len(draft.engine.bundle.policies) == len(GROUND.engine.bundle.policies) + len(wanted.principals)
    kept = {policy.id: policy.text for policy in draft.engine.bundle.policies}
    assert all(kept[policy.id] == policy.text for policy in GROUND.engine.bundle.policies)


@settings(max_examples=60, deadline=None)
@given(CALLS, CALLERS, CALLS, CALLERS, st.data())
def test_the_draft_permits_nothing_but_the_denied_call(arguments: JsonObject, by: Any, else_: JsonObject, others: Any, data: Any) -> None:
    wanted = asked(arguments, by)
    draft = drafted(wanted)
    changed = data.draw(st.sampled_from(sorted({*arguments, *else_})))
    one_changed = {name: value for name, value in {**arguments, changed: else_.get(changed)}.items() if value is not None}
    tries = [
        asked(else_, others),
        asked(arguments, others),
        asked(else_, by),
        asked(arguments, by, OTHER),
        asked(arguments, by, tenant="globex"),
        asked(arguments, by, environment="staging"),
        replace(wanted, targets=(customer(arguments["customer_id"] + "x"),)),
    ]
    if "customer_id" in one_changed and "amount" in one_changed and {"flag", "price", "tags"} <= set(one_changed):
        tries.append(asked(one_changed, by))
    for other in tries:
        if seen(other) == seen(wanted):
            continue
        assert _decided(draft.engine, other) == _decided(GROUND.engine, other), other


def _decided(by: Engine, one: Question) -> tuple[str, str]:
    decision = by.decide(one)
    return decision.verdict, decision.code


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_a_text_in_a_draft_is_one_string_and_ends_no_policy(text: str) -> None:
    written = string(text)
    assert written.isascii()
    assert written.isprintable()
    loaded = engine(f'@id("x") permit (principal, action, resource == Customer::{written}) when {{ context.environment == {written} }};')
    (policy,) = loaded.bundle.policies
    assert EntityRef("Customer", text) in policy.entities
    assert entity(EntityRef("Customer", text)) == f"Customer::{written}"


def test_the_draft_stands_behind_the_nearest_permit_with_file_and_line() -> None:
    wanted = question(arguments={"customer_id": "C-412", "amount_cents": 2_000_000})
    draft = drafted(wanted, BILLED)
    assert (draft.file, draft.line) == ("policies/billing.cedar", 5)
    new = draft.engine.bundle.get_policy("access-acme-18-1")
    assert (new.file, new.line) == (draft.file, draft.line)
    assert '+@id("access-acme-18-1")' in draft.diff.splitlines()
    assert all(line.startswith(("+", "@", " ", "---")) for line in draft.diff.splitlines())


def test_a_draft_softens_no_forbid_and_says_that_people_still_decide() -> None:
    wanted = question(arguments={"customer_id": "C-412", "amount_cents": 2_000_000})
    assert drafted(wanted, BILLED).decision.verdict == "hold"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('@id("near") permit (principal in Role::"billing", action, resource) when { context.environment == "x" };', 3),
        ('@id("near") permit (principal in Role::"billing", action, resource) when { context.environment == "x" }; // a note', 3),
        ('@id("near") permit (principal in Role::"billing", action, resource) when { context.environment == "x" };\n\n// last', 3),
        (
            (
                '@id("near") permit (principal in Role::"billing", action, resource) when { context.environment == "x" }; @id("b")\n'
                'forbid (principal, action, resource) when { context.environment == "y" };'
            ),
            4,
        ),
    ],
)
def test_however_the_file_is_written_the_draft_is_put_between_policies(text: str, line: int) -> None:
    draft = drafted(question(), ground({"policies/p.cedar": text}, ADJUST))
    assert draft.line == line
    assert draft.engine.bundle.get_policy("access-acme-18-1").line == line
    assert draft.decision.verdict == "allow"


def test_where_no_permit_is_about_the_tool_the_draft_has_a_file_of_its_own() -> None:
    draft = drafted(question(), ground({"policies/base.cedar": BASE}, ADJUST))
    assert (draft.file, draft.line) == ("policies/access.cedar", 1)
    assert draft.engine.bundle.get_policy("access-acme-18-2").file == "policies/access.cedar"


def test_an_id_that_is_taken_is_not_taken_again() -> None:
    taken = '@id("access-acme-18-1") permit (principal == User::"dana", action, resource);'
    draft = drafted(question(), ground({"policies/p.cedar": taken}, ADJUST))
    assert "access-acme-18-1-again" in draft.text


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"type": "number"}, 1.5, "policies cannot see all of `x`"),
        ({"type": "object"}, {"a": 1}, "policies cannot see all of `x`"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": 1, "b": 2}, "policies cannot see all of `x`"),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}},
            [{"a": 1}],
            "no policy can name",
        ),
    ],
)
def test_where_a_draft_would_be_wider_than_the_call_there_is_none(schema: JsonObject, value: Any, words: str) -> None:
    blind = tool("blind.write", {"customer_id": {"type": "string"}, "x": schema}, "Customer::{customer_id}", access="write")
    wanted = question(blind, {"customer_id": "C-412", "x": value})
    with pytest.raises(NoDraft, match=words):
        drafted(wanted, ground({"policies/base.cedar": BASE}, blind))


def test_what_is_not_for_a_permit_to_change_is_not_drafted() -> None:
    walled = question(on=(customer(tenant="globex"),))
    with pytest.raises(NoDraft, match="something else that denies it"):
        drafted(walled, BILLED)
    with pytest.raises(NoDraft, match="would be allowed"):
        drafted(question(), ground({"policies/billing.cedar": BILLING.partition('@id("suspend")')[0]}, ADJUST))
