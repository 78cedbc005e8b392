"""The corpus of calls over MCP: clients of both eras, a gateway in a real server, and servers of both eras behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from licet.testing import Read
from tests.cases.corpus import Case, cases
from tests.cases.over_mcp import LOGS, CorpusWorld, corpus_world, over_mcp
from tests.gate.proof import assert_whole
from tests.gateway.door_world import Reply

CASES = cases()
UNREADABLE = frozenset({"not_json", "duplicate_key", "not_finite", "number_too_large", "bad_text", "forbidden_key"})
"""A message with such arguments is no message: it is refused whole (-32700), before anybody knows that it is a call."""
NOT_SPOKEN = {
    "a list is no object": -32602,  # nor are its params those of `tools/call`
    "nobody calls": 401,
    "an unknown tenant": 404,
    "an empty tenant is no tenant": 404,
    "a user alone is no caller": 403,
    "a user alone without a tenant is no caller": 403,
    "an agent and a service at once": 403,
    "an agent of two tenants says which": 403,
    "a service of every tenant says which": 403,
}
"""What a credential cannot say, or the protocol: refused at the door, as it stands here."""
BY_CREDENTIAL = {"an unknown agent": ("unknown_agent", "there is no agent `ghost`")}
"""Who calls is known by a credential here, so that another sentence says what is missing."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CorpusWorld]:
    folder: Path = tmp_path_factory.mktemp("corpus")
    with corpus_world(folder) as made:
        yield made
        assert_whole(made.gate)


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_is_answered_over_mcp_as_everywhere(made: CorpusWorld, case: Case, era: str) -> None:
    made.fresh()
    before = {log: len(found) for log, found in made.records().items()}
    reply = made.call(case, era)
    found = [record for log, records in made.records().items() for record in records[before[log] :]]
    allowed = case.expect.verdict == "allow"
    assert len(made.tools.reached) == int(allowed), "what is not allowed reaches nobody, and what is reaches its tool once"
    if case.expect.code in UNREADABLE:
        assert_not_read(case, reply, found)
    elif case.name in NOT_SPOKEN:
        assert_not_spoken(case, reply, found)
    else:
        assert_answered(case, reply, era)
        assert_recorded(case, found)
        if allowed:
            decided_on = msgspec.json.decode(found[0].payload.arguments)
            assert made.tools.reached == [(case.tool, decided_on)], "what was decided on, defaults and all"


def assert_not_read(case: Case, reply: Reply, found: list[Read]) -> None:
    assert (reply.status, reply.json["error"]["code"]) == (400, -32700)
    assert reply.json["error"]["message"].startswith("the message cannot be read: ")
    assert found == []
    assert case.expect.verdict == "deny"


def assert_not_spoken(case: Case, reply: Reply, found: list[Read]) -> None:
    assert NOT_SPOKEN[case.name] in {reply.status, reply.json["error"]["code"]}
    assert "result" not in reply.json
    assert found == []
    assert case.expect.verdict == "deny"


def assert_answered(case: Case, reply: Reply, era: str) -> None:
    assert reply.status == 200
    expect = case.expect
    if expect.code == "unknown_tool":
        assert reply.json["error"]["code"] == -32602
        assert_said(expect.says, reply.json["error"]["message"])
    elif expect.verdict == "hold" and era == "modern":
        result = reply.json["result"]
        assert result.get("isError") or result["resultType"] == "input_required"
    elif expect.verdict != "allow":
        result = reply.json["result"]
        assert result["isError"] is True
        assert_said(BY_CREDENTIAL[case.name][1:] if case.name in BY_CREDENTIAL else expect.says, result["content"][0]["text"])
    else:
        assert "isError" not in reply.json["result"]


def assert_said(words: tuple[str, ...], text: str) -> None:
    for part in words:
        assert over_mcp(part) in text


def assert_recorded(case: Case, found: list[Read]) -> None:
    """The records say what was decided, for whom, and on what, as through every other door."""
    expect = case.expect
    decided = [record.envelope for record in found if record.envelope.decision is not None and not _is_of_preview(record)]
    assert decided, "no record, no answer"
    first = decided[0]
    decision, actor = first.decision, first.actor
    assert decision is not None
    assert actor is not None
    code = BY_CREDENTIAL[case.name][0] if case.name in BY_CREDENTIAL else expect.code
    assert (decision.verdict, decision.code) == (expect.verdict, code)
    assert (set(decision.policies), set(decision.obligations)) == (set(expect.policies), set(expect.obligations))
    if case.name not in BY_CREDENTIAL:
        assert (actor.agent, actor.service, actor.user) == tuple(case.caller.get(name) for name in ("agent", "service", "user"))
        assert first.log == expect.log


def _is_of_preview(record: Read) -> bool:
    tool = record.envelope.tool
    return tool is not None and tool.name.endswith(".preview")


def test_what_is_not_spoken_over_mcp_is_in_the_corpus_and_little() -> None:
    names = {case.name for case in CASES}
    assert names >= {*NOT_SPOKEN, *BY_CREDENTIAL}
    unread = [case for case in CASES if case.expect.code in UNREADABLE]
    assert len(unread) + len(NOT_SPOKEN) < len(CASES) / 4
    assert set(LOGS) >= {case.expect.log for case in CASES}
