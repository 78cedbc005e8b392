"""Everything at once, by four replicas, of several tenants, in any order: nobody waits in a ring, nothing is lost, and it all fits together."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from licet.errors import ErasureRefused, StoreUnavailable
from licet.ledger.acts import Operator
from licet.ledger.erasure import erase
from licet.ledger.erasure_manifest import ErasureManifest
from licet.ledger.frozen import Called, Freeze, lift_mark
from licet.ledger.record import Actor, Payload, microseconds
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.store.contract import AppendHead, Change, CloseCall, Committed, OpenCall, PutBlob
from licet.store.freezes import LiftFreeze, PutFreeze, RefuseFrozen
from licet.store.outbox import NewDelivery, SkipStale, Spread, TakeDelivering
from tests.store.conftest import PostgresDatabase
from tests.store.replicas import Replica, assert_whole, at_once, replicas_of
from tests.store.samples import NOW, call_id, intent, now, outcome, record

pytestmark = pytest.mark.heavy

TENANTS = ("acme", "globex", "initech")
ROUNDS = 60
AT = microseconds(NOW)


class Mixer:
    """One thread's doings."""

    def __init__(self, replica: Replica, number: int, manifest: ErasureManifest) -> None:
        self.replica = replica
        self.random = Random(number)
        self.done = Counter[str]()
        self.manifest = manifest

    def act(self) -> None:
        name, act = self.random.choice(
            [
                ("call", self.call),
                ("call", self.call),
                ("people", self.people),
                ("snapshot", self.snapshot),
                ("outbox", self.outbox),
                ("head", self.head),
                ("freeze", self.freeze),
                ("erase", self.erase),
            ]
        )
        act()
        self.done[name] += 1

    def call(self) -> None:
        log, call = self.random.choice(TENANTS), call_id()
        began: tuple[Change, ...] = (
            OpenCall(call, log),
            RefuseFrozen(Called(tenant=log, tool="billing.adjust", agent="bot", session="s")),
        )
        if not self.lands(Filing((intent(call, self.replica.store, log=log),), began)):
            return
        ended = outcome(call, log=log)
        self.must(Filing((ended,), (CloseCall(call),)))

    def snapshot(self) -> None:
        """Two, in any order, that others put as well."""
        contents = self.random.sample([b"a", b"b", b"c"], 2)
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        records = tuple(record("policy", "operator", payload=Payload(detail={"sha256": digest})) for digest in digests)
        blobs = tuple(PutBlob(digest, "bundle", content) for digest, content in zip(digests, contents, strict=True))
        self.must(Filing(records, blobs))

    def people(self) -> None:
        """Two tenants' logs, and the same people in any order."""
        logs = self.random.sample(TENANTS, 2)
        names = self.random.sample(["alice", "bob", "carol", "dave"], 2)
        self.must(Filing(tuple(record("denial", log, actor=Actor(agent="bot", user=name)) for log, name in zip(logs, names, strict=True))))

    def outbox(self) -> None:
        store = self.replica.store
        self.lands(Filing((), (TakeDelivering(store.boot, AT, AT),)))
        for notice in store.new_notices(2):
            self.lands(Filing((), (Spread(notice.number, (NewDelivery(channel="box", subject="s"),), AT),)))
        self.lands(Filing((), (SkipStale(AT, AT, "old"),)))

    def head(self) -> None:
        self.must(Filing((), (AppendHead(AT),)))

    def freeze(self) -> None:
        said = record("freeze", self.random.choice((*TENANTS, "operator")), payload=Payload(), marks=("Agent::somebody",))
        self.must(Filing((said,), (PutFreeze(Freeze(said.id, said.log, "agent", "somebody", said.at)),)))
        self.must(Filing((record("freeze", said.log, payload=Payload(), marks=(lift_mark(said.id),)),), (LiftFreeze(said.id),)))

    def erase(self) -> None:
        if self.random.random() > 0.2:
            return
        operator = Operator(store=self.replica.store, writer=self.replica.writer, environment="test", now=now, by="olga")
        try:
            erase(operator, self.manifest, Subject(self.random.choice(TENANTS), "User", "dave"), "asked for")
        except ErasureRefused as refused:
            assert refused.code == "nothing_recorded"  # noqa: PT017  anything else fails the test as it is
        except StoreUnavailable as busy:
            assert "are recorded all the time" in str(busy)  # noqa: PT017  as above

    def lands(self, filing: Filing) -> bool:
        return isinstance(self.replica.answer(filing), Committed)

    def must(self, filing: Filing) -> None:
        self.replica.write(filing)


def test_nobody_waits_in_a_ring_and_everything_fits_together(postgres: PostgresDatabase, tmp_path: Path) -> None:
    manifest = ErasureManifest(tmp_path / "erasures")
    locked = threading.Lock()
    whole = Counter[str]()
    with replicas_of(postgres) as replicas:

        def act(replica: Replica, number: int) -> None:
            mixer = Mixer(replica, number, manifest)
            for _ in range(ROUNDS):
                mixer.act()
            with locked:
                whole.update(mixer.done)

        at_once(replicas, act)
        assert sum(whole.values()) == ROUNDS * 16
        assert set(whole) == {"call", "people", "snapshot", "outbox", "head", "freeze", "erase"}
        store = replicas[0].store
        assert store.open_calls() == ()
        assert store.freezes().rows == ()
        assert assert_whole(store) > ROUNDS * 16
