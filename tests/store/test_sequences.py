"""Any sequence of batches, in any grouping, by two processes in turn: a second, simple implementation of the rules says the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.model import LIVE_STATES, CallId, Request, RequestState
from licet.store.contract import Change, CloseCall, Committed, Lost, MoveRequest, OpenCall, Store
from licet.store.sqlite import SqliteStore
from tests.store.samples import (
    KEYS,
    NOW,
    call_id,
    commit,
    consuming,
    intent,
    now,
    opening,
    outcome,
    record,
    request,
    taking,
    voting,
)

ASKED, PEOPLE = ("a", "b"), ("dana", "omar")


@dataclass
class Model:
    """What must be true, kept in the plainest way."""

    sizes: dict[str, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    requests: dict[str, RequestState] = field(default_factory=dict)
    by_key: dict[str, Request] = field(default_factory=dict)
    votes: dict[str, list[str]] = field(default_factory=dict)
    open: set[CallId] = field(default_factory=set)

    def state(self, key: str) -> RequestState | None:
        asked = self.by_key.get(key)
        return None if asked is None else self.requests[asked.id]


Step = tuple[str, str, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "keyed", "end", "open", "vote", "consume", "withdraw", "gap"]),
        st.sampled_from(ASKED),
        st.sampled_from(PEOPLE),
    ),
    max_size=14,
)


def batch_of(model: Model, store: Store, step: Step) -> tuple[Filing, str | None]:
    """The batch of a step, and the condition that it must lose; the model has made the step if it loses none."""
    verb, key, person = step
    asked = model.by_key.get(key) or request(key)
    state = model.state(key)
    call = call_id()
    if verb == "keyed":
        changes: tuple[Change, ...] = (OpenCall(call, "acme"), taking(key, call))
        lost = "key_taken" if key in model.taken else None
        model.taken.add(key)
        model.open |= set() if lost else {call}
        return Filing((intent(call, store, key=key),), changes), lost
    if verb == "end" and model.open:
        ended = min(model.open)
        model.open.discard(ended)
        return Filing((outcome(ended),), (CloseCall(ended),)), None
    if verb == "open":
        return _open(model, key, state)
    if verb == "vote":
        return _vote(model, asked, person, state)
    if verb == "consume":
        return consuming(asked, call, store), _consume(model, asked, call, state)
    return _withdraw(model, asked, state) if verb == "withdraw" else (Filing((record("gap"), record("gap", "operator"))), None)


def _consume(model: Model, asked: Request, call: CallId, state: RequestState | None) -> str | None:
    if state is not RequestState.APPROVED:
        return "request_moved"
    model.requests[asked.id] = RequestState.CONSUMED
    model.open.add(call)
    return None


def _withdraw(model: Model, asked: Request, state: RequestState | None) -> tuple[Filing, str | None]:
    batch = Filing((), (MoveRequest(asked.id, tuple(LIVE_STATES), RequestState.WITHDRAWN, NOW),))
    if state not in LIVE_STATES:
        return batch, "request_moved"
    model.requests[asked.id] = RequestState.WITHDRAWN
    return batch, None


def _open(model: Model, key: str, state: RequestState | None) -> tuple[Filing, str | None]:
    new = request(key)
    if state in LIVE_STATES:
        return opening(new), "request_exists"
    model.by_key[key], model.requests[new.id], model.votes[new.id] = new, RequestState.OPEN, []
    return opening(new), None


def _vote(model: Model, asked: Request, person: str, state: RequestState | None) -> tuple[Filing, str | None]:
    cast = model.votes.get(asked.id, [])
    enough = len(cast) == 1
    batch = voting(asked, person, seen=len(cast), move=RequestState.APPROVED if enough else None)
    if state is not RequestState.OPEN:
        return batch, "request_moved"
    if person in cast:
        return batch, "already_voted"
    cast.append(person)
    if enough:
        model.requests[asked.id] = RequestState.APPROVED
    return batch, None


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=6))
def test_any_sequence_of_groups_is_answered_as_the_rules_say(groups: list[list[Step]]) -> None:
    model = Model()
    stores = [SqliteStore.open(f"sqlite::memory:sequence-{id(model)}", now=now, keys=KEYS) for _ in range(2)]
    try:
        for number, steps in enumerate(groups):
            store = stores[number % 2]
            made = [batch_of(model, store, step) for step in steps]
            answers = commit(store, [batch for batch, _ in made])
            assert [answer.condition if isinstance(answer, Lost) else None for answer in answers] == [lost for _, lost in made]
            for (batch, _), answer in zip(made, answers, strict=True):
                if isinstance(answer, Committed):
                    assert [(receipt.log, receipt.index) for receipt in answer.receipts] == _next(model, batch)
        _agrees(model, stores[0], moves_without_record=any(step[0] == "withdraw" for steps in groups for step in steps))
    finally:
        for store in stores:
            store.close()


def _next(model: Model, filing: Filing) -> list[tuple[str, int]]:
    places = []
    for new in filing.statements:
        places.append((new.log, model.sizes.get(new.log, 0)))
        model.sizes[new.log] = places[-1][1] + 1
    return places


def _agrees(model: Model, store: Store, *, moves_without_record: bool) -> None:
    assert {state.log: state.size for state in store.logs()} == model.sizes
    assert {asked.id: asked.state for asked in store.requests()} == model.requests
    assert {open_.call for open_ in store.open_calls()} == model.open
    assert {request_id: [vote.voter for vote in store.votes(asked.id)] for request_id, asked in _by_id(store).items()} == model.votes
    with store.source() as source:
        problems = verify(source).problems
    if not moves_without_record:
        assert problems == ()


def _by_id(store: Store) -> dict[str, Request]:
    return {asked.id: asked for asked in store.requests()}
