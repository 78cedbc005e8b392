"""What others' software says of our logs: PyPI `aics-tlog`, a verifier of C2SP transparency logs that shares no code with this one.

It runs in an environment of its own (see tests/other_python.py); where that cannot be had, the tests are skipped and say why.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from licet.ledger.checkpoint import Checkpoint, sign_checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.note import Signer
from licet.ledger.record import leaf_hash
from licet.ledger.tile_folder import write_tiles
from licet.ledger.tiles import HashTree
from tests.ledger.small_ledger import HEAD, RECORDS, SIGNER, WITNESS, Leaves, log_signer
from tests.other_python import python_with

pytestmark = pytest.mark.heavy

PACKAGE = "aics-tlog==0.2.1"
AUDIT = """
import json, sys
from aics_tlog import FileSystemTileReader, audit_tiles

try:
    report = audit_tiles(FileSystemTileReader(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3]))
    print(json.dumps({"ok": True, "tiles": report.tiles, "bundles": report.bundles}))
except Exception as error:
    print(json.dumps({"ok": False, "error": str(error)}))
"""


class Log(Struct, frozen=True):
    """A log and the key of its checkpoints."""

    signer: Signer
    entries: tuple[bytes, ...]

    @property
    def leaves(self) -> list[bytes]:
        return [leaf_hash(entry) for entry in self.entries]

    def state(self, size: int) -> Checkpoint:
        return Checkpoint(self.signer.name, size, root_of(self.leaves[:size]))

    def note(self, size: int) -> bytes:
        state = self.state(size)
        return sign_checkpoint(state, [self.signer]) + WITNESS.cosign(state.text, 1_800_000_000)

    def export(self, folder: Path, size: int) -> Path:
        write_tiles(folder, self.note(size), lambda start, stop: iter(self.entries[start:stop]))
        return folder


LOGS = {
    "head log": Log(SIGNER, tuple(HEAD)),
    "log of a tenant": Log(log_signer("acme"), tuple(RECORDS["acme"])),
    "log of thousands": Log(log_signer("acme/ä +"), tuple([b'{"n":%d}' % number for number in range(3000)])),
}
Verify = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def verify() -> Verify:
    """Runs the verifier; what it says is the result, and `ok` is what its exit code says too."""
    python = python_with(PACKAGE)

    def run(*arguments: object) -> dict[str, Any]:
        command = [str(python), "-I", "-m", "aics_tlog", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return said(done)

    return run


@pytest.fixture(scope="module")
def audit() -> Callable[[Path, Checkpoint], dict[str, Any]]:
    """Has it read every tile and every entry."""
    python = python_with(PACKAGE)

    def run(folder: Path, state: Checkpoint) -> dict[str, Any]:
        command = [str(python), "-I", "-c", AUDIT, str(folder), str(state.size), state.root.hex()]
        return said(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False))

    return run


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    assert done.returncode in ((0,) if report["ok"] else (0, 1))
    return report


def proof_file(path: Path, proof: Sequence[bytes]) -> Path:
    path.write_text("".join(f"{base64.b64encode(step).decode()}\n" for step in proof))
    return path


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest) -> Log:
    return LOGS[request.param]


def test_it_reads_every_tile_and_entry(log: Log, audit: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    size = len(log.entries)
    for part in (size // 3, size // 2, size):  # as an export that is extended
        log.export(tmp_path / "log", part)
        report = audit(tmp_path / "log", log.state(part))
        assert report["ok"], report
        assert report["bundles"] == -(-part // 256)


def test_it_verifies_the_checkpoint_and_its_cosignature(log: Log, verify: Verify, tmp_path: Path) -> None:
    folder = log.export(tmp_path / "log", len(log.entries))
    arguments = ("verify-checkpoint", "--tiles", folder, "--log-key", log.signer.vkey, "--origin", log.signer.name)
    report = verify(*arguments, "--witness-key", WITNESS.vkey, "--quorum", 1)
    assert report["ok"], report
    assert report["tiles_ok"]
    assert (report["origin"], report["size"]) == (log.signer.name, len(log.entries))
    assert base64.b64decode(report["root"]) == log.state(len(log.entries)).root
    refused = verify("verify-checkpoint", "--tiles", folder, "--log-key", Signer.from_seed(log.signer.name, bytes(32)).vkey)
    assert not refused["ok"]


def test_it_proves_entries_out_of_the_tiles(log: Log, verify: Verify, tmp_path: Path) -> None:
    size = len(log.entries)
    folder = log.export(tmp_path / "log", size)
    for index in {0, size // 2, size - 1}:
        out = tmp_path / f"entry-{index}"
        arguments = ("verify-inclusion", "--tiles", folder, "--log-key", log.signer.vkey)
        report = verify(*arguments, "--index", index, "--entry-out", out)
        assert report["ok"], report
        assert report["leaf_hash"] == log.leaves[index].hex()
        assert out.read_bytes() == log.entries[index]


def test_it_verifies_our_inclusion_proofs(log: Log, verify: Verify, tmp_path: Path) -> None:
    size = len(log.entries)
    tree = HashTree(Leaves(log.leaves), size)
    (tmp_path / "checkpoint").write_bytes(log.note(size))
    for index in {0, size // 3, size - 1}:
        entry, wrong = tmp_path / "entry", tmp_path / "wrong"
        entry.write_bytes(log.entries[index])
        wrong.write_bytes(log.entries[index] + b" ")
        proof = proof_file(tmp_path / "proof", tree.inclusion_proof(index))
        rest = ("--index", index, "--proof", proof, "--checkpoint", tmp_path / "checkpoint", "--log-key", log.signer.vkey)
        report = verify("verify-inclusion", "--leaf", entry, *rest)
        assert report["ok"], report
        assert report["checkpoint_verified"]
        assert not verify("verify-inclusion", "--leaf", wrong, *rest)["ok"]


def test_it_verifies_that_the_log_only_grew(log: Log, verify: Verify, tmp_path: Path) -> None:
    size = len(log.entries)
    folder = log.export(tmp_path / "log", size)
    tree = HashTree(Leaves(log.leaves), size)
    for first in {1, size // 2, size - 1}:
        old = tmp_path / "old"
        old.write_bytes(log.note(first))
        out_of_tiles = verify("verify-consistency", "--tiles", folder, "--log-key", log.signer.vkey, "--old-checkpoint", old)
        assert out_of_tiles["ok"], out_of_tiles
        rest = ("--old-size", first, "--new-size", size, "--proof", proof_file(tmp_path / "proof", tree.consistency_proof(first)))
        roots = [base64.b64encode(root_of(log.leaves[:part])).decode() for part in (first, size)]
        report = verify("verify-consistency", *rest, "--old-root", roots[0], "--new-root", roots[1])
        assert report["ok"], report
        assert not verify("verify-consistency", *rest, "--old-root", roots[1], "--new-root", roots[0])["ok"]


def test_it_refuses_what_was_changed(log: Log, verify: Verify, audit: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """What it accepted above means something."""
    size = len(log.entries)
    folder = log.export(tmp_path / "log", size)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for kind in ("tile/0/", "tile/entries/"):
        path = next(path for path in files if kind in str(path))
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert not audit(folder, log.state(size))["ok"], path
        path.write_bytes(data)
    assert audit(folder, log.state(size))["ok"]
    note = folder / "checkpoint"
    note.write_bytes(note.read_bytes().replace(b"\n%d\n" % size, b"\n%d\n" % (size + 1)))
    assert not verify("verify-checkpoint", "--tiles", folder, "--log-key", log.signer.vkey)["ok"]
