"""The one table of moves: every state with every event."""

from __future__ import annotations

import pytest

from licet.approvals.states import TRANSITIONS, Event, next_state, sources
from licet.errors import TransitionRefused
from licet.model import LIVE_STATES, RequestState
from tests.approvals import diagram

MOVES = """
              approve   reject    expire   withdraw   supersede   consume   reopen
open          approved  rejected  expired  withdrawn  superseded  -         -
approved      -         -         expired  withdrawn  superseded  consumed  open
rejected      -         -         -        -          -           -         -
expired       -         -         -        -          -           -         -
withdrawn     -         -         -        -          -           -         -
consumed      -         -         -        -          -           -         -
superseded    -         -         -        -          -           -         -
"""
_HEAD, *_ROWS = [line.split() for line in MOVES.strip().splitlines()]
CELLS = [(row[0], event, cell) for row in _ROWS for event, cell in zip(_HEAD, row[1:], strict=True)]


def test_the_cells_are_every_state_with_every_event() -> None:
    assert {(state, event) for state, event, _ in CELLS} == {(state.value, event.value) for state in RequestState for event in Event}


@pytest.mark.parametrize(("state", "event", "target"), CELLS)
def test_a_move_is_the_table_s_or_is_refused(state: str, event: str, target: str) -> None:
    if target == "-":
        with pytest.raises(TransitionRefused, match=f"a request that is {state} cannot {event}"):
            next_state(RequestState(state), Event(event))
        assert RequestState(state) not in sources(Event(event))
    else:
        assert next_state(RequestState(state), Event(event)) is RequestState(target)
        assert RequestState(state) in sources(Event(event))


def test_only_live_states_move_and_only_taking_votes_back_leads_back() -> None:
    assert {state for state, _ in TRANSITIONS} == LIVE_STATES
    assert [pair for pair, target in TRANSITIONS.items() if target is RequestState.OPEN] == [(RequestState.APPROVED, Event.REOPEN)]


def test_the_page_says_what_the_table_says() -> None:
    assert diagram.PAGE.read_text(encoding="utf-8") == diagram.page(), "run `python -m tests.approvals.diagram`"
    assert diagram.WHEN.keys() == TRANSITIONS.keys()


def test_nothing_but_an_approval_is_consumed() -> None:
    assert sources(Event.CONSUME) == (RequestState.APPROVED,)
