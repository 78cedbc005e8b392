"""Text from outside that is no Unicode text, or no text: it is recorded, and matches no name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from licet.gate.results import Failed, Ok
from licet.gate.text import KEY_LIMIT, is_key, readable, readable_or_none
from licet.names import name_problem
from tests.world import World

HALF = "\ud800"


class Liar(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "support-bot"

    def isascii(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("unverified", "expected"),
    [
        ("abc", "abc"),
        ("é", "é"),
        (HALF, "\\ud800"),
        (5, "(not text: int)"),
        (None, "(not text: NoneType)"),
        (["support-bot"], "(not text: list)"),
        (b"support-bot", "(not text: bytes)"),
        (Liar("night-bot"), "night-bot"),
    ],
)
def test_text_is_kept_and_anything_else_says_what_it_was(unverified: object, expected: str) -> None:
    assert readable(unverified) == expected
    assert type(readable(unverified)) is str


@pytest.mark.parametrize("unverified", [5, None, HALF, ["x"]])
def test_what_was_no_text_can_be_no_name(unverified: object) -> None:
    assert name_problem(readable(unverified)) is not None


def test_none_stays_none() -> None:
    assert readable_or_none(None) is None
    assert readable_or_none("x") == "x"


@pytest.mark.parametrize("key", ["k", "order-17", "é" * KEY_LIMIT])
def test_printable_text_is_a_key(key: object) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "k" * (KEY_LIMIT + 1), "a\nb", HALF, 5, b"k", "\u200b", Liar("k")])
def test_anything_else_is_no_key(key: object) -> None:
    assert not is_key(key)


@pytest.mark.parametrize(
    ("tool", "shown"), [(HALF, "ud800"), (5, "(not text: int)"), (None, "(not text: NoneType)"), (["crm.lookup"], "list")]
)
def test_a_tool_name_that_is_no_text_is_an_unknown_tool(w: World, tool: Any, shown: str) -> None:
    with w.alice():
        w.denied(w.gate.call(tool, {}), "unknown_tool", shown)
        w.denied(asyncio.run(w.gate.acall(tool, {})), "unknown_tool", shown)
    assert w.ran == []
    assert w.kinds() == ["denial", "denial"]


@pytest.mark.parametrize("field", ["agent", "user", "service", "tenant"])
@pytest.mark.parametrize("value", [HALF, 5, ["support-bot"], {"a": 1}, b"support-bot"])
def test_a_caller_that_is_no_text_is_refused_and_recorded(w: World, field: str, value: Any) -> None:
    caller = {"service": "importer"} if field == "service" else {"agent": "support-bot", "user": "alice"}
    with w.gate.acting(**{**caller, field: value}):
        result = w.denied(w.gate.call("crm.lookup", {"customer_id": "C-1"}), result_code(field))
    assert w.ran == []
    last = w.records("operator")[-1]
    assert (last.kind, last.receipt) == ("denial", result.receipt)


def result_code(field: str) -> str:
    return {"agent": "unknown_caller", "service": "unknown_caller", "user": "unknown_user", "tenant": "unknown_tenant"}[field]


@pytest.mark.parametrize("value", [HALF, 5, ["x"]])
def test_a_reason_session_or_trace_that_is_no_text_is_recorded_readably(w: World, value: Any) -> None:
    with w.alice(session=value, workflow=value, reason=value):
        assert isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}), Ok)
        assert isinstance(w.gate.call("crm.lookup", {"customer_id": "C-1"}, reason=value), Ok)
        w.gate.label(value)
    for record in w.records():
        assert record.payload.reason == readable(value)
        assert record.envelope.actor is not None
        assert record.envelope.actor.session == readable(value)
        assert record.envelope.trace is not None
        assert record.envelope.trace.workflow == readable(value)


@pytest.mark.parametrize("key", ["", "k" * 256, "a\nb", HALF, 5])
def test_a_key_that_is_no_key_is_refused_and_nothing_runs(w: World, key: Any) -> None:
    w.denied(w.adjust(idempotency_key=key), "bad_key", "1 to 255 printable characters")
    assert w.ran == []
    record = w.records()[-1]
    assert (record.kind, record.envelope.key) == ("denial", None)


def test_the_longest_key_is_kept_whole(w: World) -> None:
    key = "k" * KEY_LIMIT
    assert isinstance(w.adjust(idempotency_key=key), Ok)
    assert w.records()[0].envelope.key == key
    again = w.adjust(idempotency_key=key)
    assert isinstance(again, Ok)
    assert again.replayed
    assert w.adjust(idempotency_key=key[:-1]) != again


@pytest.mark.parametrize("tool", ["odd.now", "odd.awaited"])
def test_a_tool_that_raises_unwritable_text_has_a_recorded_outcome(w: World, tool: str) -> None:
    w.raises = FileNotFoundError("caf\udce9.txt")
    with w.alice():
        result = w.gate.call(tool, {})
    assert isinstance(result, Failed)
    assert (result.code, result.message, result.error) == ("FileNotFoundError", "caf\\udce9.txt", w.raises)
    assert w.records()[-1].payload.message == "caf\\udce9.txt"


def test_the_name_of_a_tool_that_nobody_has_stands_in_no_envelope_and_is_counted_as_one(w: World) -> None:
    with w.alice():
        for number in range(40):
            w.denied(w.gate.call(f"no.such.{number}.alice@example.com", {}), "unknown_tool", "alice@example.com")
    found = [record for record in w.records() if record.kind == "denial"]
    assert len(found) == w.gate.settings.limits.denials_per_minute, "the rest is counted"
    assert found[0].envelope.tool is not None
    assert found[0].envelope.tool.name == "no.such.0.alice@example.com", "the payload has the name"
    stored = [record.envelope for record in w.gate.store.records("acme")]
    assert not any(b"example.com" in envelope for envelope in stored)
