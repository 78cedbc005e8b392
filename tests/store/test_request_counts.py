"""How many requests are in a state is counted, whatever they hold: metrics ask all the time."""

from __future__ import annotations

import pytest

from licet.model import RequestState
from licet.store.contract import Store
from tests.gate.remoting import propose, remote_world
from tests.store.samples import call_id, consuming, opening, request, voting, written


def test_requests_are_counted_by_state(store: Store) -> None:
    asked = [request(f"key-{number}") for number in range(3)]
    written(store, *[opening(one) for one in asked])
    written(store, voting(asked[0], "dana", move=RequestState.APPROVED))
    assert store.count_requests(RequestState.OPEN) == 2
    assert store.count_requests(RequestState.APPROVED) == 1
    assert store.count_requests(RequestState.CONSUMED) == 0
    written(store, consuming(asked[0], call_id(), store))
    assert store.count_requests(RequestState.CONSUMED) == 1


def test_what_is_in_hand_is_told_without_reading_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with remote_world() as there:
        propose(there, 20_000)
        propose(there, 30_000)
        monkeypatch.setattr(type(there.gate.store), "dossiers", lambda *_, **__: pytest.fail("every request was read"))
        assert there.gate.in_hand().open_requests == 2
