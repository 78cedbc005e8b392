"""An anchor that only advances: beside crashes, other processes, full disks and logs that were changed."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import random
import resource
import stat
import threading
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import AnchorUnusable, IntegrityBroken, NoteInvalid
from licet.ledger.checkpoint import Checkpoint, sign_checkpoint
from licet.ledger.note import NOTE_LIMIT_BYTES, Signer, sign_note
from licet.ledger.rotation import endorse, verify_rotation
from licet.witness.anchor import Anchor, Pinned
from tests.witness.loopback import FORKED, KEY, LEAVES, ORIGIN, checkpoint, forked_proof, note, proof

TRUST = verify_rotation(ORIGIN, KEY.vkey)


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    return Anchor(tmp_path / "anchor", TRUST)


def refused(anchor: Anchor, unverified_note: bytes) -> str:
    with pytest.raises(IntegrityBroken) as caught:
        anchor.pin(unverified_note, proof)
    return str(caught.value)


def files(anchor: Anchor) -> list[str]:
    return sorted(path.name for path in anchor.path.parent.iterdir())


def test_an_anchor_that_was_never_pinned_holds_nothing(anchor: Anchor) -> None:
    assert anchor.read() is None
    assert files(anchor) == []


def test_a_pinned_checkpoint_is_read_again(anchor: Anchor) -> None:
    assert anchor.pin(note(7), proof) == Pinned(checkpoint(7), note(7))
    assert anchor.read() == Pinned(checkpoint(7), note(7)) == Anchor(anchor.path, TRUST).read()
    assert anchor.path.read_bytes() == note(7)
    assert files(anchor) == ["anchor", "anchor.lock"]


def test_it_advances_with_a_log_that_grows(anchor: Anchor) -> None:
    for size in (0, 1, 2, 7, 64, 65, 200):
        assert anchor.pin(note(size), proof).checkpoint == checkpoint(size)
    assert anchor.path.read_bytes() == note(200)


def test_an_older_checkpoint_of_the_same_log_sets_nothing_back(anchor: Anchor) -> None:
    anchor.pin(note(100), proof)
    before = anchor.path.stat()
    for size in (99, 1, 0, 100):
        assert anchor.pin(note(size), proof) == Pinned(checkpoint(100), note(100))
    after = anchor.path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_nothing_to_prove_asks_for_no_proof(anchor: Anchor) -> None:
    def never(_old: int, _new: int) -> tuple[bytes, ...]:
        raise AssertionError("no proof is needed")

    for size in (0, 7, 7, 0):
        anchor.pin(note(size), never)


@pytest.mark.parametrize("size", [60, 100, 101, 150])
def test_a_rewritten_log_is_not_pinned(anchor: Anchor, size: int) -> None:
    anchor.pin(note(100), proof)
    with pytest.raises(
        IntegrityBroken, match=f"has pinned size 100, and the log at size {size} does not continue it: its history was changed"
    ):
        anchor.pin(note(size, FORKED), forked_proof)
    assert anchor.read() == Pinned(checkpoint(100), note(100))


def test_a_proof_that_shows_nothing_is_no_proof(anchor: Anchor) -> None:
    anchor.pin(note(60), proof)
    wrong: tuple[bytes, ...]
    for wrong in ((), (b"\x00" * 32,), proof(60, 100)[:-1], (*proof(60, 100), b"\x00" * 32), (b"",) * 70):

        def prove(_old: int, _new: int, steps: tuple[bytes, ...] = wrong) -> tuple[bytes, ...]:
            return steps

        with pytest.raises(IntegrityBroken, match="does not continue it"):
            anchor.pin(note(100), prove)
    assert anchor.read() == Pinned(checkpoint(60), note(60))


def test_a_log_rolled_back_while_it_ran_is_told(anchor: Anchor) -> None:
    def of_sixty(old: int, new: int) -> tuple[bytes, ...]:
        if new > 60:
            raise IndexError(new)
        return proof(old, new)

    anchor.pin(note(100), proof)
    with pytest.raises(IntegrityBroken, match="has pinned size 100, and the log is smaller: it was cut or rolled back while it ran"):
        anchor.pin(note(60), of_sixty)


def test_two_views_cannot_both_be_pinned(anchor: Anchor) -> None:
    anchor.pin(note(100, FORKED), forked_proof)
    assert "does not continue it" in refused(anchor, note(100))
    assert "does not continue it" in refused(anchor, note(150))


@pytest.mark.parametrize(
    "unverified_note",
    [
        b"",
        b"garbage",
        note(7)[:-1],
        note(7, signer=Signer.from_seed(ORIGIN, b"\x08" * 32)),
        sign_note(b"hello\n", [KEY]),
        sign_checkpoint(Checkpoint("licet.invalid/another", 7, checkpoint(7).root), [KEY]),
    ],
)
def test_what_is_no_checkpoint_of_this_log_is_neither_pinned_nor_believed(anchor: Anchor, unverified_note: bytes) -> None:
    with pytest.raises(NoteInvalid):
        anchor.pin(unverified_note, proof)
    with pytest.raises(NoteInvalid):
        anchor.begin_anew(unverified_note)
    assert files(anchor) == []
    anchor.path.write_bytes(unverified_note)
    with pytest.raises(IntegrityBroken, match=f"anchor `{anchor.path}` holds no checkpoint of this log"):
        anchor.read()
    assert "holds no checkpoint of this log" in refused(anchor, note(7))
    assert anchor.path.read_bytes() == unverified_note


def test_no_bit_of_the_file_can_change(anchor: Anchor) -> None:
    whole = note(7)
    for place in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        anchor.path.write_bytes(flipped)
        with pytest.raises(IntegrityBroken):
            anchor.read()


@given(garbage=st.binary(max_size=300))
def test_garbage_in_the_file_is_broken(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.mktemp("anchor") / "anchor"
    path.write_bytes(garbage)
    with pytest.raises(IntegrityBroken):
        Anchor(path, TRUST).read()


def test_a_huge_file_is_not_read_to_its_end(anchor: Anchor) -> None:
    with anchor.path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(IntegrityBroken, match=f"at most {NOTE_LIMIT_BYTES} bytes"):
        anchor.read()


def test_a_pipe_or_folder_in_its_place_is_not_waited_for(anchor: Anchor) -> None:
    os.mkfifo(anchor.path)
    with pytest.raises(AnchorUnusable, match="is not a file"):
        anchor.read()
    anchor.path.unlink()
    anchor.path.mkdir()
    with pytest.raises(AnchorUnusable, match="is not a file"):
        anchor.pin(note(7), proof)


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "unmounted" / "anchor", TRUST)
    assert anchor.read() is None
    with pytest.raises(AnchorUnusable, match="cannot be locked: No such file or directory"):
        anchor.pin(note(7), proof)


def test_a_file_that_may_grow_no_further_leaves_the_old_note(anchor: Anchor) -> None:
    anchor.pin(note(7), proof)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))  # a write that goes through in part, like one to a disk that fills up
    try:
        with pytest.raises(AnchorUnusable, match="cannot be written: File too large"):
            anchor.pin(note(8), proof)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert anchor.read() == Pinned(checkpoint(7), note(7))
    assert files(anchor) == ["anchor", "anchor.lock"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read and write everything")
def test_a_folder_that_cannot_be_written_is_told(anchor: Anchor) -> None:
    anchor.pin(note(7), proof)
    anchor.path.parent.chmod(0o500)
    try:
        with pytest.raises(AnchorUnusable, match="cannot be written: Permission denied"):
            anchor.pin(note(8), proof)
        assert anchor.read() == Pinned(checkpoint(7), note(7))
    finally:
        anchor.path.parent.chmod(0o700)


@pytest.mark.parametrize("fault", ["open", "fdopen", "fsync the file", "replace", "fsync the folder"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_write_that_fails_leaves_the_old_note_or_the_new_one(
    anchor: Anchor, monkeypatch: pytest.MonkeyPatch, fault: str, code: int
) -> None:
    anchor.pin(note(7), proof)
    real_open, real_fsync = os.open, os.fsync

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    def opens(path: Path, flags: int, mode: int = 0o777) -> int:
        return fail() if path.name.endswith(".new") else real_open(path, flags, mode)

    def syncs(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode) == (fault == "fsync the folder"):
            fail()
        real_fsync(fd)

    with monkeypatch.context() as patch:
        if fault == "open":
            patch.setattr(os, "open", opens)
        elif fault == "replace":
            patch.setattr(Path, "replace", fail)
        elif fault == "fdopen":
            patch.setattr("licet.witness.anchor._write_durably", fail)
        else:
            patch.setattr(os, "fsync", syncs)
        with pytest.raises(AnchorUnusable, match=f"anchor `{anchor.path}` cannot be written: {os.strerror(code)}"):
            anchor.pin(note(8), proof)
    size = 8 if fault == "fsync the folder" else 7  # in place, but perhaps not after a power cut
    assert anchor.read() == Pinned(checkpoint(size), note(size))
    assert files(anchor) == ["anchor", "anchor.lock"]
    assert anchor.pin(note(9), proof).checkpoint.size == 9


@pytest.mark.parametrize("fault", ["open", "read"])
def test_a_file_that_cannot_be_read_is_told_and_not_written_over(anchor: Anchor, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    anchor.pin(note(7), proof)
    real_open, real_fdopen = os.open, os.fdopen

    def opens(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == anchor.path and fault == "open":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real_open(path, flags, mode)

    def fdopens(fd: int, mode: str, *, closefd: bool = True) -> IO[bytes]:
        if mode == "rb":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real_fdopen(fd, "wb", closefd=closefd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opens)
        if fault == "read":
            patch.setattr(os, "fdopen", fdopens)
        for attempt in (anchor.read, lambda: anchor.pin(note(8), proof), lambda: anchor.begin_anew(note(8))):
            with pytest.raises(AnchorUnusable, match=r"cannot be read: Permission denied|cannot be read: Input/output error"):
                attempt()
    assert anchor.read() == Pinned(checkpoint(7), note(7))


def test_what_a_crash_left_behind_is_written_over(anchor: Anchor) -> None:
    anchor.pin(note(7), proof)
    anchor.path.with_name("anchor.new").write_bytes(note(100)[:50])
    assert anchor.read() == Pinned(checkpoint(7), note(7))
    assert anchor.pin(note(8), proof).checkpoint.size == 8
    assert files(anchor) == ["anchor", "anchor.lock"]


def test_the_file_beside_is_no_way_to_another_file(anchor: Anchor, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    anchor.path.with_name("anchor.new").symlink_to(victim)
    with pytest.raises(AnchorUnusable, match="cannot be written"):
        anchor.pin(note(7), proof)
    assert victim.read_text() == "precious"
    assert anchor.pin(note(7), proof).checkpoint.size == 7


def test_everything_is_flushed_before_and_after_it_takes_its_place(anchor: Anchor, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(fd: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else Path(f"/proc/self/fd/{fd}").readlink().name)
        real_fsync(fd)

    def replace(path: Path, target: Path) -> Path:
        steps.append("replace")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    anchor.pin(note(7), proof)
    assert steps == ["anchor.new", "replace", "folder"]


def test_a_lock_held_for_too_long_is_told(tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor", TRUST, lock_timeout_s=0.05)
    with (tmp_path / "anchor.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AnchorUnusable, match=r"is locked by another process for more than 0.05 s"):
            anchor.pin(note(7), proof)
        assert anchor.read() is None
    assert anchor.pin(note(7), proof).checkpoint.size == 7


def test_a_file_system_without_locks_is_told(anchor: Anchor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(AnchorUnusable, match="cannot be locked: No locks available"):
        anchor.pin(note(7), proof)


def test_a_turn_ends_whatever_happened_in_it(anchor: Anchor) -> None:
    anchor.pin(note(100), proof)
    with pytest.raises(IntegrityBroken):
        anchor.pin(note(100, FORKED), forked_proof)
    assert Anchor(anchor.path, TRUST, lock_timeout_s=0.0).pin(note(101), proof).checkpoint.size == 101


def _pin_many(path: Path, sizes: list[int]) -> None:
    anchor = Anchor(path, TRUST, lock_timeout_s=60.0)
    largest = 0
    for size in sizes:
        held = anchor.pin(note(size), proof).checkpoint.size
        assert held >= max(size, largest)
        largest = held


def test_processes_that_pin_at_once_never_set_it_back(tmp_path: Path) -> None:
    chance = random.Random(7)
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=_pin_many, args=(tmp_path / "anchor", [chance.randrange(len(LEAVES)) for _ in range(30)] + [190 + number]))
        for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    pinned = Anchor(tmp_path / "anchor", TRUST).read()
    assert pinned is not None
    assert pinned.checkpoint.size >= 192


def test_threads_take_turns_too(anchor: Anchor) -> None:
    threads = [threading.Thread(target=_pin_many, args=(anchor.path, [*range(start, 150, 7), 199])) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert anchor.read() == Pinned(checkpoint(199), note(199))


def test_after_a_rotation_the_old_pin_still_opens_and_the_old_key_pins_no_more(anchor: Anchor) -> None:
    successor = Signer.from_seed(ORIGIN, b"\x0a" * 32)
    anchor.pin(note(40), proof)
    rotated = Anchor(anchor.path, verify_rotation(ORIGIN, KEY.vkey, [endorse(checkpoint(60), KEY, successor)]))
    assert rotated.read() == Pinned(checkpoint(40), note(40))
    with pytest.raises(NoteInvalid, match="no key that may sign"):
        rotated.pin(note(70), proof)
    assert rotated.pin(note(70, signer=successor), proof).checkpoint.size == 70


def test_a_store_set_back_to_before_a_rotation_is_told(anchor: Anchor) -> None:
    successor = Signer.from_seed(ORIGIN, b"\x0a" * 32)
    Anchor(anchor.path, verify_rotation(ORIGIN, KEY.vkey, [endorse(checkpoint(60), KEY, successor)])).pin(note(70, signer=successor), proof)
    with pytest.raises(IntegrityBroken, match="or the store was set back to before its key was rotated"):
        anchor.read()  # the older store does not know the endorsement


def test_after_a_loss_was_accepted_the_former_pin_is_kept_as_evidence(anchor: Anchor) -> None:
    anchor.pin(note(100), proof)
    origin = "licet.invalid/anew"
    key = Signer.from_seed(origin, b"\x0b" * 32)
    fresh = sign_checkpoint(Checkpoint(origin, 60, checkpoint(60).root), [key])
    anew = Anchor(anchor.path, verify_rotation(origin, key.vkey))
    with pytest.raises(IntegrityBroken, match="holds no checkpoint of this log"):
        anew.pin(fresh, proof)
    kept = anew.begin_anew(fresh)
    assert kept is not None
    assert kept.read_bytes() == note(100)
    assert anew.read() == Pinned(Checkpoint(origin, 60, checkpoint(60).root), fresh)
    assert anew.begin_anew(fresh) is None
    assert files(anchor) == sorted(["anchor", "anchor.lock", kept.name])


def test_to_begin_anew_needs_nothing_before(anchor: Anchor) -> None:
    assert anchor.begin_anew(note(7)) is None
    assert anchor.read() == Pinned(checkpoint(7), note(7))


def test_garbage_can_be_put_aside(anchor: Anchor) -> None:
    anchor.path.write_bytes(b"garbage")
    kept = anchor.begin_anew(note(7))
    assert kept is not None
    assert kept.read_bytes() == b"garbage"
    assert anchor.read() == Pinned(checkpoint(7), note(7))
