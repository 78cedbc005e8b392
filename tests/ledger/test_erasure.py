"""Erasing a subject, from outside: through a gate whose ledger is a file, with every byte beside it looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.errors import ErasureRefused
from licet.gate.opening import OpenLedger
from licet.ledger.erasure import erase
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
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
