"""Logs in folders: written, extended, refused, interrupted and healed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from licet.errors import IntegrityBroken, OperatorError
from licet.ledger.merkle import root_of
from licet.ledger.record import leaf_hash
from licet.ledger.tile_folder import Written, read_tiles, write_tiles
from licet.ledger.tiles import HashTree
from tests.ledger.folders import ENTRIES, LEAVES, ORIGIN, entries, export, files_of, flip, note, paths_at, verify


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
    assert HashTree(folder, folder.size).edge() == folder.edge()
    assert list(folder.entries(250, 515)) == ENTRIES[250:515]
    assert list(folder.entries(0, 1025)) == ENTRIES[:1025]
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
