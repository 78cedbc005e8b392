"""Anchors and witnesses over time: a ledger at rest stays witnessed, and one whose witness was away goes on when it is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from licet.errors import IntegrityBroken, StoreUnavailable
from licet.ledger.checkpoint import Checkpoint, sign_checkpoint
from licet.ledger.notary import Notary
from licet.ledger.note import add_signatures
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.ledger.signing import SigningKeys, trust_of
from licet.ledger.writer import Writer
from licet.store.contract import PutCheckpoint
from licet.store.sqlite import SqliteStore
from licet.witness.client import Witness
from licet.witness.pins import Pins
from tests.store.samples import KEYS, NOW, now, record
from tests.witness.loopback import AT_S, COSIGNER, HonestWitness, Loopback, Request, response

MAX_AGE_S = 60.0


class Pinned:
    """A ledger with an anchor and a witness, a clock of seconds that the test owns, and no pause before they are asked again."""

    def __init__(self, folder: Path, server: Loopback, witness: HonestWitness) -> None:
        self.seconds = 0.0
        self.anchor = folder / "licet.anchor"
        self.store = SqliteStore.open(folder / "licet.db", now=now, keys=KEYS)
        self.writer = Writer(self.store)
        self.signing = SigningKeys(self.store, KEYS)
        witness.log_keys, witness.origin = (self.signing.signer(self.writer).verifier,), self.store.head().origin
        self.pins = Pins(
            self.store,
            lambda: trust_of(self.store),
            [self.anchor],
            [Witness(server.url, COSIGNER.vkey)],
            max_age_s=MAX_AGE_S,
            keep=self.keep,
            clock=lambda: self.seconds,
        )
        self.writer.barrier = self.pins.find_problem
        self.kept: list[bytes] = []
        self.notary = Notary(
            self.store,
            self.writer,
            self.signing,
            lambda: microseconds(NOW),
            self.pins.publish,
            publish_again_s=0.02,
        )

    def keep(self, size: int, note: bytes) -> None:
        self.kept.append(note)
        change = PutCheckpoint(size, microseconds(NOW), note, self.signing.get_signer().vkey)
        self.writer.submit(Filing((), (change,))).wait()

    def write(self) -> None:
        self.writer.submit(Filing((record("gap"),))).wait()

    def close(self) -> None:
        self.notary.close()
        self.writer.close()
        self.store.close()


class Away(HonestWitness):
    """A witness that may be away."""

    away = False

    def __call__(self, request: Request) -> bytes:
        return response(503, b"away\n") if self.away else super().__call__(request)


@pytest.fixture
def witness() -> Away:
    return Away()


@pytest.fixture
def ledger(tmp_path: Path, witness: Away) -> Iterator[Pinned]:
    with Loopback(witness) as server:
        ledger = Pinned(tmp_path, server, witness)
        yield ledger
        ledger.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_ledger_at_rest_stays_witnessed(ledger: Pinned) -> None:
    ledger.notary.start()
    ledger.write()
    until(lambda: bool(ledger.kept))
    ledger.seconds = 3 * MAX_AGE_S
    until(lambda: ledger.pins.find_problem() is None)
    ledger.write()


def test_a_ledger_goes_on_when_its_witness_is_back(ledger: Pinned, witness: Away) -> None:
    ledger.notary.start()
    ledger.write()
    until(lambda: bool(ledger.kept))
    witness.away = True
    ledger.seconds = 2 * MAX_AGE_S
    until(lambda: "503" in (ledger.pins.find_problem() or ""))
    with pytest.raises(StoreUnavailable, match="the log is not witnessed"):
        ledger.write()
    witness.away = False
    until(lambda: ledger.pins.find_problem() is None)
    ledger.write()


def test_a_ledger_that_is_opened_and_left_alone_asks_for_what_its_store_has(tmp_path: Path, witness: Away) -> None:
    with Loopback(witness) as server:
        first = Pinned(tmp_path, server, witness)
        first.write()
        first.notary.turn()
        first.close()
        second = Pinned(tmp_path, server, witness)
        second.notary.start()
        second.seconds = 2 * MAX_AGE_S
        until(lambda: second.pins.find_problem() is None)
        second.write()
        second.close()


def test_asking_again_keeps_one_cosignature_of_each_witness(ledger: Pinned, witness: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    witness.away = True
    ledger.notary.start()
    ledger.write()
    until(lambda: ledger.store.newest_checkpoint() is not None)
    assert ledger.kept == []
    witness.away = False
    until(lambda: bool(ledger.kept))
    for each in (2, 4, 6):
        monkeypatch.setattr("tests.witness.loopback.AT_S", AT_S + each)
        ledger.seconds = each * MAX_AGE_S
        until(lambda: ledger.pins.find_problem() is None)
    assert len(ledger.kept) == 1, "what a witness has cosigned already is not kept once more"
    newest = ledger.store.newest_checkpoint()
    assert newest is not None
    trust_of(ledger.store).open(newest.note, [COSIGNER.verifier])


def test_a_rewritten_store_whose_newest_checkpoint_was_taken_out_is_not_opened(tmp_path: Path, witness: Away) -> None:
    """Its older checkpoint says nothing against it: the witness is asked what it has seen, before anything is written."""
    with Loopback(witness) as server:
        first = Pinned(tmp_path, server, witness)
        for _ in range(2):
            first.write()
            first.notary.turn()
            newest = first.store.newest_checkpoint()
            assert newest is not None
            first.pins.publish(newest.note)
        signer = first.signing.get_signer()
        first.close()
        first.anchor.unlink()
        other = Checkpoint(witness.latest.origin, 2, bytes(32))
        cosigned = add_signatures(sign_checkpoint(other, [signer]), [COSIGNER.cosign(other.text, AT_S)])
        con = apsw.Connection(str(tmp_path / "licet.db"))
        con.execute("DELETE FROM checkpoints WHERE size = 2")
        con.close()
        second = Pinned(tmp_path, server, witness)
        second.pins.check()
        witness.latest, witness.note = other, cosigned
        with pytest.raises(IntegrityBroken, match="has pinned another history"):
            second.pins.check()
        second.writer.close()
        second.store.close()


def test_a_restart_does_not_begin_the_wait_for_a_silent_witness_anew(tmp_path: Path, witness: Away) -> None:
    with Loopback(witness) as server:
        first = Pinned(tmp_path, server, witness)
        first.notary.start()
        first.write()
        until(lambda: bool(first.kept))
        first.close()
        second = Pinned(tmp_path, server, witness)
        witness.away = True
        for age_s, refused in ((MAX_AGE_S / 2, False), (MAX_AGE_S * 2, True)):
            pins = Pins(
                second.store,
                lambda: trust_of(second.store),
                [],
                second.pins._witnesses,
                max_age_s=MAX_AGE_S,
                keep=lambda size, note: None,  # noqa: ARG005
                now_s=lambda age_s=age_s: AT_S + age_s,  # type: ignore[misc]
            )
            assert (pins.find_problem() is not None) == refused
        second.writer.close()
        second.store.close()
