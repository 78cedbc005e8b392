"""What pins say about a store, and when silence becomes a reason to refuse."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import IntegrityBroken
from licet.ledger.rotation import verify_rotation
from licet.witness import client, guard
from licet.witness.anchor import Anchor
from licet.witness.client import Answer
from licet.witness.guard import Behind, Fine, Pin, Rewritten, Sighting, Watch, check_start, judge_answer
from licet.witness.wire import Unreachable
from tests.witness.loopback import COSIGNER, FORKED, KEY, ORIGIN, HonestWitness, Loopback, checkpoint, note, proof


def root_at(size: int) -> bytes:
    return checkpoint(size).root


def pin(size: int, source: str = "anchor `/mnt/a`", leaves: list[bytes] | None = None) -> Pin:
    return Pin(source, size, checkpoint(size, leaves).root if leaves else root_at(size))


def test_a_store_that_nobody_has_pinned_is_fine() -> None:
    assert check_start(0, root_at, []) == check_start(100, root_at, []) == Fine(0)


@pytest.mark.parametrize("pinned", [0, 1, 99, 100])
def test_a_store_that_continues_its_pins_is_fine(pinned: int) -> None:
    assert check_start(100, root_at, [pin(pinned), pin(0), Pin("witness `w`", 50)]) == Fine(max(pinned, 50))


def test_a_store_with_fewer_entries_than_pinned_is_behind() -> None:
    largest = pin(120)
    for pins in permutations([pin(40), largest, pin(110, "witness `w`")]):
        assert check_start(100, root_at, pins) == Behind(
            largest,
            100,
            "anchor `/mnt/a` has pinned 120 entries of the head log, and the store has 100: records are missing. restore a newer copy of the "
            "store; or accept the loss, under a new origin, with `licet db restore --accept-loss`",
        )


def test_a_size_alone_shows_that_a_store_is_behind() -> None:
    found = check_start(100, root_at, [Pin("witness `w`", 101)])
    assert isinstance(found, Behind)
    assert "witness `w` has pinned 101 entries" in found.message


def test_an_empty_store_is_behind_any_pin() -> None:
    found = check_start(0, root_at, [pin(1)])
    assert isinstance(found, Behind)
    assert "and the store has 0" in found.message


def test_a_store_with_another_root_was_rewritten() -> None:
    changed = pin(80, leaves=FORKED)
    assert check_start(100, root_at, [pin(40), changed]) == Rewritten(
        changed,
        "anchor `/mnt/a` has pinned another history: the store's head log has a different root at size 80. keep this store as evidence, run "
        "`licet audit verify`, and restore a copy that continues what was pinned",
    )


def test_a_contradiction_weighs_more_than_a_lack() -> None:
    for pins in permutations([pin(120), pin(80, leaves=FORKED), pin(40)]):
        assert isinstance(check_start(100, root_at, pins), Rewritten)


def test_roots_are_asked_only_where_the_store_has_them() -> None:
    asked: list[int] = []

    def asking(size: int) -> bytes:
        asked.append(size)
        return root_at(size)

    check_start(100, asking, [pin(120), pin(100), pin(3), Pin("witness `w`", 50)])
    assert asked == [3, 100]


def test_a_root_that_cannot_be_told_is_not_taken_for_fine() -> None:
    def broken(_size: int) -> bytes:
        raise IntegrityBroken("stored entry of the head log cannot be read")

    with pytest.raises(IntegrityBroken):
        check_start(100, broken, [pin(50)])


@given(st.integers(0, 150), st.lists(st.tuples(st.integers(0, 150), st.booleans()), max_size=5))
def test_fine_is_said_of_a_store_that_continues_every_pin_and_of_no_other(size: int, pins: list[tuple[int, bool]]) -> None:
    # The forked log is the same up to its fiftieth entry.
    found = check_start(size, root_at, [pin(at, leaves=FORKED if forked else None) for at, forked in pins])
    changed = any(forked and 50 < at <= size for at, forked in pins)
    behind = any(at > size for at, _ in pins)
    assert type(found) is (Rewritten if changed else Behind if behind else Fine)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (client.Cosigned((b"line\n",), 5), None),
        (client.Behind(101), Behind),
        (client.Behind(100), None),  # another process of the same store was quicker
        (client.Ahead(50), None),
        (client.Refused(422, "the proof does not verify"), Rewritten),
        (client.Refused(403, "unknown key"), None),
        (client.Refused(404, "unknown log"), None),
        (client.Refused(409, "it names no size"), None),
        (client.Refused(200, "its answer is no cosignature"), None),
        (Unreachable("no answer"), None),
    ],
)
def test_what_an_answer_says_against_the_store(answer: Answer, verdict: type[Behind | Rewritten] | None) -> None:
    found = judge_answer("witness `w`", 100, answer)
    assert found is None if verdict is None else type(found) is verdict


def test_a_refusal_is_told_in_the_words_of_the_witness() -> None:
    found = judge_answer("witness `w`", 100, client.Refused(422, "the proof does not verify"))
    assert found == Rewritten(
        Pin("witness `w`", 100),
        "witness `w` does not accept that the head log continues what it has seen (the proof does not verify). keep this store as evidence, "
        "run `licet audit verify`, and restore a copy that continues what was pinned",
    )


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_silence_becomes_a_reason_at_the_stated_age(clock: Clock) -> None:
    watch = Watch(["w1"], max_age_s=60, clock=clock)
    assert watch.find_problem() is None
    clock.now_s += 60
    assert watch.find_problem() is None
    clock.now_s += 0.6
    assert watch.find_problem() == "the log is not witnessed: no cosignature within 60 s from `w1` for 61 s"


def test_a_cosignature_ends_the_refusal(clock: Clock) -> None:
    watch = Watch(["w1"], max_age_s=60, clock=clock)
    clock.now_s += 1000
    watch.failed("w1", "no answer within 5 s")
    assert watch.find_problem() == "the log is not witnessed: no cosignature within 60 s from `w1` for 1000 s (no answer within 5 s)"
    watch.cosigned("w1")
    assert watch.find_problem() is None
    assert watch.sightings() == (Sighting("w1", 0.0),)


def test_a_failure_alone_is_no_reason(clock: Clock) -> None:
    watch = Watch(["w1"], max_age_s=60, clock=clock)
    watch.failed("w1", "connection refused")
    assert watch.find_problem() is None
    assert watch.sightings() == (Sighting("w1", 0.0, "connection refused"),)


@pytest.mark.parametrize(("needed", "refuses"), [(0, False), (1, False), (2, True), (3, True)])
def test_as_many_witnesses_as_needed_must_have_cosigned(clock: Clock, needed: int, refuses: bool) -> None:  # noqa: FBT001  a table
    watch = Watch(["w1", "w2", "w3"], max_age_s=60, clock=clock, needed=needed)
    clock.now_s += 100
    watch.cosigned("w2")
    problem = watch.find_problem()
    assert (problem is not None) == refuses
    if problem:
        assert "`w1` for 100 s; `w3` for 100 s" in problem
        assert "w2" not in problem


def test_starting_again_does_not_begin_the_wait_anew(clock: Clock) -> None:
    watch = Watch(["w1", "w2"], max_age_s=60, clock=clock, needed=2, seen_s={"w1": 59.0, "w2": -5.0})
    assert watch.find_problem() is None
    clock.now_s += 2
    assert watch.find_problem() == "the log is not witnessed: no cosignature within 60 s from `w1` for 61 s"
    assert [sighting.age_s for sighting in watch.sightings()] == [61.0, 2.0]


@pytest.mark.parametrize(("witnesses", "needed"), [([], 1), (["w1"], 2), (["w1", "w1"], 2), (["w1"], -1)])
def test_more_witnesses_than_there_are_cannot_be_needed(clock: Clock, witnesses: list[str], needed: int) -> None:
    with pytest.raises(ValueError, match="are needed"):
        Watch(witnesses, max_age_s=60, clock=clock, needed=needed)


def test_a_witness_that_is_not_watched_does_not_count(clock: Clock) -> None:
    watch = Watch(["w1"], max_age_s=60, clock=clock)
    with pytest.raises(KeyError):
        watch.cosigned("w2")
    with pytest.raises(KeyError):
        watch.failed("w2", "no answer")


def test_a_cut_a_rollback_and_a_rewrite_by_the_keys_owner_are_found_together(tmp_path: Path) -> None:
    trust = verify_rotation(ORIGIN, KEY.vkey)
    anchor = Anchor(tmp_path / "anchor", trust)
    anchor.pin(note(80), proof)
    with Loopback(HonestWitness()) as server:
        witness = client.Witness(server.url, COSIGNER.vkey)
        witness.submit(note(100), proof)
        seen = witness.get_latest(trust)
    held = anchor.read()
    assert held is not None
    assert isinstance(seen, client.Seen)
    pins = [Pin("anchor", held.checkpoint.size, held.checkpoint.root), Pin("witness", seen.checkpoint.size, seen.checkpoint.root)]
    assert check_start(150, root_at, pins) == Fine(100)
    assert isinstance(check_start(90, root_at, pins), Behind)
    assert isinstance(check_start(60, root_at, pins), Behind)
    assert isinstance(check_start(150, lambda size: checkpoint(size, FORKED).root, pins), Rewritten)
    assert isinstance(check_start(90, lambda size: checkpoint(size, FORKED).root, pins), Rewritten)
    assert guard.check_start(150, lambda size: checkpoint(size, FORKED).root, []) == Fine(0)  # what nobody has pinned can be rewritten
