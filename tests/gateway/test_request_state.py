"""What a client carries between rounds: only what was given to it, for the same request, in time."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from licet.gate.acting import Acting
from licet.gateway.incoming import Incoming
from licet.gateway.request_state import LONGEST, RequestStates, State, StateRefused, key_of, principal_of, request_of
from licet.gateway.session_state import SessionState
from tests.gateway.world import MODERN, FakeLink, GatewayWorld, gateway_world

NOW = 1_800_000_000_000_000
CALL = {"name": "crm__ask", "arguments": {"b": 1, "a": [1.5, "x"]}}


@pytest.fixture
def states() -> RequestStates:
    return RequestStates(b"k" * 32)


def incoming(params: Any = None, **more: Any) -> Incoming:
    acting = more.pop("acting", Acting(tenant="acme", agent="bot", user="alice", credential="k-1"))
    sent = CALL if params is None else params
    return Incoming(
        **{"method": "tools/call", "params": sent, "link": FakeLink(MODERN), "acting": acting, "session": SessionState()} | more
    )


def state(asked: Incoming, **more: Any) -> State:
    said = State(
        work="w-1",
        round=1,
        nothing_done=True,
        call=None,
        principal=principal_of(asked.acting),
        request=request_of(asked),
        expires_at=NOW + 1,
    )
    return replace(said, **more)


def test_what_was_written_is_read(states: RequestStates) -> None:
    said = state(incoming(), nothing_done=False, call="c-1", round=3)
    assert states.read(states.write(said), incoming(), NOW) == said


def test_rounds_of_one_request_differ_in_meta_answers_and_state_alone(states: RequestStates) -> None:
    text = states.write(state(incoming()))
    again = incoming({**CALL, "_meta": {"progressToken": 2}, "inputResponses": {"q": {}}, "requestState": text})
    assert states.read(text, again, NOW).work == "w-1"


@pytest.mark.parametrize(
    "other",
    [
        incoming({**CALL, "arguments": {"b": 2, "a": [1.5, "x"]}}),
        incoming({**CALL, "name": "crm__get"}),
        incoming({**CALL, "more": None}),
        incoming(method="prompts/get"),
        incoming(upstream="crm"),
        incoming(acting=Acting(tenant="acme", agent="bot", user="carl", credential="k-1")),
        incoming(acting=Acting(tenant="globex", agent="bot", user="alice", credential="k-1")),
        incoming(acting=Acting(tenant="acme", agent="writer", user="alice", credential="k-1")),
        incoming(acting=Acting(tenant="acme", service="bot", user="alice", credential="k-1")),
        incoming(acting=Acting(tenant="acme", agent="bot", credential="k-1")),
        incoming(acting=Acting(tenant="acme", agent="bot", user="alice", credential="k-2")),
        incoming(acting=Acting(tenant="acme", agent="bot", user="alice", credential="k-1", roles=("admin",))),
    ],
    ids=["arguments", "tool", "params", "method", "door", "user", "tenant", "agent", "service", "no user", "credential", "roles"],
)
def test_a_state_of_another_request_is_refused_alike(states: RequestStates, other: Incoming) -> None:
    with pytest.raises(StateRefused) as caught:
        states.read(states.write(state(incoming())), other, NOW)
    assert str(caught.value).startswith("this `requestState` is not of this request")


def test_a_state_has_an_end_and_says_what_that_means(states: RequestStates) -> None:
    with pytest.raises(StateRefused, match="has expired, and nothing was done: make the call again, without it"):
        states.read(states.write(state(incoming())), incoming(), NOW + 1)
    text = states.write(state(incoming(), nothing_done=False, call="c-9"))
    with pytest.raises(StateRefused, match="call `c-9`, which waited for an answer, has ended: its record says how"):
        states.read(text, incoming(), NOW + 1)


def test_no_character_of_a_state_can_be_changed(states: RequestStates) -> None:
    text = states.write(state(incoming()))
    for place in range(len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(StateRefused):
            states.read(changed, incoming(), NOW)


def test_nothing_can_be_added_to_a_state(states: RequestStates) -> None:
    text = states.write(state(incoming()))
    for changed in (text + "=", text + ".", text + " ", "=" + text, text + "\n", text.upper(), text[:-1], ""):
        with pytest.raises(StateRefused):
            states.read(changed, incoming(), NOW)


@pytest.mark.parametrize("unverified", [None, 7, True, [], {}, "é", "\ud800", "x" * (LONGEST + 1), "a.b", "."])
def test_what_is_no_state_is_refused(states: RequestStates, unverified: object) -> None:
    with pytest.raises(StateRefused, match="not of this request"):
        states.read(unverified, incoming(), NOW)


def test_a_state_under_another_key_is_refused(states: RequestStates) -> None:
    text = RequestStates(b"l" * 32).write(state(incoming()))
    with pytest.raises(StateRefused, match="not of this request"):
        states.read(text, incoming(), NOW)


def test_a_signed_state_of_another_form_is_refused(states: RequestStates) -> None:
    body = base64.urlsafe_b64encode(msgspec.json.encode({"work": "w-1"})).rstrip(b"=")
    with pytest.raises(StateRefused, match="not of this request"):
        states.read(f"{body.decode()}.{states._signature(body)}", incoming(), NOW)  # as another version would have written it


def test_the_key_is_the_ledgers_also_after_a_restart_and_no_other_ledgers(tmp_path: Path) -> None:
    keys = []
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        with gateway_world(tmp_path / folder) as w:
            keys.append(key_of(w.gate.store))
    assert keys[0] == keys[1] != keys[2]
    assert len(keys[0]) == 32


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path) as world:
        yield world


def test_a_state_tells_nothing_of_arguments_or_credentials(w: GatewayWorld) -> None:
    asked = incoming({"name": "crm__ask", "arguments": {"secret": "hunter2"}})
    text = RequestStates(key_of(w.gate.store)).write(state(asked))
    body = base64.urlsafe_b64decode(text.partition(".")[0] + "==")
    assert not any(word in body for word in (b"hunter2", b"alice", b"k-1", b"crm"))
