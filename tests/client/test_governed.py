"""Calls that a client executes, against the running server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from licet.client import Client, Ran, ServerProblem, types
from licet.client.connection import Connection
from licet.errors import CallDenied, CallFailed, CallHeld, ServerError
from tests.client.serving import Served, served
from tests.witness.loopback import Loopback, response

ALICE = types.CallerNamed(user="alice")
SMALL = {"customer_id": "C-1", "amount_cents": 2_500}


@pytest.fixture
def door() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture
def client(door: Served) -> Client:
    return door.client("agent")


class Tool:
    """What is executed here; it keeps with what it was called."""

    def __init__(self, result: Any = "done", raises: BaseException | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._result = result
        self._raises = raises

    def __call__(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        if self._raises is not None:
            raise self._raises
        return self._result


def ends(door: Served) -> list[tuple[str, str | None, str | None]]:
    """Status, code and message of every outcome in the log, in order."""
    found = door.client("auditor").search_records(kind=("outcome", "recovery"))
    return [
        (one.envelope["outcome"]["status"], one.envelope["outcome"].get("code"), (one.payload or {}).get("message"))
        for one in reversed(found.records)
    ]


def test_a_permitted_call_runs_once_with_the_arguments_that_were_decided_on_and_is_reported(door: Served, client: Client) -> None:
    tool = Tool(result={"ticket": 7})
    found = client.call("billing.adjust", SMALL, run=tool, caller=ALICE, reason="double charge", workflow="ticket-1")
    assert found == {"ticket": 7}
    assert tool.calls == [SMALL]
    assert ends(door) == [("ok", None, None)]


def test_what_it_changed_is_reported(door: Served, client: Client) -> None:
    change = types.EffectReported(target='Customer::"C-1"', field="balance", before=100, after=2_600)
    assert client.call("billing.adjust", SMALL, run=Tool(Ran(result="done", effects=(change,))), caller=ALICE) == "done"
    (outcome,) = door.client("auditor").search_records(kind=("outcome",)).records
    assert outcome.payload["effects"] == [{"target": 'Customer::"C-1"', "field": "balance", "before": 100, "after": 2_600}]


def test_a_denied_call_does_not_run(door: Served, client: Client) -> None:
    tool = Tool()
    with pytest.raises(CallDenied) as denied:
        client.call("crm.lookup", {"customer_id": "G-1"}, run=tool, caller=ALICE)
    assert denied.value.decision.verdict == "deny"
    assert denied.value.call
    assert denied.value.receipt is not None
    assert (tool.calls, ends(door)) == ([], [])


def test_a_held_call_runs_once_people_have_decided(door: Served, client: Client) -> None:
    large, tool = {**SMALL, "amount_cents": 50_000}, Tool()
    with pytest.raises(CallHeld) as held:
        client.call("billing.adjust", large, run=tool, caller=ALICE)
    assert held.value.request is not None
    assert tool.calls == []
    lena = door.client("lena")
    shown = lena.get_request(held.value.request)
    lena.vote_on_request(shown.id, types.CastVote(verdict="approve", binding=shown.binding))
    assert lena.wait_for_request(shown.id, timeout_s=5).state == "approved"
    assert client.call("billing.adjust", large, run=tool, caller=ALICE) == "done"
    assert tool.calls == [large]
    with pytest.raises(CallHeld):
        client.call("billing.adjust", large, run=tool, caller=ALICE)
    assert len(tool.calls) == 1


def test_an_exception_is_reported_and_raised_on(door: Served, client: Client) -> None:
    with pytest.raises(ZeroDivisionError, match="the desk is closed"):
        client.call("billing.adjust", SMALL, run=Tool(raises=ZeroDivisionError("the desk is closed")), caller=ALICE)
    assert ends(door) == [("error", "ZeroDivisionError", "the desk is closed")]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
def test_an_interrupt_says_that_nobody_knows(door: Served, client: Client, interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt):
        client.call("billing.adjust", SMALL, run=Tool(raises=interrupt()), caller=ALICE)
    assert [end[:2] for end in ends(door)] == [("unknown", "interrupted")]


def test_a_key_that_was_used_gives_what_was_recorded_and_runs_nothing(client: Client) -> None:
    tool = Tool(result="first")
    for _ in range(2):
        found = client.call("billing.adjust", SMALL, run=tool, caller=ALICE, idempotency_key="k-1")
    assert found == "first"
    assert len(tool.calls) == 1
    with pytest.raises(ZeroDivisionError):
        client.call("billing.adjust", SMALL, run=Tool(raises=ZeroDivisionError()), caller=ALICE, idempotency_key="k-2")
    with pytest.raises(CallFailed) as failed:
        client.call("billing.adjust", SMALL, run=tool, caller=ALICE, idempotency_key="k-2")
    assert (failed.value.executed, failed.value.retry, len(tool.calls)) == (True, False, 1)


def test_a_result_that_json_cannot_hold_is_given_out_and_not_recorded(door: Served, client: Client) -> None:
    result = object()
    assert client.call("billing.adjust", SMALL, run=Tool(result), caller=ALICE) is result
    assert ends(door) == [("ok", None, None)]


def test_a_credential_speaks_for_nobody_else(client: Client) -> None:
    tool = Tool()
    with pytest.raises(ServerProblem) as refused:
        client.call("billing.adjust", SMALL, run=tool, caller=types.CallerNamed(user="gina"))
    assert (refused.value.status, tool.calls) == (403, [])


def allowing(outcome: bytes) -> Any:
    permitted = b'{"decision":"allow","code":"allowed","message":"x","call":"c-1","arguments":{"a":1}}'
    return lambda request: response(200, permitted) if request.path == "/api/v1/calls" else outcome


def test_a_result_whose_report_does_not_arrive_is_withheld() -> None:
    refused = response(409, b'{"code":"already_reported","detail":"another report was first","request_id":"r"}')
    tool = Tool("secret result")
    with Loopback(allowing(refused)) as server, pytest.raises(CallFailed, match="it ran, and how it ended could not be recorded") as failed:
        Client(Connection(server.url, "k")).call("t", run=tool)
    assert (failed.value.executed, failed.value.retry, failed.value.call) == (True, False, "c-1")
    assert isinstance(failed.value.__cause__, ServerError)
    assert tool.calls == [{"a": 1}]


def test_an_error_whose_report_does_not_arrive_keeps_its_cause() -> None:
    refused = response(409, b'{"code":"already_reported","detail":"another report was first","request_id":"r"}')
    with Loopback(allowing(refused)) as server, pytest.raises(CallFailed) as failed:
        Client(Connection(server.url, "k")).call("t", run=Tool(raises=ZeroDivisionError("x")))
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"decision":"allow","code":"allowed","message":"x","call":"c-1"}',
        b'{"decision":"allow","code":"allowed","message":"x","arguments":{}}',
    ],
    ids=["no arguments", "no call"],
)
def test_an_answer_that_permits_no_exact_call_permits_nothing(answer: bytes) -> None:
    tool = Tool()
    with Loopback(lambda _: response(200, answer)) as server, pytest.raises(CallDenied):
        Client(Connection(server.url, "k")).call("t", run=tool)
    assert tool.calls == []
