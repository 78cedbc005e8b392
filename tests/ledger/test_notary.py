"""Signing beside the commits: heads, checkpoints, keys, and what happens when something is in the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.errors import ConditionLost, StoreUnavailable
from licet.ledger.checkpoint import Checkpoint, decode_head_entry
from licet.ledger.merkle import Tree
from licet.ledger.notary import RECORDS, Notary
from licet.ledger.note import Cosigner, add_signatures, text_of
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.ledger.signing import SigningKeys, trust_of
from licet.ledger.tiles import HashTree
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.store.contract import PutCheckpoint
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, NOW, now, record


class Office:
    """A store with everything that signs it."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore.open(path, now=now, keys=KEYS)
        self.writer = Writer(self.store)
        self.signing = SigningKeys(self.store, KEYS)
        self.published: list[bytes] = []
        self.told = threading.Event()
        self.notary = Notary(self.store, self.writer, self.signing, lambda: microseconds(NOW), self.publish)

    def publish(self, note: bytes) -> None:
        self.published.append(note)
        self.told.set()

    def write(self, count: int, log: str = "acme") -> None:
        for ticket in [self.writer.submit(Filing((record("gap", log),))) for _ in range(count)]:
            ticket.wait()

    def newest(self) -> Checkpoint:
        kept = self.store.newest_checkpoint()
        assert kept is not None
        return trust_of(self.store).open(kept.note)[0]

    def problems(self) -> list[str]:
        with self.store.source() as source:
            return [str(problem) for problem in verify(source).problems]

    def close(self) -> None:
        self.notary.close()
        self.writer.close()
        self.store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db"


@pytest.fixture
def office(path: Path) -> Iterator[Office]:
    office = Office(path)
    yield office
    office.close()


def rotation(old: str, new: str) -> object:
    return record("key_rotation", "operator", payload=None, redactions=(old[:8], new[:8]))


def test_a_turn_puts_every_log_that_has_grown_into_the_head_log_and_signs_it(office: Office) -> None:
    office.write(3)
    office.write(2, "globex")
    office.notary.turn()
    entries = [decode_head_entry(entry) for entry in office.store.head_entries(0, 10)]
    states = {state.log: state for state in office.store.logs()}
    assert [(entry.log, entry.size) for entry in entries] == [("acme", 3), ("globex", 2)]
    assert all(entry.root == Tree(entry.size, states[entry.log].compact_range).root().hex() for entry in entries)
    assert office.newest().size == 2
    office.write(1)
    office.notary.turn()
    assert [decode_head_entry(entry).log for entry in office.store.head_entries(2, 10)] == ["acme"], "only what has grown"
    assert office.newest().size == 3
    assert office.problems() == []


def test_a_turn_with_nothing_new_writes_nothing(office: Office) -> None:
    office.notary.turn()
    assert office.store.head().size == 0
    assert office.store.newest_checkpoint() is None
    office.write(1)
    office.notary.turn()
    before = office.store.newest_checkpoint()
    office.notary.turn()
    assert office.store.newest_checkpoint() == before
    assert office.store.head().size == 1


