"""Secrets in the store: made once by whoever is first, sealed anew by everybody else, and nothing readable in the file."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from msgspec import Raw

from licet.errors import StoreUnavailable
from licet.ledger.record import Actor, ApprovalEntry, OutcomeEntry, Payload, decode_envelope, leaf_hash, read_envelope
from licet.ledger.seal import Filing, subjects_of
from licet.ledger.verify import verify
from licet.ledger.writer import SEALED_ANEW, Writer
from licet.model import EntityRef, Receipt, RequestState
from licet.store.contract import Batch, Committed, Lost, OpenCall, PutBlob, Store
from licet.store.sqlite import SqliteStore
from tests.store.conftest import Database
from tests.store.raw import execute, rows
from tests.store.samples import (
    KEYS,
    call_id,
    commit,
    consuming,
    now,
    opening,
    record,
    request,
    small_ledger,
    taking,
    voting,
    written,
)


def about(user: str) -> Filing:
    return Filing((record("denial", actor=Actor(agent="bot", user=user)),))


def users(store: Store) -> list[str | None]:
    """Who each record is about, by the name in its payload."""
    read = [read_envelope(stored.envelope, stored.payload) for stored in store.records("acme")]
    return [envelope.actor.user if envelope.actor is not None else None for envelope in read]


def pseudonyms(store: Store) -> set[str | None]:
    envelopes = [decode_envelope(stored.envelope) for stored in store.records("acme")]
    return {envelope.actor.user for envelope in envelopes if envelope.actor is not None}


def secrets(store: Store) -> int:
    return int(rows(store, "SELECT count(*) FROM secrets")[0][0])


def assert_whole(store: Store) -> None:
    with store.source() as source:
        report = verify(source)
    assert (report.problems, report.locked) == ((), 0)


@pytest.fixture
def pair(database: Database) -> tuple[Store, Store]:
    return database.open(), database.open()


def test_two_stores_that_make_a_secret_for_one_subject_at_once_end_with_one(pair: tuple[Store, Store]) -> None:
    one, two = pair
    first, second = one.seal(about("alice")), two.seal(about("alice"))
    assert first.secrets[0].pseudonym != second.secrets[0].pseudonym
    assert isinstance(one.commit([first])[0], Committed)
    (lost,) = two.commit([second])
    assert lost == Lost("secrets_moved", "another process made a secret for the same subject")
    assert isinstance(two.commit([two.seal(about("alice"))])[0], Committed)
    assert secrets(one) == 2
    assert users(one) == users(two) == ["alice", "alice"]
    assert len(pseudonyms(one)) == 1
    assert_whole(one)


def test_the_second_of_two_secrets_is_refused_also_where_only_the_log_was_new(pair: tuple[Store, Store]) -> None:
    one, two = pair
    first, second = one.seal(about("alice")), two.seal(about("bob"))
    assert [type(one.commit([first])[0]), type(two.commit([second])[0])] == [Committed, Lost]
    written(two, about("bob"))
    assert users(one) == ["alice", "bob"]
    assert_whole(two)


def test_a_batch_that_is_lost_for_its_secrets_leaves_nothing_and_its_group_goes_on(pair: tuple[Store, Store]) -> None:
    one, two = pair
    written(one, about("alice"))
    written(two, Filing((record("gap"),)))
    stale, fresh = two.seal(about("bob")), two.seal(Filing((record("gap"),)))
    written(one, about("bob"))
    call = call_id()
    holding = two.seal(Filing((), (PutBlob("0" * 64, "bundle", b"x"), OpenCall(call, "acme"))))
    answers = two.commit([stale, fresh, holding])
    assert [type(answer) for answer in answers] == [Lost, Committed, Committed]
    assert users(one) == ["alice", None, "bob", None]
    assert [open_.call for open_ in one.open_calls()] == [call]


def test_the_writer_seals_anew_what_was_refused_for_its_secrets(pair: tuple[Store, Store]) -> None:
    one, two = pair
    writers = [Writer(store) for store in pair]
    barrier = threading.Barrier(2)
    receipts: list[Receipt] = []

    def write(writer: Writer) -> None:
        barrier.wait(10)
        tickets = [writer.submit(about(f"user-{number % 40}")) for number in range(200)]
        receipts.extend([ticket.wait(20)[0] for ticket in tickets])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        writer.close()
    assert sorted(receipt.index for receipt in receipts) == list(range(400))
    assert secrets(one) == 41
    assert len(pseudonyms(two)) == 40
    assert sorted(user or "" for user in users(two)) == sorted(f"user-{number % 40}" for number in range(200) for _ in range(2))
    assert_whole(one)


def test_a_receipt_of_what_was_sealed_anew_is_of_the_bytes_that_were_stored(pair: tuple[Store, Store]) -> None:
    one, two = pair
    writer = Writer(two)
    two.seal(about("alice"))  # its secrets are in memory now
    written(one, about("alice"))
    (receipt,) = writer.submit(about("alice")).wait(20)
    stored = one.get_record("acme", 1)
    assert receipt == Receipt("acme", 1, leaf_hash(stored.envelope).hex())
    assert users(one) == ["alice", "alice"]
    writer.close()


def bump(store: Store) -> None:
    """As an erasure by another process does."""
    execute(store, "UPDATE ledger SET secrets = secrets + 1")


def test_what_was_sealed_before_an_erasure_is_refused_and_the_writer_seals_it_anew(store: Store) -> None:
    written(store, about("alice"))
    sealed = store.seal(about("alice"))
    bump(store)
    assert store.commit([sealed]) == [Lost("secrets_moved", "a secret was destroyed while this was sealed")]
    assert isinstance(store.commit([store.seal(about("alice"))])[0], Committed)
    bump(store)
    writer = Writer(store)
    assert writer.submit(about("alice")).wait(20)[0].index == 2
    writer.close()
    assert len(pseudonyms(store)) == 1
    assert_whole(store)


def test_who_was_erased_meanwhile_comes_back_under_another_pseudonym(store: Store) -> None:
    written(store, about("alice"))
    execute(store, "DELETE FROM secrets WHERE pseudonym = ?", next(iter(pseudonyms(store))))
    bump(store)
    writer = Writer(store)
    writer.submit(about("alice")).wait(20)
    writer.close()
    assert [stored.closed for stored in store.records("acme")] == ["erased", ""]
    assert len(pseudonyms(store)) == 2


def test_secrets_that_move_for_ever_end_in_a_refusal_that_is_not_ambiguous(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed: list[Batch] = []
    seal = store.seal

    def sealing(filing: Filing) -> Batch:
        batch = seal(filing)
        sealed.append(batch)
        bump(store)
        return batch

    monkeypatch.setattr(store, "seal", sealing)
    writer = Writer(store)
    ticket = writer.submit(about("alice"))
    with pytest.raises(StoreUnavailable, match="a secret was destroyed while this was sealed") as refused:
        ticket.wait(20)
    assert not refused.value.ambiguous
    assert len(sealed) == SEALED_ANEW + 1
    monkeypatch.undo()
    assert writer.submit(about("alice")).wait(20)[0].index == 0
    writer.close()
    assert_whole(store)


def test_a_sealed_payload_that_was_moved_to_another_record_does_not_open(store: Store) -> None:
    written(store, about("alice"), about("alice"))
    execute(store, "UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE place & 255 = 1) WHERE place & 255 = 0")
    assert [stored.closed for stored in store.records("acme")] == ["damaged", ""]


# nothing readable

WORDS = {
    "person": "alice-b61",
    "voter": "dana-77aa",
    "target": "C-5512-zq",
    "argument": "0xfeed-iban-9911",
    "reason": "because-of-tuesday",
    "result": "done-with-thanks",
    "message": "a-message-for-nobody",
    "key": "order-4711-idem",
    "request key": "fingerprint-4f4f",
}


@pytest.fixture
def scanned(tmp_path: Path) -> Iterator[tuple[SqliteStore, Path]]:
    path = tmp_path / "licet.db"
    store = SqliteStore.open(path, now=now, keys=KEYS)
    yield store, path
    store.close()


def fill(store: Store) -> None:
    """A ledger in which each of the words is said, and in every way that there is of storing it."""
    call, used = call_id(), call_id()
    asked = request(WORDS["request key"])
    said = record(
        call=call,
        key=WORDS["key"],
        actor=Actor(agent="bot", user=WORDS["person"]),
        targets=subjects_of("acme", [EntityRef("Customer", WORDS["target"])]),
        payload=Payload(
            arguments=Raw(b'{"iban":"%s"}' % WORDS["argument"].encode()),
            reason=WORDS["reason"],
            message=WORDS["message"],
            detail={"key": {"scope": "s", "digest": "d"}},
        ),
    )
    ended = record("outcome", call=call, outcome=OutcomeEntry(status="ok"), payload=Payload(result=Raw(f'"{WORDS["result"]}"'.encode())))
    written(store, Filing((said,), (OpenCall(call, "acme"), taking(WORDS["key"], call))), Filing((ended,)))
    written(store, opening(asked), voting(asked, WORDS["voter"], move=RequestState.APPROVED))
    written(store, consuming(asked, used, store))
    lost = Filing((record("intent", call=used, payload=Payload(reason=WORDS["reason"])),), (taking(WORDS["key"], used),))
    assert isinstance(commit(store, [lost])[0], Lost)


def found_in(folder: Path) -> set[str]:
    """Which of the words stand in any file below."""
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert len(content) > 10_000
    return {name for name, word in WORDS.items() if word.encode() in content or word.encode("utf-16-le") in content}


def test_no_name_argument_reason_result_or_key_stands_in_the_file_or_its_log(scanned: tuple[SqliteStore, Path]) -> None:
    store, path = scanned
    fill(store)
    assert path.with_name("licet.db-wal").stat().st_size > 0
    assert found_in(path.parent) == set()
    payloads = b"".join(stored.payload or b"" for stored in store.records("acme"))
    said = {name for name, word in WORDS.items() if word.encode() in payloads}
    assert said == set(WORDS) - {"key"}, "each was written, and can be read with the key"
    store.close()
    assert not path.with_name("licet.db-wal").exists()
    assert found_in(path.parent) == set()


def test_the_rows_that_people_are_found_by_hold_blinds_only(scanned: tuple[SqliteStore, Path]) -> None:
    store, path = scanned
    small_ledger(store)
    con = apsw.Connection(str(path))
    texts = [value for table in ("requests", "votes", "keys", "secrets") for row in con.execute(f"SELECT * FROM {table}") for value in row]
    con.close()
    plain = ("alice", "dana", "person-dana", "used", "waiting", "once", "C-412")
    assert not [value for value in texts if value in plain]


def test_equal_payloads_are_sealed_to_bytes_that_share_nothing(store: Store) -> None:
    batch = store.seal(Filing(tuple(record(payload=Payload(reason="the same")) for _ in range(50))))
    parts = [new.sealed[start : start + 8] for new in batch.records for start in range(0, len(new.sealed) - 7, 8)]
    assert len(set(parts)) == len(parts)
    random.Random(1).shuffle(parts)
    zipped = b"".join(parts)
    assert 100 < sum(zipped) / len(zipped) < 155


def test_a_request_whose_secret_is_gone_is_not_found_and_others_are(store: Store) -> None:
    asked, kept = request("mine"), request("other")
    said = record("hold", payload=Payload(detail={"request": asked}), actor=Actor(user="alice"), approval=ApprovalEntry(asked.id))
    written(store, Filing((said,), opening(asked).changes), opening(kept))
    assert {found.id for found in store.requests()} == {asked.id, kept.id}
    execute(store, "DELETE FROM secrets WHERE pseudonym = ?", next(iter(pseudonyms(store))))
    bump(store)
    assert isinstance(commit(store, [Filing((record("gap"),))])[0], Lost)  # this is where a store learns of erasures
    assert [found.id for found in store.requests()] == [kept.id]
    assert store.find_dossier("acme", "mine") is None
