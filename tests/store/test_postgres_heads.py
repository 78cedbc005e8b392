"""One head log by four processes on PostgreSQL, and erasure beside their appends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from msgspec import Raw

from licet.errors import ErasureRefused
from licet.ledger.acts import Operator
from licet.ledger.erasure import erase
from licet.ledger.erasure_manifest import ErasureManifest
from licet.ledger.forgotten import Hold
from licet.ledger.record import Actor, Payload
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.store import postgres_rewrite
from licet.store.contract import AppendHead, Committed, Lost, PutCheckpoint, PutSigningKey
from licet.store.forgetting import DestroySecret, PlaceHold, Sealed
from tests.store.conftest import PostgresDatabase
from tests.store.replicas import Replica, assert_whole, at_once, lost, replicas_of, won
from tests.store.samples import now, record


@pytest.fixture
def replicas(postgres: PostgresDatabase) -> Iterator[list[Replica]]:
    with replicas_of(postgres) as made:
        yield made


def test_four_processes_append_one_dense_head_log(replicas: list[Replica]) -> None:
    def grow(replica: Replica, number: int) -> None:
        for round_ in range(25):
            replica.write(Filing((record("gap", f"tenant-{(number + round_) % 5}"),), (AppendHead(number * 100 + round_),)))

    at_once(replicas, grow)
    replicas[0].write(Filing((), (AppendHead(9),)))
    beside = 0
    while (head := replicas[1].store.head()).size <= 256:  # the busier the machine, the more heads become one: a tile must be filled
        replicas[0].write(Filing((record("gap", "tenant-0"),), (AppendHead(10_000 + beside),)))
        beside += 1
    assert not head.grown
    assert [number for (number,) in replicas[2].store._rows("SELECT number FROM heads ORDER BY number")] == list(range(head.size))
    sizes = replicas[2].store._rows("SELECT log, size, number FROM heads ORDER BY number")
    for log in {row[0] for row in sizes}:
        of_log = [size for name, size, _ in sizes if name == log]
        assert of_log == sorted(set(of_log)), "an entry never goes back"
    assert replicas[3].store.find_tile(0, 0) is not None
    assert assert_whole(replicas[0].store) == 400 + beside


def test_of_sixteen_first_signing_keys_one_signs(replicas: list[Replica]) -> None:
    def put(replica: Replica, number: int) -> Committed | Lost:
        said = record("key_rotation", "operator", payload=Payload())
        return replica.answer(Filing((said,), (PutSigningKey(f"vkey-{number}", "k", b"seed", 0, 0),)))

    answers = at_once(replicas, put)
    assert won(answers) == 1
    assert {one.condition for one in lost(answers)} == {"signing_key_moved"}
    (key,) = replicas[0].store.signing_keys()
    kept = [Filing((), (PutCheckpoint(1, 1, note, vkey),)) for note, vkey in ((b"short", key.vkey), (b"of another key", "vkey-x"))]
    replicas[1].write(*kept, Filing((), (PutCheckpoint(1, 2, b"with a witness", key.vkey),)), kept[0])
    assert [(one.size, one.at, one.note) for one in replicas[2].store.checkpoints()] == [(1, 1, b"with a witness")]


def about(user: str, log: str) -> Filing:
    return Filing((record("denial", log, payload=Payload(arguments=Raw(b'{"a":1}')), actor=Actor(agent="bot", user=user)),))


def test_who_is_erased_while_four_processes_write_about_them_is_erased_whole(replicas: list[Replica], tmp_path: Path) -> None:
    stop = threading.Event()
    manifest = ErasureManifest(tmp_path / "erasures")
    alice = Subject("acme", "User", "alice")
    done: list[str] = []

    def act(replica: Replica, number: int) -> int:
        written = 0
        if number == 0:
            operator = Operator(store=replica.store, writer=replica.writer, environment="test", now=now, by="olga")
            try:
                while len(done) < 3:
                    try:
                        done.append(erase(operator, manifest, alice, "asked for").target.partition("::")[2])
                    except ErasureRefused as refused:
                        assert refused.code == "nothing_recorded"  # noqa: PT017  anything else fails the test as it is
            finally:
                stop.set()
            return 0
        while not stop.is_set():
            replica.write(about("alice" if number % 4 == 1 else "bob", "acme"))
            written += 1
            stop.wait(0.05)
        return written

    written = sum(at_once(replicas, act, each=2))
    store = replicas[1].store
    assert len(set(done)) == 3
    assert store.present_secrets(done) == ()
    stored = list(store.records("acme"))
    closed = [one for one in stored if one.closed]
    assert {one.closed for one in closed} <= {"erased"}
    for pseudonym in done:
        of = [one for one in stored if pseudonym.encode() in one.envelope and one.kind == "denial"]
        assert {one.closed for one in of} == {"erased"}
    assert store._rows("SELECT secrets FROM ledger")[0][0] == 3
    assert assert_whole(store) == written + 3


def test_a_hold_and_an_erasure_at_one_moment_are_one_after_the_other(replicas: list[Replica]) -> None:
    for round_ in range(6):
        user = f"user-{round_}"
        replicas[0].write(about(user, "acme"))
        pseudonym = replicas[0].store.find_pseudonym(Subject("acme", "User", user))
        assert pseudonym is not None
        sealed = replicas[0].store.sealed_under(pseudonym)
        answers = at_once(replicas, lambda replica, number: replica.answer(_hold_or_erasure(number, pseudonym, sealed)), each=1)  # noqa: B023  used at once
        held = [one for one in answers[::2] if isinstance(one, Committed)]
        erased = [one for one in answers[1::2] if isinstance(one, Committed)]
        assert (len(held) > 0) + (len(erased) > 0) == 1, "what is held is not erased, and what is erased cannot be held"
    assert_whole(replicas[1].store)


def _hold_or_erasure(number: int, pseudonym: str, sealed: Sealed) -> Filing:
    target = f"User::{pseudonym}"
    if number % 2:
        said = record("erasure", "acme", payload=Payload(), marks=(target,))
        return Filing((said,), (DestroySecret("acme", target, sealed),))
    said = record("legal_hold", "acme", payload=Payload(), marks=(target,))
    return Filing((said,), (PlaceHold(Hold(said.id, "acme", target, said.at)),))


def test_the_tables_are_written_anew_and_their_files_hold_nothing_of_who_was_erased(
    replicas: list[Replica], postgres: PostgresDatabase, tmp_path: Path
) -> None:
    one = replicas[0]
    one.write(about("alice", "acme"), about("bob", "acme"))
    pseudonym = one.store.find_pseudonym(Subject("acme", "User", "alice"))
    assert pseudonym is not None
    secret = one.store.find_secret_of(pseudonym)
    assert secret is not None
    operator = Operator(store=one.store, writer=one.writer, environment="test", now=now, by="olga")
    erase(operator, ErasureManifest(tmp_path / "erasures"), Subject("acme", "User", "alice"), "asked for")
    assert _found_in(postgres, secret.wrapped), "or there was nothing to be written anew"
    assert not one.store.rewrite(limit_bytes=1)
    assert one.store.rewrite()
    assert not one.store.cut_log()
    assert _found_in(postgres, secret.wrapped) == []
    assert_whole(one.store)


def test_tables_that_somebody_still_looks_at_are_not_said_to_hold_nothing(replicas: list[Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_rewrite, "LOOKED_AT_S", 0.2)
    one = replicas[0]
    one.write(about("alice", "acme"))
    with one.store.source() as source:
        assert verify(source).problems == ()
        one.write(about("bob", "acme"))
        assert not replicas[1].store.rewrite()
    assert replicas[1].store.rewrite()


def test_who_may_not_write_the_tables_anew_is_not_told_that_it_was_done(replicas: list[Replica], postgres: PostgresDatabase) -> None:
    replicas[0].write(about("alice", "acme"))

    async def as_another() -> bool:
        con = await asyncpg.connect(postgres.url)
        try:
            await con.execute(
                "CREATE ROLE another; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO another; SET ROLE another"
            )
            return await postgres_rewrite.rewrite(con, None)
        finally:
            await con.execute("RESET ROLE; DROP OWNED BY another; DROP ROLE another")
            await con.close()

    assert not asyncio.run(as_another())


def _found_in(postgres: PostgresDatabase, needle: bytes) -> list[str]:
    """The files of the database, without the write-ahead log, in which these bytes stand."""
    postgres.server.run("CHECKPOINT")
    return [path.name for path in (postgres.server.data / "base").rglob("*") if path.is_file() and needle in path.read_bytes()]
