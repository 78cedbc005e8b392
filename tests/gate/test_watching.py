"""Files that are watched: a change counts when it has come to rest, and what does not load is tried again when something moves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.errors import StoreUnavailable
from licet.gate.watching import Watcher, files_of
from tests.gate.files import Files, world_of_files
from tests.world import CONFIG, POLICIES

TIGHTER = POLICIES.replace("<= 1000000", "<= 1000")
DECLARED = CONFIG + '[tools."door.open"]\naccess = "write"\nschema_file = "door.json"\n'


@pytest.fixture
def w(tmp_path: Path) -> Iterator[Files]:
    (tmp_path / "door.json").write_text('{"type": "object", "properties": {}, "additionalProperties": false}')
    with world_of_files(tmp_path, DECLARED) as made:
        yield made


@pytest.fixture
def watcher(w: Files) -> Watcher:
    """A watcher that has had its first look."""
    watcher = Watcher(w.gate)
    watcher.tick()
    assert w.gate.reloads.succeeded == 1, "what changed before it began to watch would be found"
    watcher.tick()
    assert w.gate.reloads.succeeded == 1
    return watcher


def test_a_change_counts_once_it_has_come_to_rest(w: Files, watcher: Watcher) -> None:
    w.policies(TIGHTER[: len(TIGHTER) // 2])
    watcher.tick()
    w.policies(TIGHTER)
    watcher.tick()
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (1, 0), "half of a file was never read"
    watcher.tick()
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (2, 0)
    w.denied(w.adjust(2_500), "no_permit")
    watcher.tick()
    assert w.gate.reloads.succeeded == 2


@pytest.mark.parametrize("name", ["licet.toml", "door.json", "policies/all.cedar"])
def test_each_file_that_a_reload_reads_is_watched(w: Files, watcher: Watcher, name: str) -> None:
    assert [str(path.relative_to(w.folder)) for path in files_of(w.gate.settings)] == ["licet.toml", "policies/all.cedar", "door.json"]
    file = w.folder / name
    file.write_text(file.read_text() + "\n")
    watcher.tick()
    watcher.tick()
    assert w.gate.reloads.succeeded == 2


def test_a_change_that_keeps_size_and_time_is_seen(w: Files, watcher: Watcher) -> None:
    file = w.folder / "policies" / "all.cedar"
    before = file.stat()
    w.policies(POLICIES.replace("1000000", "1000001"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    watcher.tick()
    watcher.tick()
    assert w.gate.reloads.succeeded == 2


def test_a_file_that_comes_or_goes_is_a_change(w: Files, watcher: Watcher) -> None:
    more = w.folder / "policies" / "more.cedar"
    more.write_text('@id("none")\nforbid (principal, action == Action::"door.open", resource);')
    watcher.tick()
    watcher.tick()
    assert "none" in {policy.id for policy in w.gate.scene.engine.bundle.policies}
    more.unlink()
    watcher.tick()
    watcher.tick()
    assert "none" not in {policy.id for policy in w.gate.scene.engine.bundle.policies}
    assert w.gate.reloads.succeeded == 3


def test_a_file_that_was_only_touched_is_not_read_again(w: Files, watcher: Watcher) -> None:
    os.utime(w.folder / "licet.toml")
    for _ in range(3):
        watcher.tick()
    assert w.gate.reloads.succeeded == 1


def test_what_does_not_load_is_not_tried_again_until_something_moves(w: Files, watcher: Watcher) -> None:
    w.policies("permit (")
    for _ in range(4):
        watcher.tick()
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (1, 1)
    w.policies(TIGHTER)
    for _ in range(4):
        watcher.tick()
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (2, 1)


def test_what_failed_for_the_stores_sake_is_tried_at_each_look(w: Files, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    w.policies(TIGHTER)
    with monkeypatch.context() as patched:
        patched.setattr(w.gate._opened().writer, "submit", down)
        for _ in range(4):
            watcher.tick()
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (1, 3)
    watcher.tick()
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (2, 3)


def test_who_asks_gets_a_reload_although_nothing_is_watched(w: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    w.gate.seal()
    reloaded = threading.Event()
    reload = w.gate.reload

    def seen() -> None:
        reload()
        reloaded.set()

    monkeypatch.setattr(w.gate, "reload", seen)
    watcher = Watcher(w.gate, watch=False, interval_s=0.001)
    watcher.start()
    try:
        w.policies(TIGHTER)
        watcher.ask()
        assert reloaded.wait(20)
    finally:
        watcher.close()
    assert w.gate.reloads.succeeded == 1
    w.denied(w.adjust(2_500), "no_permit")


def test_the_thread_outlives_what_one_look_meets(w: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    looked = threading.Semaphore(0)

    def broken() -> None:
        looked.release()
        raise RuntimeError("unheard of")

    watcher = Watcher(w.gate, interval_s=0.001)
    monkeypatch.setattr(watcher, "tick", broken)
    watcher.start()
    for _ in range(3):
        assert looked.acquire(timeout=20)
    watcher.close()
    assert "an error while reloading" in caplog.text
