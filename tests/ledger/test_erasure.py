"""Erasing a subject, from outside: through a gate whose ledger is a file, with every byte beside it looked at."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from licet.errors import ErasureRefused, StoreError
from licet.gate.opening import OpenLedger, keys_of
from licet.gate.results import Held
from licet.ledger.acts import Operator
from licet.ledger.erasure import erase
from licet.ledger.erasure_manifest import ErasureManifest
from licet.ledger.holds import place_hold
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.store.contract import Sealed
from licet.store.sqlite import SqliteStore
from licet.testing import Clock, vote
from tests.store.faulty import FaultyDisk
from tests.store.raw import rows
from tests.world import World, world_on

C1 = Subject("acme", "Customer", "C-1")


def opened(w: World) -> OpenLedger:
    """The ledger below the gate, opened a second time as another process would."""
    return OpenLedger(w.gate.settings, w.clock, create=False)


def everything(folder: Path) -> dict[str, bytes]:
    """The bytes of all files beside the ledger, but for what names people on purpose."""
    return {path.name: path.read_bytes() for path in folder.glob("licet.db*") if path.is_file()}


def found_in(folder: Path, needle: bytes) -> list[str]:
    return [name for name, content in everything(folder).items() if needle in content]


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world_on(tmp_path) as made:
        made.gate.seal()
        yield made


def test_an_erased_target_is_gone_and_the_log_verifies(w: World, tmp_path: Path) -> None:
    with w.alice():
        w.gate.call("crm.lookup", {"customer_id": "C-1"})
    w.adjust(2_500)
    before = len(w.records())
    with opened(w) as ledger:
        pseudonym = ledger.store.find_pseudonym(C1)
        assert pseudonym is not None
        assert isinstance(ledger.store, SqliteStore)
        secret = ledger.store.find_secret_of(pseudonym)
        assert secret is not None
        done = erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, C1, "asked for by letter")
        assert ledger.store.cut_log()
        assert ledger.store.find_pseudonym(C1) is None
        with ledger.store.source() as source:
            report = verify(source)
    assert report.ok, report.problems
    assert (done.log, done.payloads, done.requests) == ("acme", before, ())
    assert found_in(tmp_path, secret.wrapped) == []
    last = w.records()[-1]
    assert (last.kind, last.envelope.targets) == ("erasure", (f"Customer::{pseudonym}",))
    assert last.payload.detail == {"reason": "asked for by letter", "by": "olga", "payloads": before, "logs": ["acme"], "requests": []}


def test_twice_finds_nothing(w: World) -> None:
    w.adjust(2_500)
    with opened(w) as ledger:
        operator = ledger.operator(w.gate.settings, "olga")
        erase(operator, ledger.manifest, C1, "asked for")
        with pytest.raises(ErasureRefused, match="nothing is recorded about `Customer/C-1`") as caught:
            erase(operator, ledger.manifest, C1, "asked for")
        assert caught.value.code == "nothing_recorded"


def known(w: World, ledger: OpenLedger, subject: Subject) -> str:
    found = ledger.store.find_pseudonym(subject)
    assert found is not None
    return found


def problems(ledger: OpenLedger) -> list[str]:
    with ledger.store.source() as source:
        return [str(problem) for problem in verify(source).problems]


def test_a_process_that_knows_the_secret_seals_anew(w: World) -> None:
    w.adjust(2_500)
    with opened(w) as ledger:
        old = known(w, ledger, C1)
        erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, C1, "asked for")
        w.adjust(2_600)  # the gate has the old secret in its memory
        new = known(w, ledger, C1)
        assert new != old
        assert problems(ledger) == []
    assert [record.payload.arguments for record in w.records() if record.kind == "intent"][-1] != b""
    assert w.records()[-1].envelope.targets == ('Customer::"C-1"',)


def test_what_is_recorded_while_it_is_searched_for_is_erased_with_the_rest(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.adjust(2_500)
    with opened(w) as ledger:
        search, between = ledger.store.sealed_under, [lambda: w.adjust(2_600)]

        def sealed_under(pseudonym: str, since: Sealed | None = None) -> Sealed:
            found = search(pseudonym, since)
            if between:
                between.pop()()  # another process, between the search and the transaction
            return found

        monkeypatch.setattr(ledger.store, "sealed_under", sealed_under)
        done = erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, C1, "asked for")
        assert done.payloads == 4
        assert ledger.store.find_pseudonym(C1) is None
        assert problems(ledger) == []


def test_a_waiting_request_is_withdrawn_and_the_call_can_ask_again(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    with opened(w) as ledger:
        done = erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, C1, "asked for")
        assert done.requests == (held.request,)
        assert problems(ledger) == []
    again = w.held()
    assert again.request != held.request
    assert w.ran == []


def test_who_voted_is_erased_and_the_approval_with_them(w: World) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    with opened(w) as ledger:
        lena = Subject("acme", "User", "lena")
        done = erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, lena, "asked for")
        assert done.requests == (held.request,)
        assert problems(ledger) == []
        people = rows(ledger.store, "SELECT person FROM votes")
        assert people != [(ledger.store.blind("acme", "person", "lena"),)]
    assert isinstance(w.adjust(50_000), Held)


def test_an_idempotency_key_of_the_erased_stays_taken(w: World) -> None:
    w.adjust(2_500, idempotency_key="ticket-1")
    with opened(w) as ledger:
        erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, C1, "asked for")
        assert problems(ledger) == []
    w.denied(w.adjust(2_500, idempotency_key="ticket-1"), "key_reused")
    assert len(w.ran) == 1


def test_a_reason_that_names_the_subject_is_refused_and_a_log_is_nobody(w: World) -> None:
    w.adjust(2_500)
    with opened(w) as ledger:
        operator = ledger.operator(w.gate.settings, "olga")
        for subject, reason, code in (
            (C1, "customer c-1 wrote", "reason_names_it"),
            (Subject("acme", "Log", "acme"), "x", "not_a_subject"),
            (Subject("acme", "Tenant", "acme"), "x", "not_a_subject"),
        ):
            with pytest.raises(ErasureRefused) as caught:
                erase(operator, ledger.manifest, subject, reason)
            assert caught.value.code == code
        assert ledger.manifest.read() == {}


def test_a_hold_that_is_placed_behind_the_first_look_refuses_and_the_line_in_the_manifest_is_taken_back(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    w.adjust(2_500)
    with opened(w) as ledger:
        operator = ledger.operator(w.gate.settings, "olga")
        search = ledger.store.sealed_under

        def sealed_under(pseudonym: str, since: Sealed | None = None) -> Sealed:
            place_hold(operator, "acme", C1, "case 7")
            return search(pseudonym, since)

        monkeypatch.setattr(ledger.store, "sealed_under", sealed_under)
        with pytest.raises(ErasureRefused, match=r"legal hold `.+` protects") as caught:
            erase(operator, ledger.manifest, C1, "asked for")
        assert caught.value.code == "held"
        assert ledger.manifest.read() == {}
        assert ledger.store.find_pseudonym(C1) is not None
        assert problems(ledger) == []


@pytest.mark.parametrize("done_first", [False, True])
def test_a_crash_at_each_write_of_an_erasure_leaves_it_done_at_the_next_start(tmp_path: Path, *, done_first: bool) -> None:
    """Power is not lost, the process is: what was written is there. Before the manifest has its line, nothing is erased."""
    disk = FaultyDisk()
    (tmp_path / "made").mkdir()
    with world_on(tmp_path / "made") as w:
        w.adjust(2_500)
        settings = w.gate.settings
    template = everything(tmp_path / "made")
    number, failed = 0, True
    while failed:
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in template.items():
            (folder / name).write_bytes(content)
        path = folder / "licet.db"
        keys = keys_of(settings, create=False)
        store = SqliteStore.open(path, now=Clock(), keys=keys, vfs=disk.name)
        writer = Writer(store)
        operator = Operator(store=store, writer=writer, environment="test", now=Clock(), by="olga")
        manifest = ErasureManifest(folder / "licet.db-erasures")
        disk.fail(number, done_first=done_first, still=True)
        try:
            erase(operator, manifest, C1, "asked for")
            failed = len(disk.operations) > number
        except StoreError:
            pass
        disk.fail(None)
        writer.close()
        store.close()
        again = replace(settings, store=f"sqlite:{path}")
        with OpenLedger(again, Clock(), create=False) as ledger:
            assert ledger.store.find_pseudonym(C1) is None or ledger.manifest.read() == {}
            assert problems(ledger) == []
        number += 1
    assert number > 1


def test_a_deleted_manifest_is_made_anew_from_the_ledger(w: World, tmp_path: Path) -> None:
    w.adjust(2_500)
    with opened(w) as ledger:
        done = erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, C1, "asked for")
    (tmp_path / "licet.db-erasures").unlink()
    with opened(w) as ledger:
        assert list(ledger.manifest.read()) == [done.pseudonym]


def test_another_tenant_s_view_of_the_target_goes_too(w: World) -> None:
    with w.alice():
        w.gate.call("crm.lookup", {"customer_id": "G-1"})
    with opened(w) as ledger:
        done = erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, Subject("acme", "User", "alice"), "asked for")
        assert set(done.logs) >= {"acme"}
        assert problems(ledger) == []


def test_a_forged_erasure_hides_no_payload_of_somebody_else(w: World, tmp_path: Path) -> None:
    """Whoever can write the file but has no key takes alice's payloads away, behind an erasure of the customer."""
    w.adjust(2_500)
    with w.alice():
        w.gate.call("odd.now", {})  # about no customer
    with opened(w) as ledger:
        erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, C1, "asked for")
    with closing(sqlite3.connect(tmp_path / "licet.db")) as con, con:
        con.execute("DELETE FROM payloads")
    with opened(w) as ledger:
        missing = [text for text in problems(ledger) if "nothing says that it was erased" in text]
    assert missing
