"""The erasure manifest: what it remembers after a crash, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from licet.errors import IntegrityBroken, StoreUnavailable
from licet.ledger.erasure_manifest import ErasedTarget, ErasureManifest

ALICE = ErasedTarget("acme", "User::" + "a" * 32)
BOB = ErasedTarget("acme", "User::" + "b" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licet.db-erasures"


def test_it_remembers_whom_it_was_told_and_is_private(path: Path) -> None:
    manifest = ErasureManifest(path)
    assert manifest.read() == {}
    manifest.add([ALICE])
    manifest.add([BOB, ALICE])
    manifest.void(BOB)
    assert ErasureManifest(path).read() == {ALICE.pseudonym: ALICE}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().splitlines()[0] == b'{"v":1,"log":"acme","target":"User::' + b"a" * 32 + b'"}'


def test_a_line_that_a_crash_cut_anywhere_counts_for_nothing_and_is_written_over(path: Path) -> None:
    manifest = ErasureManifest(path)
    manifest.add([ALICE])
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert manifest.read() == {ALICE.pseudonym: ALICE}
        manifest.add([BOB])
        assert manifest.read() == {ALICE.pseudonym: ALICE, BOB.pseudonym: BOB}
        assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    [b"x", b"{}", b'{"v":2,"log":"acme","target":"User::' + b"a" * 32 + b'"}', b'{"v":1,"log":"acme","target":"User::alice"}', b"\xff"],
)
def test_a_line_that_cannot_be_read_stops_what_rests_on_it(path: Path, line: bytes) -> None:
    path.write_bytes(line + b"\n")
    with pytest.raises(IntegrityBroken, match="line 1 of the erasure manifest"):
        ErasureManifest(path).read()


def test_where_it_cannot_be_written_nothing_was_erased(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nothing was erased"):
        ErasureManifest(tmp_path / "no-folder" / "x").add([ALICE])
    with pytest.raises(StoreUnavailable):
        ErasureManifest(tmp_path).read()


def test_a_ledger_in_memory_has_none() -> None:
    manifest = ErasureManifest(None)
    manifest.add([ALICE])
    assert manifest.read() == {}
