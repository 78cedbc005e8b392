"""Logs in folders: written, extended, refused, interrupted, and verified byte for byte."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from licet.errors import IntegrityBroken, NoteInvalid, OperatorError
from licet.ledger.checkpoint import Checkpoint, sign_checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.note import Cosigner, Signer, add_signatures
from licet.ledger.record import leaf_hash
from licet.ledger.tile_folder import TileFolder, Written, read_tiles, write_tiles
from licet.ledger.tile_verify import TilesReport, verify_tiles
from licet.ledger.tiles import HashTree, TileName, path_of, tiles_at

ORIGIN = "example.com/ledger"
SIGNER = Signer.from_seed(ORIGIN, bytes(range(32)))
WITNESS = Cosigner.from_seed("witness.example", bytes(32))
ENTRIES = [b'{"v":1,"n":%d}' % number for number in range(1100)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def note(size: int, leaves: Sequence[bytes] = LEAVES, origin: str = ORIGIN) -> bytes:
    return sign_checkpoint(Checkpoint(origin, size, root_of(leaves[:size])), [SIGNER])


def entries(start: int, stop: int) -> Iterable[bytes]:
    return iter(ENTRIES[start:stop])


def export(folder: Path, size: int) -> Written:
    return write_tiles(folder, note(size), entries)


def verify(folder: Path) -> TilesReport:
    return verify_tiles(folder, ORIGIN, [SIGNER.verifier])


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def paths_at(size: int) -> set[str]:
    names = list(tiles_at(size))
    return {"checkpoint", *map(path_of, names), *(path_of(name._replace(level=None)) for name in names if name.level == 0)}


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1025])
def test_a_log_of_any_size_is_written_and_verified(tmp_path: Path, size: int) -> None:
    assert export(tmp_path / "log", size) == Written(ORIGIN, 0, size, len(paths_at(size)) - 1)
    assert files_of(tmp_path / "log").keys() == paths_at(size)
    report = verify(tmp_path / "log")
    assert report.ok, report.problems
    assert (report.origin, report.size, report.root) == (ORIGIN, size, root_of(LEAVES[:size]).hex())
    assert [signature.name for signature in report.signatures] == [ORIGIN]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.integers(0, 1100), min_size=1, max_size=5))
def test_a_log_that_is_exported_again_and_again_is_whole_each_time(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("log")
    seen: list[bytes] = []
    for size in sorted(sizes):
        export(folder, size)
        seen.append((folder / "checkpoint").read_bytes())
        report = verify(folder)
        assert report.ok, report.problems
        assert report.size == size
        assert paths_at(size) <= files_of(folder).keys()
    once = tmp_path_factory.mktemp("once")
    export(once, max(sizes))
    grown = files_of(folder)
    assert {path: grown[path] for path in files_of(once)} == files_of(once)
    for path in grown.keys() - files_of(once).keys():  # partial tiles of earlier checkpoints, whose full tile is not there yet
        assert ".p/" in path
        assert path.partition(".p/")[0] not in grown


def test_extending_reads_what_is_new_and_writes_what_changed(tmp_path: Path) -> None:
    asked = []

    def counted(start: int, stop: int) -> Iterable[bytes]:
        asked.append((start, stop))
        return entries(start, stop)

    write_tiles(tmp_path, note(300), counted)
    assert write_tiles(tmp_path, note(700), counted) == Written(ORIGIN, 300, 700, 5)  # tile and bundle 1 and 2, and level 1
    assert write_tiles(tmp_path, note(700), counted).files == 0
    assert asked == [(0, 300), (256, 700), (512, 700)]


def test_partial_tiles_go_when_the_full_one_is_there_and_not_before(tmp_path: Path) -> None:
    export(tmp_path, 300)
    export(tmp_path, 400)
    assert {"tile/0/001.p/44", "tile/0/001.p/144", "tile/entries/001.p/44", "tile/1/000.p/1"} <= files_of(tmp_path).keys()
    export(tmp_path, 600)
    left = files_of(tmp_path).keys()
    assert not any(path.startswith(("tile/0/001.p", "tile/entries/001.p")) for path in left)
    assert {"tile/0/001", "tile/1/000.p/1", "tile/1/000.p/2"} <= left
    assert not list(tmp_path.rglob("001.p"))


def test_proofs_come_out_of_a_folder(tmp_path: Path) -> None:
    export(tmp_path, 1025)
    folder = read_tiles(tmp_path)
    tree = HashTree(folder, folder.size, folder.edge())
    assert tree.root_at(1025) == root_of(LEAVES[:1025])
    assert tree.root_at(300) == root_of(LEAVES[:300])
    assert list(folder.entries(250, 515)) == ENTRIES[250:515]
    with pytest.raises(IndexError, match="no entry 1025 in a log of size 1025"):
        list(folder.entries(1020, 1026))


def test_a_folder_holds_one_log(tmp_path: Path) -> None:
    export(tmp_path, 10)
    before = files_of(tmp_path)
    with pytest.raises(OperatorError, match=r"holds the log `example.com/ledger`, not `example.com/other`: choose another folder"):
        write_tiles(tmp_path, note(20, origin="example.com/other"), entries)
    with pytest.raises(OperatorError, match="holds 10 entries, more than the 9 to be written: a log never shrinks"):
        export(tmp_path, 9)
    assert files_of(tmp_path) == before


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters").touch()
    with pytest.raises(OperatorError, match="holds no log, and is not empty"):
        export(tmp_path, 9)
    assert files_of(tmp_path) == {"letters": b""}


def test_two_exports_do_not_write_one_folder(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(OperatorError, match="is being written by another export"):
        export(tmp_path, 9)
    os.close(handle)
    export(tmp_path, 9)


def test_a_folder_that_cannot_be_written_is_the_operators(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match=r"cannot be written: (File exists|Not a directory)"):
        export(tmp_path / "file", 9)


@pytest.mark.parametrize("size", [256, 300, 512, 600])
def test_a_log_with_another_past_is_not_written_over_the_export(tmp_path: Path, size: int) -> None:
    export(tmp_path, size)
    before = files_of(tmp_path)
    forged = [*ENTRIES[: size - 1], b"forged", *ENTRIES[size:]]
    leaves = [leaf_hash(entry) for entry in forged]
    if size % 256:
        with pytest.raises(IntegrityBroken, match=f"the entries do not go on from the export in `.*`: expected size {size} and root"):
            write_tiles(tmp_path, note(1100, leaves), lambda start, stop: iter(forged[start:stop]))
        assert files_of(tmp_path) == before
    else:  # what is forged is not asked for any more; the new checkpoint cannot be reached from what stands there
        with pytest.raises(IntegrityBroken, match="the entries do not lead to the checkpoint: expected size 1100 and root"):
            write_tiles(tmp_path, note(1100, leaves), lambda start, stop: iter(forged[start:stop]))
        assert (tmp_path / "checkpoint").read_bytes() == before["checkpoint"]
    export(tmp_path, 1100)
    assert verify(tmp_path).ok


@pytest.mark.parametrize("given_entries", [ENTRIES[:599], ENTRIES[:601], [*ENTRIES[:599], b"other"]], ids=["fewer", "more", "other"])
def test_entries_that_do_not_lead_to_the_checkpoint_do_not_move_it(tmp_path: Path, given_entries: list[bytes]) -> None:
    export(tmp_path, 300)
    before = files_of(tmp_path)["checkpoint"]
    with pytest.raises(
        IntegrityBroken, match=r"the entries do not lead to the checkpoint: expected size 600 and root `[0-9a-f]{64}`, found"
    ):
        write_tiles(tmp_path, note(600), lambda start, _: iter(given_entries[start:]))
    assert (tmp_path / "checkpoint").read_bytes() == before
    export(tmp_path, 1000)  # replaces what the failed one left
    assert verify(tmp_path).ok


def test_a_damaged_edge_is_found_when_the_log_is_extended(tmp_path: Path) -> None:
    export(tmp_path, 600)
    flip(tmp_path / "tile/1/000.p/2", 7)
    with pytest.raises(IntegrityBroken, match="the entries do not go on from the export"):
        export(tmp_path, 700)
    (tmp_path / "tile/1/000.p/2").write_bytes(b"short")
    with pytest.raises(IntegrityBroken, match=r"`tile/1/000.p/2` in `.*`: a tile of 2 hashes has 64 bytes, not 5"):
        export(tmp_path, 700)
    (tmp_path / "tile/1/000.p/2").unlink()
    with pytest.raises(IntegrityBroken, match=r"`tile/1/000.p/2` is missing in"):
        export(tmp_path, 700)


def test_a_covered_file_that_was_changed_is_not_written_over(tmp_path: Path) -> None:
    export(tmp_path, 10)
    flip(tmp_path / "tile/entries/000.p/10", 3)
    with pytest.raises(IntegrityBroken, match=r"`tile/entries/000.p/10` in `.*` is not what was exported"):
        export(tmp_path, 10)


class Killed(BaseException):
    pass


def export_until(step: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the export came to its end before this many renames, removals and syncs; else it was killed there."""
    left = step

    def dying(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
        try:
            export(folder, 600)
        except Killed:
            return False
    return True


@pytest.mark.parametrize("old", [0, 200, 256, 300])
def test_an_export_killed_at_any_step_leaves_the_old_log_and_the_next_one_heals_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: int
) -> None:
    done = False
    for step in range(100):
        folder = tmp_path / str(step)
        if old:
            export(folder, old)
        done = export_until(step, folder, monkeypatch)
        if (folder / "checkpoint").exists():
            report = verify(folder)
            assert report.size in (old, 600)
            assert all("is not covered by the checkpoint" in problem.message for problem in report.problems)
            assert report.ok or report.size == old
        tear(folder, paths_at(old))
        export(folder, 700)
        assert verify(folder).ok
        if done:
            break
    assert done
    assert step > 10


def tear(folder: Path, covered: set[str]) -> None:
    """Full tiles that no checkpoint covers were not synced: a loss of power may leave them so."""
    if (folder / "checkpoint").exists() and verify(folder).size == 600:
        return
    for path in files_of(folder).keys() - covered:
        if ".p/" not in path and path.startswith("tile/"):
            (folder / path).write_bytes(b"torn")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


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


def is_found(folder: Path, path: str) -> bool:
    """The damage is told, and told of this file."""
    try:
        report = verify(folder)
    except IntegrityBroken:
        return path == "checkpoint"
    return any(problem.field == path for problem in report.problems)


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


@pytest.mark.parametrize("step", range(0, 30, 3))
def test_a_full_disk_is_the_operators_and_leaves_the_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    export(tmp_path, 300)
    left = step

    def full(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        if step < 15:
            with pytest.raises(OperatorError, match="cannot be written: No space left on device"):
                export(tmp_path, 600)
    assert verify(tmp_path).size in (300, 600)
    export(tmp_path, 600)
    assert verify(tmp_path).ok


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
