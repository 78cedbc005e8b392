"""What a store promises of freezes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from licet.ledger.export import export_lines, verify_export
from licet.ledger.frozen import SCOPES, Called, Freeze, Frozen, Scope, Standing, lift_mark
from licet.ledger.record import Payload, microseconds
from licet.ledger.seal import Filing, Statement
from licet.ledger.verify import verify
from licet.model import OPERATOR_LOG
from licet.store.backup import back_up, open_copy
from licet.store.contract import Committed, Lost, OpenCall, Store
from licet.store.freezes import NOT_IN_FORCE, InForce, LiftFreeze, PutFreeze, RefuseFrozen
from licet.store.sqlite import SqliteStore
from licet.store.sqlite_freezes import _COUNT, _ENVELOPES
from tests.store.conftest import Database
from tests.store.samples import KEYS, NOW, call_id, commit, intent, now, record, written

CALL = Called(tenant="acme", tool="billing.adjust", agent="bot", session="s-1")
STOPS: dict[Scope, str] = {
    "agent": "bot",
    "service": "importer",
    "tool": "billing.adjust",
    "tenant": "acme",
    "session": "s-1",
    "all": "*",
}


def freezing(scope: Scope = "agent", name: str = "bot", log: str = OPERATOR_LOG) -> tuple[Freeze, Filing]:
    said = record("freeze", log, payload=Payload(detail={"act": "freeze"}), at=microseconds(NOW))
    freeze = Freeze(said.id, log, scope, name, said.at)
    return freeze, Filing((_marked(said, freeze.mark),), (PutFreeze(freeze),))


def frozen(store: Store, scope: Scope = "agent", name: str = "bot", log: str = OPERATOR_LOG) -> Freeze:
    freeze, filing = freezing(scope, name, log)
    written(store, filing)
    return freeze


def lifting(freeze: Freeze) -> Filing:
    said = record("freeze", freeze.log, payload=Payload(detail={"act": "lift"}))
    return Filing((_marked(said, lift_mark(freeze.id)),), (LiftFreeze(freeze.id),))


def _marked(said: Statement, mark: str) -> Statement:
    return Statement(**{**{name: getattr(said, name) for name in said.__struct_fields__}, "marks": (mark,)})


def beginning(store: Store, call: Called = CALL) -> Filing:
    """An intent that a freeze could refuse."""
    started = call_id()
    return Filing((intent(started, store, log=call.tenant),), (OpenCall(started, call.tenant), RefuseFrozen(call)))


def problems(store: Store) -> list[str]:
    with store.source() as source:
        return [problem.message for problem in verify(source).problems]


def test_a_freeze_stands_until_it_is_lifted(store: Store) -> None:
    assert store.freezes().rows == ()
    freeze = frozen(store)
    found = store.freezes()
    assert found.rows == (freeze,)
    assert found.count == 1
    replayed = Frozen()
    assert [replayed.take(envelope) for envelope in found.envelopes or ()] == [None]
    assert replayed.standing == (freeze,)
    assert problems(store) == []
    written(store, lifting(freeze))
    assert store.freezes().rows == ()
    assert store.freezes(known=2).envelopes is None
    assert problems(store) == []


def test_the_record_of_a_freeze_is_found_by_its_id(store: Store) -> None:
    first, second = frozen(store), frozen(store, "tool", "billing.adjust", "acme")
    for freeze in (first, second):
        found = store.find_freeze_record(freeze.id)
        assert found is not None
        assert found.log == freeze.log
        assert found.payload is not None
    assert store.find_freeze_record("nowhere") is None


def test_an_intent_is_refused_once_something_else_is_in_force_and_its_group_goes_on(store: Store) -> None:
    old, new = object(), object()
    calls = [call_id() for _ in range(3)]
    resting = [
        Filing((intent(call, store),), (OpenCall(call, "acme"), InForce(on, lambda: new)))
        for call, on in zip(calls, (new, old, new), strict=True)
    ]
    answers = commit(store, resting)
    assert [type(answer) for answer in answers] == [Committed, Lost, Committed]
    assert answers[1] == Lost("not_in_force", NOT_IN_FORCE)
    assert {call.call for call in store.open_calls()} == {calls[0], calls[2]}
    assert len(list(store.records("acme"))) == 2
    assert problems(store) == []


def test_what_is_in_force_is_looked_at_while_the_group_is_written(store: Store) -> None:
    old, new = object(), object()
    current = [old]
    batch = store.seal(Filing((intent(call_id(), store),), (InForce(old, lambda: current[0]),)))
    current[0] = new
    assert store.commit([batch]) == [Lost("not_in_force", NOT_IN_FORCE)]
    assert store.logs() == ()


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("log", [OPERATOR_LOG, "acme"])
def test_an_intent_is_refused_while_what_it_is_of_is_frozen(store: Store, scope: Scope, log: str) -> None:
    caller = Called(tenant="acme", tool="billing.adjust", service="importer", session="s-1") if scope == "service" else CALL
    freeze = frozen(store, scope, STOPS[scope], log)
    (answer,) = commit(store, [beginning(store, caller)])
    assert answer == Lost("frozen", f"{freeze.what} is frozen (freeze `{freeze.id}`)")
    assert store.open_calls() == ()
    written(store, lifting(freeze), beginning(store, caller))
    assert problems(store) == []


@pytest.mark.parametrize(
    ("scope", "name", "log"),
    [
        ("agent", "other", OPERATOR_LOG),
        ("agent", "bot", "globex"),
        ("agent", "s-1", OPERATOR_LOG),
        ("tool", "bot", OPERATOR_LOG),
        ("tenant", "globex", "globex"),
        ("all", "*", "globex"),
        ("session", "s-2", OPERATOR_LOG),
        ("service", "bot", OPERATOR_LOG),
    ],
)
def test_what_is_not_frozen_goes_on(store: Store, scope: Scope, name: str, log: str) -> None:
    frozen(store, scope, name, log)
    written(store, beginning(store))
    assert len(store.open_calls()) == 1


def test_a_call_without_a_session_or_an_agent_is_stopped_by_no_freeze_of_one() -> None:
    nameless = Called(tenant="acme", tool="billing.adjust", agent="bot")
    standing = Standing([Freeze("1", OPERATOR_LOG, "session", "None", 1), Freeze("2", OPERATOR_LOG, "service", "None", 1)])
    assert standing.find(nameless) is None


def test_the_widest_and_oldest_freeze_is_told() -> None:
    agent, everything = Freeze("1", OPERATOR_LOG, "agent", "bot", 1), Freeze("2", OPERATOR_LOG, "all", "*", 3)
    older = Freeze("3", OPERATOR_LOG, "all", "*", 2)
    assert Standing([agent, everything, older]).find(CALL) == older
    assert Standing([agent]).find(CALL) == agent
    assert not Standing()


def test_a_freeze_holds_for_what_comes_behind_it_in_its_group(store: Store) -> None:
    freeze, filing = freezing()
    before, stopped, refused, lifted, after = commit(store, [beginning(store), filing, beginning(store), lifting(freeze), beginning(store)])
    assert [type(answer) for answer in (before, stopped, refused, lifted, after)] == [Committed, Committed, Lost, Committed, Committed]
    assert len(store.open_calls()) == 2
    assert problems(store) == []


def test_a_freeze_is_lifted_once(store: Store) -> None:
    freeze = frozen(store)
    first, second = commit(store, [lifting(freeze), lifting(freeze)])
    assert isinstance(first, Committed)
    assert second == Lost("not_frozen", f"freeze `{freeze.id}` does not stand, or not any more")
    assert problems(store) == []


def test_what_is_frozen_twice_is_lifted_twice(store: Store) -> None:
    one, other = frozen(store), frozen(store)
    written(store, lifting(one))
    (answer,) = commit(store, [beginning(store)])
    assert isinstance(answer, Lost)
    written(store, lifting(other), beginning(store))
    assert problems(store) == []


def test_a_batch_that_is_frozen_leaves_nothing_behind(store: Store) -> None:
    frozen(store)
    size = [state.size for state in store.logs()]
    commit(store, [beginning(store)])
    assert [state.size for state in store.logs()] == size


def test_of_two_processes_one_lifts(database: Database) -> None:
    one, other = database.open(), database.open()
    freezes = [frozen(one, name=f"bot-{number}") for number in range(20)]
    with ThreadPoolExecutor(2) as threads:
        mine, theirs = threads.map(lambda store: [commit(store, [lifting(freeze)])[0] for freeze in freezes], (one, other))
    lifted = [[isinstance(answer, Committed) for answer in answers] for answers in (mine, theirs)]
    assert [sum(pair) for pair in zip(*lifted, strict=True)] == [1] * len(freezes)
    assert problems(one) == []


def test_another_process_refuses_the_next_intent(database: Database) -> None:
    one, other = database.open(), database.open()
    written(other, beginning(other))
    freeze = frozen(one)
    (answer,) = commit(other, [beginning(other)])
    assert isinstance(answer, Lost)
    written(one, lifting(freeze))
    written(other, beginning(other))


def test_freezes_are_there_after_a_restart(path: Path) -> None:
    store = _on(path)
    freeze = frozen(store)
    store.close()
    again = _on(path)
    assert again.freezes().rows == (freeze,)
    (answer,) = commit(again, [beginning(again)])
    assert isinstance(answer, Lost)
    again.close()


EDITS = {
    "DELETE FROM freezes": "a freeze stands that has no row",
    "UPDATE freezes SET name = 'other'": "is not what the records say",
    "UPDATE freezes SET scope = 'tool'": "is not what the records say",
    "UPDATE freezes SET log = 'globex'": "is not what the records say",
    "UPDATE freezes SET at = at + 1": "is not what the records say",
    "UPDATE freezes SET id = 'x'": "is not what the records say",
    "INSERT INTO freezes VALUES ('x', 'operator', 'all', '*', 1)": "is not what the records say",
}


@pytest.mark.parametrize(("edit", "message"), EDITS.items())
def test_a_row_that_was_edited_is_found(path: Path, edit: str, message: str) -> None:
    store = _on(path)
    frozen(store)
    assert problems(store) == []
    with store._writing() as con:
        con.execute(edit)
    assert any(message in problem for problem in problems(store))
    store.close()


def test_a_lift_of_what_does_not_stand_is_found(store: Store) -> None:
    freeze = frozen(store)
    stray = Filing(lifting(freeze).statements)
    written(store, lifting(freeze), stray)
    assert problems(store) == ["a freeze or its end, and it lifts a freeze that does not stand in this log"]


def test_a_lift_in_another_log_lifts_nothing(store: Store) -> None:
    freeze = frozen(store)
    elsewhere = record("freeze", "globex", payload=Payload(detail={"act": "lift"}))
    written(store, Filing((_marked(elsewhere, lift_mark(freeze.id)),)))
    assert "it lifts a freeze that does not stand in this log" in problems(store)[0]


@pytest.mark.parametrize("mark", ["Agent::", "Robot::bot", "bot", "agent::bot"])
def test_a_record_that_freezes_nothing_is_found(store: Store, mark: str) -> None:
    written(store, Filing((_marked(record("freeze", payload=Payload()), mark),)))
    assert "it freezes nothing that there is" in problems(store)[0]


def test_a_backup_holds_them(path: Path, tmp_path: Path) -> None:
    store = _on(path)
    freeze = frozen(store)
    frozen(store, "tool", "billing.adjust")
    written(store, lifting(freeze))
    standing = store.freezes().rows
    copy = tmp_path / "copy.db"
    back_up(path, copy)
    store.close()
    copied = open_copy(copy, now)
    assert copied.freezes().rows == standing
    assert problems(copied) == []
    copied.close()


def test_an_export_says_what_is_wrong_with_a_lift(store: Store) -> None:
    freeze = frozen(store)
    written(store, lifting(freeze))
    assert problems(store) == []
    written(store, Filing(lifting(freeze).statements))
    with store.source() as source:
        lines = list(export_lines(source))
    assert [problem.message for problem in verify_export(lines).problems] == [
        "a freeze or its end, and it lifts a freeze that does not stand in this log"
    ]


def test_the_index_of_freezes_is_used(path: Path) -> None:
    """What is asked five times a second must not go through every record."""
    store = _on(path)
    for text in (_COUNT, _ENVELOPES):
        (plan,) = store._rows(f"EXPLAIN QUERY PLAN {text}")
        assert "records_of_freezes" in plan[3]
    store.close()


def _on(path: Path) -> SqliteStore:
    return SqliteStore.open(f"sqlite:{path}", now=now, keys=KEYS)
