"""The ledger that is attacked: real, made through gates, with one of everything that a ledger can hold, signed, pinned and closed in order.

It is made once, and copied for each attack.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from msgspec import Struct

from licet.config import Settings, loads
from licet.errors import IntegrityBroken, SecretBroken
from licet.gate.opening import OpenLedger
from licet.gate.results import Held, Ok
from licet.ledger.erasure import erase
from licet.ledger.holds import place_hold
from licet.ledger.keys import KeyEncryptionKeys, load_keys
from licet.ledger.report import Report
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.model import OPERATOR_LOG, Receipt, Trace
from licet.store.sqlite import SqliteStore
from licet.testing import Clock, records, vote
from tests.gate.test_kill import killed
from tests.world import CONFIG, POLICIES, World, world_on

ANCHORED = CONFIG + '\n[witness]\nanchor = "elsewhere/licet.anchor"\n[limits]\ndenials_per_minute = 2\n'
TENANTS = ("acme", "globex", OPERATOR_LOG)
HELD_CENTS = 50_000


class Kept(Struct, frozen=True):
    """What an auditor keeps: whose ledger it is, by which key it began, and its newest checkpoint."""

    origin: str
    vkey: str
    checkpoint: bytes


class Stored:
    """A ledger on disk that nobody has open, with the receipts that callers have kept, and what an auditor has."""

    def __init__(self, folder: Path, receipts: tuple[Receipt, ...], kept: Kept) -> None:
        self.folder = folder
        self.receipts = receipts
        self.kept = kept

    @property
    def path(self) -> Path:
        """The database."""
        return self.folder / "licet.db"

    def keys(self) -> KeyEncryptionKeys:
        """What only the key's owner has."""
        return load_keys("file:licet.key", folder=self.folder)

    def copy(self, folder: Path) -> Stored:
        """The same, to be attacked."""
        shutil.copytree(self.folder, folder)
        return Stored(folder, self.receipts, self.kept)

    @contextmanager
    def reading(self, *, with_key: bool = True) -> Iterator[SqliteStore]:
        """The ledger as an auditor opens it."""
        store = SqliteStore.open(self.path, now=Clock(), keys=self.keys() if with_key else None, read_only=True)
        try:
            yield store
        finally:
            store.close()

    def report(self, *, with_key: bool = True, receipts: tuple[Receipt, ...] = ()) -> Report:
        """What verification finds."""
        with self.reading(with_key=with_key) as store, store.source() as source:
            return verify(source, receipts=receipts)

    def problems(self, *, with_key: bool = True) -> list[str]:
        """What verification finds, as it is shown."""
        return [str(problem) for problem in self.report(with_key=with_key).problems]

    def refused_at_start_by(self) -> str | None:
        """What keeps a gate that has the key and knows the anchor from writing to it: the `anchor`, the `key`, or nothing."""
        try:
            OpenLedger(settings_of(self.folder), Clock(), create=False).close()
        except IntegrityBroken as error:
            if "anchor" not in str(error):
                raise
            return "anchor"
        except SecretBroken:
            return "key"
        return None


def settings_of(folder: Path) -> Settings:
    """The settings of the gates that made it, with the anchor."""
    return loads(ANCHORED, file=folder / "licet.toml")


def make(folder: Path) -> Stored:
    """A ledger of three logs: a killed call and its recovery, reads, writes, denials with a count, a timeout, a key, a secret, holds, votes,
    an approval that was used and one that was not, an erasure, a legal hold, a signing key that was changed, a freeze that stands and one that
    was lifted."""
    (folder / "elsewhere").mkdir(parents=True)
    killed(folder, "in the tool")
    with patch("licet.ledger.notary.EVERY_S", 3_600.0):  # what is signed when must not depend on how fast this runs
        return _made(folder)


def _made(folder: Path) -> Stored:
    with world_on(folder, ANCHORED, POLICIES) as w:
        _first_day(w)
    with OpenLedger(settings_of(folder), Clock()) as ledger:
        operator = ledger.operator(settings_of(folder), "root")
        place_hold(operator, "acme", Subject("acme", "Customer", "C-2"), "a dispute")
        erase(operator, ledger.manifest, Subject("acme", "User", "carl"), "asked to be forgotten")
        ledger.notary.turn()
        ledger.signing.rotate(ledger.writer, lambda old, new: operator.say("key_rotation", OPERATOR_LOG, {"from": old, "to": new}))
    with world_on(folder, ANCHORED, POLICIES) as w:
        _second_day(w)
        receipts = tuple([record.receipt for log in TENANTS for record in records(w.gate, log)])
    store = SqliteStore.open(folder / "licet.db", now=Clock(), keys=None, read_only=True)
    newest = store.newest_checkpoint()
    assert newest is not None
    kept = Kept(store.head().origin, store.signing_keys()[0].vkey, newest.note)
    store.close()
    return Stored(folder, receipts, kept)


def _first_day(w: World) -> None:
    @w.gate.tool("account.open", access="write", touches={"access"}, secrets=["password"])
    def open_account(name: str, password: str) -> str:
        return f"opened {name}, {len(password)}"

    w.adjust(reason="double charge")
    w.adjust(1_000, idempotency_key="once")
    used = w.held(HELD_CENTS)
    vote(w.gate, used.request, "lena")
    assert isinstance(w.adjust(HELD_CENTS), Ok)
    _turn_away(w)
    trace = Trace(trace_id="a" * 32, span_id="b" * 16, parent="c" * 16, workflow="ticket-4711")
    with w.gate.acting(agent="support-bot", user="alice", session="s-1", trace=trace):
        assert isinstance(w.gate.call("account.open", {"name": "x", "password": "correct-horse-battery"}), Ok)
    with w.gate.acting(service="importer"):
        w.gate.call("crm.lookup", {"customer_id": "C-1"})
    with w.gate.acting(agent="support-bot", user="carl"):
        w.gate.call("crm.lookup", {"customer_id": "C-1"})
    with w.gate.acting(agent="free-bot", user="gina", tenant="globex"):
        w.gate.call("billing.adjust", {"customer_id": "G-1", "amount_cents": 5})
    with w.alice():
        w.gate.call("slow.now", {})
    w.release.set()


def _turn_away(w: World) -> None:
    """Denials, of which most are only counted."""
    for _ in range(5):
        with w.alice():
            w.gate.call("crm.lookup", {"customer_id": "C-2"})


def _second_day(w: World) -> None:
    with w.alice():
        waiting = w.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(waiting, Held)
    vote(w.gate, waiting.request, "dana")  # one of two
    ready = w.held(HELD_CENTS + 1)
    vote(w.gate, ready.request, "lena")
    w.held(HELD_CENTS + 2)
    w.adjust(700)
    with w.gate.acting(agent="free-bot", user="gina", tenant="globex"):
        w.gate.call("billing.adjust", {"customer_id": "G-1", "amount_cents": 6})
    lifted = w.gate.freeze("tool", "slow.now", reason="it hangs", by="lena")
    w.gate.freeze("session", "s-9", reason="it loops")
    w.gate.lift(lifted.id, reason="mended", by="dana")
