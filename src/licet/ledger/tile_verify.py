"""Whether a folder of tiles is the log that its checkpoint signs: every byte of it computed again from the entries.

The checks, each with its number in the code:

1. The checkpoint is signed by a key of its log, and by no given key wrongly; else nothing that follows would mean anything, and it raises.
2. Every bundle of entries that the checkpoint covers is there, well-formed, with as many entries as its place has.
3. Every tile of hashes that the checkpoint covers is there and holds, byte for byte, what the entries give.
4. The root over all entries is the one that is signed.
5. Partial tiles of earlier checkpoints are beginnings of what stands there now.
6. There is no other file: what no checkpoint covers was left by an interrupted export, or put there.

Not guaranteed: that the checkpoint is the newest one, or the only one of its size (that takes a witness); signatures of unknown keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from licet.errors import IntegrityBroken
from licet.ledger.checkpoint import Checkpoint, open_checkpoint
from licet.ledger.merkle import HASH_BYTES
from licet.ledger.note import Signature, Verifier
from licet.ledger.record import leaf_hash
from licet.ledger.report import Findings, Problem
from licet.ledger.tile_folder import CHECKPOINT, WRITING, TileFolder
from licet.ledger.tiles import HEIGHT, WIDTH, TileBuilder, TileName, encode_entries, parse_entries, parse_tile, parse_tile_path, path_of


class TilesReport(Struct, frozen=True):
    """What a verification of tiles found. `root` is that of the entries (hex); `signatures` are those of known keys."""

    origin: str
    size: int
    root: str
    signatures: tuple[Signature, ...]
    problem_count: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Nothing was found. What that does not show is said in ledger/tile_verify.py."""
        return self.problem_count == 0


def verify_tiles(
    folder: Path,
    origin: str,
    log_keys: Iterable[Verifier],
    witness_keys: Iterable[Verifier] = (),
    progress: Callable[[int], None] = lambda _entries: None,
) -> TilesReport:
    """What is wrong with the log in this folder. `progress` is told how many entries have been read.

    Raises `NoteInvalid` when its checkpoint is not one of this log, signed by one of its keys, and `IntegrityBroken` when there is none.
    """
    files = TileFolder(folder)
    unverified = files.find_checkpoint()
    if unverified is None:
        raise IntegrityBroken(f"`{folder}` holds no checkpoint")
    checkpoint, note = open_checkpoint(unverified, origin, log_keys, witness_keys)  # 1
    check = _Check(files, checkpoint)
    for done in check.entries():
        progress(done)
    check.others()
    problems = check.findings
    return TilesReport(origin, checkpoint.size, check.builder.root().hex(), note.signatures, problems.count, tuple(problems.problems))


class _Check:
    """One verification: goes through the entries once, and then through what else is in the folder."""

    def __init__(self, files: TileFolder, checkpoint: Checkpoint) -> None:
        self.findings = Findings()
        self.builder = TileBuilder()
        self._files = files
        self._checkpoint = checkpoint
        self._disagree: list[tuple[TileName, int, bytes, bytes]] = []  # tiles of leaf hashes, and where they differ from the entries

    def entries(self) -> Iterator[int]:
        """Every bundle, with the tiles that it fills; gives the number of entries so far."""
        size = self._checkpoint.size
        for n in range(-(-size // WIDTH)):
            leaves = self._leaves(TileName(None, n, min(size - n * WIDTH, WIDTH)))
            for tile in self.builder.extend(leaves):
                self._compare(TileName(tile.level, tile.n, WIDTH), tile.hashes)
            yield self.builder.size
        for level, row in enumerate(self.builder.edge):
            if row:
                self._compare(TileName(level, size >> HEIGHT * (level + 1), len(row)), b"".join(row))
        self._judge(right=self.builder.root() == self._checkpoint.root)

    def others(self) -> None:
        """The files that the tree as it stands does not have."""
        for folder, _, names in os.walk(self._files.folder):
            for name in names:
                path = (Path(folder) / name).relative_to(self._files.folder).as_posix().encode(errors="backslashreplace").decode()
                if path not in {CHECKPOINT, WRITING}:
                    self._other(path)

    def _judge(self, *, right: bool) -> None:
        """4. The root says who is wrong where entries and the hashes of leaves disagree: with the signed root, it is not the entries."""
        for name, at, of_entry, in_tile in self._disagree:
            if right:
                self._add(path_of(name), f"hash {at} is not what the entries give", of_entry, in_tile)
            else:
                message = f"entry {at} does not hash to what `{path_of(name)}` holds"
                self._add(path_of(name._replace(level=None)), message, in_tile, of_entry)
        if not right:
            self._add(CHECKPOINT, "the entries have another root", self._checkpoint.root, self.builder.root())

    def _leaves(self, name: TileName) -> Sequence[bytes]:
        """The leaf hashes of a bundle. Where it cannot be read those of its tile stand in, so that one fault is not told as many."""
        bundle = self._files.find(path_of(name))
        try:
            return [leaf_hash(entry) for entry in parse_entries(bundle, name.width)] if bundle is not None else self._stand_in(name)
        except IntegrityBroken as error:
            self._add(path_of(name), str(error))  # 2
            return self._stand_in(name, missing=False)

    def _stand_in(self, name: TileName, *, missing: bool = True) -> Sequence[bytes]:
        if missing:
            self._add(path_of(name), "is missing")  # 2
        length = name.width * HASH_BYTES
        tile = self._files.find(path_of(name._replace(level=0))) or b""
        return parse_tile(tile[:length].ljust(length, b"\0"), name.width)

    def _compare(self, name: TileName, expected: bytes) -> None:
        """3: the tile's file holds these hashes."""
        unverified = self._files.find(path_of(name))
        if unverified is None:
            self._add(path_of(name), "is missing")
        elif len(unverified) != len(expected):
            self._add(path_of(name), "has another length", f"{len(expected)} bytes", f"{len(unverified)}")
        elif unverified != expected:
            hashes = enumerate(zip(parse_tile(expected, name.width), parse_tile(unverified, name.width), strict=True))
            at, (right, wrong) = next((at, pair) for at, pair in hashes if pair[0] != pair[1])
            if name.level == 0:
                self._disagree.append((name, at, right, wrong))
            else:
                self._add(path_of(name), f"hash {at} is not what the entries give", right, wrong)

    def _other(self, path: str) -> None:
        try:
            name = parse_tile_path(path)
        except IntegrityBroken:
            self._add(path, "is no file of a log")  # 6
            return
        covered = min(max((self._checkpoint.size >> HEIGHT * (name.level or 0)) - name.n * WIDTH, 0), WIDTH)
        if name.width > covered:
            self._add(path, f"is not covered by the checkpoint of size {self._checkpoint.size}")  # 6
        elif name.width < covered and self._files.find(path) != self._beginning(name, covered):
            self._add(path, "is not a beginning of what stands there now")  # 5

    def _beginning(self, name: TileName, covered: int) -> bytes | None:
        """What a partial file held, if the one in its place holds what it must; that was compared before."""
        whole = self._files.find(path_of(name._replace(width=covered)))
        if whole is None or name.level is not None:
            return whole and whole[: name.width * HASH_BYTES]
        with suppress(IntegrityBroken):
            return encode_entries(parse_entries(whole, covered)[: name.width])
        return None

    def _add(self, path: str, message: str, expected: object = "", found: object = "") -> None:
        self.findings.add(self._checkpoint.origin, None, path, message, expected=expected, found=found)
