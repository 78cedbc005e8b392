"""A log of a thousand small entries, and what tests do with the folder that it is exported to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from licet.ledger.checkpoint import Checkpoint, sign_checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.note import Cosigner, Signer
from licet.ledger.record import leaf_hash
from licet.ledger.tile_folder import Written, write_tiles
from licet.ledger.tile_verify import TilesReport, verify_tiles
from licet.ledger.tiles import path_of, tiles_at

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


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
