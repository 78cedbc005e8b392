"""Logs in folders, verified byte for byte: whatever is changed is found, and told where."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from licet.errors import IntegrityBroken, NoteInvalid, OperatorError
from licet.ledger.checkpoint import Checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.note import Signer, add_signatures
from licet.ledger.record import leaf_hash
from licet.ledger.tile_folder import TileFolder, read_tiles, write_tiles
from licet.ledger.tile_verify import verify_tiles
from licet.ledger.tiles import TileName, path_of
from tests.ledger.folders import ENTRIES, LEAVES, ORIGIN, SIGNER, WITNESS, entries, export, files_of, flip, note, verify


def is_found(folder: Path, path: str) -> bool:
    """The damage is told, and told of this file."""
    try:
        report = verify(folder)
    except IntegrityBroken:
        return path == "checkpoint"
    return any(problem.field == path for problem in report.problems)


def test_every_byte_of_every_file_is_verified(tmp_path: Path) -> None:
    export(tmp_path, 258)
    export(tmp_path, 260)
    for path, data in files_of(tmp_path).items():
        for at in range(0, len(data), 1 if len(data) < 1000 else 61):
            (tmp_path / path).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert is_found(tmp_path, path), (path, at)
        for other in (data[:-1], data + b"\0", b""):
            (tmp_path / path).write_bytes(other)
            assert is_found(tmp_path, path), (path, other)
        (tmp_path / path).unlink()
        older = path.endswith(("p/2",))  # an older checkpoint's partial tile may go
        assert older or is_found(tmp_path, path), path
        (tmp_path / path).write_bytes(data)
    assert verify(tmp_path).ok


def test_a_report_says_which_hash_and_which_file(tmp_path: Path) -> None:
    export(tmp_path, 600)
    flip(tmp_path / "tile/0/001", 3 * 32)
    (tmp_path / "tile/entries/000").unlink()
    (tmp_path / "tile/1/000.p/2").write_bytes(bytes(63))
    (tmp_path / "tile/entries/002.p/88").write_bytes(b"\x00")
    wrong = bytearray(LEAVES[259])
    wrong[0] ^= 1
    told = [str(problem) for problem in verify(tmp_path).problems]
    place = "log `example.com/ledger`"
    assert told == [
        f"{place}, tile/entries/000: is missing",
        f"{place}, tile/entries/002.p/88: a bundle of entries is cut in its entry 0, at byte 0",
        f"{place}, tile/1/000.p/2: has another length: expected `64 bytes`, found `63`",
        f"{place}, tile/0/001: hash 3 is not what the entries give: expected `{LEAVES[259].hex()}`, found `{wrong.hex()}`",
    ]


def test_an_entry_that_was_changed_with_all_of_its_hashes_has_another_root(tmp_path: Path) -> None:
    forged = [*ENTRIES[:5], b"forged", *ENTRIES[6:]]
    leaves = [leaf_hash(entry) for entry in forged]
    write_tiles(tmp_path, note(600, leaves), lambda start, stop: iter(forged[start:stop]))
    (tmp_path / "checkpoint").write_bytes(note(600))
    report = verify(tmp_path)
    assert [problem.field for problem in report.problems] == ["checkpoint"]
    assert report.problems[0].expected == root_of(LEAVES[:600]).hex()
    assert report.problems[0].found == report.root == root_of(leaves[:600]).hex()


def test_a_changed_entry_is_told_with_both_hashes(tmp_path: Path) -> None:
    export(tmp_path, 20)
    flip(tmp_path / "tile/entries/000.p/20", 2)
    entry = bytearray(ENTRIES[0])
    entry[0] ^= 1
    first = verify(tmp_path).problems[0]
    assert (first.field, first.message) == ("tile/entries/000.p/20", "entry 0 does not hash to what `tile/0/000.p/20` holds")
    assert (first.expected, first.found) == (LEAVES[0].hex(), leaf_hash(bytes(entry)).hex())


def test_what_does_not_belong_to_the_log_is_told(tmp_path: Path) -> None:
    export(tmp_path, 10)
    (tmp_path / "tile" / "0" / "001").write_bytes(bytes(8192))
    (tmp_path / "tile" / "0" / "000.p" / "11").write_bytes(bytes(352))
    (tmp_path / "tile" / "note.txt").touch()
    assert sorted((problem.field, problem.message) for problem in verify(tmp_path).problems) == [
        ("tile/0/000.p/11", "is not covered by the checkpoint of size 10"),
        ("tile/0/001", "is not covered by the checkpoint of size 10"),
        ("tile/note.txt", "is no file of a log"),
    ]


def test_a_checkpoint_that_is_not_the_logs_own_is_refused(tmp_path: Path) -> None:
    export(tmp_path, 10)
    other = Signer.from_seed(ORIGIN, bytes(32))
    with pytest.raises(NoteInvalid, match="the note is not signed by any known key"):
        verify_tiles(tmp_path, ORIGIN, [other.verifier])
    with pytest.raises(NoteInvalid, match=r"the checkpoint is of `example.com/ledger`, not of `example.com/other`"):
        verify_tiles(tmp_path, "example.com/other", [SIGNER.verifier])
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(IntegrityBroken, match="holds no checkpoint"):
        verify(tmp_path)
    with pytest.raises(IntegrityBroken, match="holds no checkpoint"):
        read_tiles(tmp_path)


def test_a_name_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    export(tmp_path, 10)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/tile/\xff")).touch()
    (problem,) = verify(tmp_path).problems
    assert str(problem).encode() == b"log `example.com/ledger`, tile/\\udcff: is no file of a log"


def test_a_disk_that_cannot_be_read_is_the_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path, 10)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(OperatorError, match=r"checkpoint` cannot be read: Input/output error"):
        verify(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_damage_of_any_kind_is_found_and_told_by_our_errors_only(small_log: Path, data: st.DataObject) -> None:
    files = files_of(small_log)
    path, other = data.draw(st.sampled_from(sorted(files))), data.draw(st.sampled_from(sorted(files)))
    content = files[path]
    at = data.draw(st.integers(0, len(content)))
    damage = {
        "cut": content[:at],
        "grown": content[:at] + data.draw(st.binary(min_size=1, max_size=70)) + content[at:],
        "another": files[other],
        "zeroes": bytes(len(content)),
        "garbage": data.draw(st.binary(max_size=300)),
    }[data.draw(st.sampled_from(["cut", "grown", "another", "zeroes", "garbage"]))]
    (small_log / path).write_bytes(damage)
    try:
        assert verify(small_log).ok == (damage == content)
    except IntegrityBroken:
        assert path == "checkpoint"
    finally:
        (small_log / path).write_bytes(content)


@pytest.fixture(scope="module")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    export(folder, 258)
    export(folder, 260)
    return folder


def test_cosignatures_are_verified_and_reported(tmp_path: Path) -> None:
    checkpoint = Checkpoint(ORIGIN, 10, root_of(LEAVES[:10]))
    signed = add_signatures(note(10), [WITNESS.cosign(checkpoint.text, 1_700_000_000)])
    write_tiles(tmp_path, signed, entries)
    report = verify_tiles(tmp_path, ORIGIN, [SIGNER.verifier], [WITNESS.verifier])
    assert [(signature.name, signature.timestamp_s) for signature in report.signatures] == [
        (ORIGIN, None),
        ("witness.example", 1_700_000_000),
    ]


def test_progress_counts_the_entries(tmp_path: Path) -> None:
    export(tmp_path, 600)
    told: list[int] = []
    verify_tiles(tmp_path, ORIGIN, [SIGNER.verifier], progress=told.append)
    assert told == [256, 512, 600]


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    export(tmp_path, 10)
    (tmp_path / "tile/0/000.p/10").unlink()
    os.mkfifo(tmp_path / "tile/0/000.p/10")
    assert [(problem.field, problem.message) for problem in verify(tmp_path).problems] == [("tile/0/000.p/10", "is missing")]
    assert TileFolder(tmp_path).find_tile(0, 0) is None
    assert path_of(TileName(0, 0, 10)) == "tile/0/000.p/10"