def test_256_records_are_signed_without_waiting_for_the_second(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.ledger.notary.EVERY_S", 3600.0)
    office.writer.committed = office.notary.note
    office.notary.start()
    office.write(RECORDS + 10)
    assert office.told.wait(20)
    assert decode_head_entry(office.store.head_entries(0, 1)[0]).log == "acme"


def test_closing_signs_and_publishes_what_is_left(path: Path) -> None:
    office = Office(path)
    office.notary.start()
    office.write(5)
    office.close()
    reader = SqliteStore.open(path, now=now, keys=KEYS, read_only=True)
    head = reader.head()
    assert not head.grown
    assert head.size == head.checkpoint
    kept = reader.newest_checkpoint()
    assert kept is not None
    assert office.published[-1] == kept.note
    reader.close()


def test_only_what_is_durable_is_published(path: Path) -> None:
    office = Office(path)
    seen: list[bool] = []
    office.publish = lambda note: seen.append(office.store.newest_checkpoint().note == note)  # type: ignore[method-assign,union-attr]
    office.notary = Notary(office.store, office.writer, office.signing, lambda: microseconds(NOW), office.publish)
    office.notary.start()
    office.write(1)
    office.close()
    assert seen
    assert all(seen)


def test_a_store_that_cannot_be_written_is_signed_when_it_can_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.write(1)
    real = office.store.commit
    monkeypatch.setattr("licet.ledger.writer.RETRY_PAUSES_S", ())

    def locked(_: object) -> object:
        raise StoreUnavailable("the database is locked")

    monkeypatch.setattr(office.store, "commit", locked)
    with pytest.raises(StoreUnavailable):
        office.notary.turn()
    monkeypatch.setattr(office.store, "commit", real)
    office.notary.turn()
    assert office.newest().size == 1


def test_what_keeps_it_from_signing_is_said_once(office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    tried = threading.Semaphore(0)

    def locked() -> None:
        tried.release()
        raise StoreUnavailable("the database is locked")

    monkeypatch.setattr("licet.ledger.notary.EVERY_S", 0.001)
    with monkeypatch.context() as patch:
        patch.setattr(office.notary, "turn", locked)
        office.notary.start()
        for _ in range(5):
            assert tried.acquire(timeout=10)
    assert caplog.text.count("could not be signed now: the database is locked") == 1


def test_a_head_that_nobody_has_signed_is_signed_by_the_next_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(path)
    office.write(1)
    with monkeypatch.context() as patch:
        patch.setattr(office.signing, "signer", lambda _: (_ for _ in ()).throw(StoreUnavailable("killed here")))
        with pytest.raises(StoreUnavailable):
            office.notary.turn()
    assert office.store.head().size == 1
    office.writer.close()
    office.store.close()
    other = Office(path)
    other.notary.turn()
    assert other.newest().size == 1
    other.close()


def test_two_processes_that_make_the_first_key_end_with_one(path: Path) -> None:
    first, second = Office(path), Office(path)
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda office=office: keys.append(office.signing.signer(office.writer).vkey)) for office in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert len(first.store.signing_keys()) == 1
    first.close()
    second.close()


def test_a_rotated_key_signs_from_then_on_and_old_checkpoints_still_verify(office: Office) -> None:
    office.write(1)
    office.notary.turn()
    old_note = office.store.checkpoints()[0].note
    old, new = office.signing.rotate(office.writer, rotation)  # type: ignore[arg-type]
    office.notary.turn()
    trust = trust_of(office.store)
    assert [span.key.vkey for span in trust.spans] == [old, new]
    assert trust.open(old_note)[0].size == 1
    newest = office.store.newest_checkpoint()
    assert newest is not None
    assert new.split("+")[1] != old.split("+")[1]
    assert trust.open(newest.note)[0].size == 2
    assert trust_of(office.store, old).current.vkey == new, "who trusts the old key reaches the new one"
    assert office.problems() == []


def test_a_checkpoint_that_the_old_key_signed_meanwhile_is_not_kept(office: Office) -> None:
    office.write(1)
    office.notary.turn()
    stale = office.signing.get_signer()
    office.signing.rotate(office.writer, rotation)  # type: ignore[arg-type]
    office.signing.signer = lambda writer: stale  # type: ignore[method-assign]  # noqa: ARG005
    office.notary.turn()
    assert office.newest().size == 1, "another process that had not heard of the change signed in vain"
    assert office.problems() == []


def test_what_a_witness_added_stays_when_another_process_signs_the_same_head(path: Path) -> None:
    first, second = Office(path), Office(path)
    first.write(1)
    first.notary.turn()
    kept = first.store.newest_checkpoint()
    assert kept is not None
    cosigner = Cosigner.from_seed("witness.invalid/w1", bytes(32))
    cosigned = add_signatures(kept.note, [cosigner.cosign(text_of(kept.note), 5)])
    vkey = first.signing.get_signer().vkey
    first.writer.submit(Filing((), (PutCheckpoint(kept.size, kept.at, cosigned, vkey),))).wait()
    second.writer.submit(Filing((), (PutCheckpoint(kept.size, kept.at + 1, kept.note, vkey),))).wait()
    newest = second.store.newest_checkpoint()
    assert newest is not None
    assert newest.note == cosigned
    first.close()
    second.close()


def test_two_rotations_at_one_moment_end_with_one(path: Path) -> None:
    first, second = Office(path), Office(path)
    first.signing.signer(first.writer)
    seen = len(second.store.signing_keys())
    second.store.signing_keys = lambda: first.store.signing_keys()[:seen]  # type: ignore[method-assign]
    first.signing.rotate(first.writer, rotation)  # type: ignore[arg-type]
    real = SqliteStore.signing_keys
    answers = iter([real(second.store)[:seen]] * 4)
    second.store.signing_keys = lambda: next(answers, real(second.store))  # type: ignore[method-assign]
    with pytest.raises(ConditionLost):
        second.signing.rotate(second.writer, rotation)  # type: ignore[arg-type]
    assert len(real(first.store)) == 2
    del second.store.signing_keys
    first.close()
    second.close()


def test_tiles_of_the_head_log_give_the_proofs_that_its_leaves_do(office: Office) -> None:
    for number in range(300):
        office.write(1, f"log-{number % 7}")
        if number % 3 == 0:
            office.notary.turn()
    office.notary.turn()
    for number in range(250):
        office.write(1, f"tenant-{number}")
    office.notary.turn()
    head = office.store.head()
    assert head.size > 256
    assert office.store.find_tile(0, 0) is not None
    leaves = list(office.store.leaves(0, head.size))
    plain = Tree()
    plain.extend(leaves)
    tree = HashTree(office.store, head.size)
    assert tree.root_at(head.size) == plain.root() == Checkpoint.parse(text_of(office.store.newest_checkpoint().note)).root  # type: ignore[union-attr]
    assert office.problems() == []


def test_a_log_signs_its_own_tree_under_its_own_origin(office: Office) -> None:
    office.write(3, "acme")
    office.notary.turn()
    (state,) = office.store.logs()
    checkpoint = Checkpoint.parse(text_of(office.signing.sign_log(state)))
    assert checkpoint.origin == f"{office.store.head().origin}/log/acme"
    assert (checkpoint.size, checkpoint.root) == (3, Tree(3, state.compact_range).root())
