"""Bytes that must never change: proofs as they are handed out, and tiles as an independent implementation builds them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from licet.ledger.checkpoint import Checkpoint, sign_checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.note import Verifier
from licet.ledger.prove import Trusted, prove, prove_consistency, verify_consistency, verify_proof
from licet.ledger.record import leaf_hash
from licet.ledger.tile_folder import write_tiles
from licet.ledger.tiles import HEIGHT, WIDTH, HashTree, TileBuilder, TileName, encode_entries, path_of
from licet.model import Receipt
from tests.ledger.small_ledger import (
    ORIGIN,
    RECORDS,
    SIGNER,
    SUCCESSOR,
    WITNESS,
    Leaves,
    handover,
    head,
    head_note,
    head_tree,
    proof,
    rotated_proof,
    tree,
)

VECTORS = Path(__file__).parents[1] / "vectors"
PROOFS = json.loads((VECTORS / "proof.json").read_text())
TILES = json.loads((VECTORS / "tlog_tiles.json").read_text())
TREE = json.loads((VECTORS / "rfc6962_tree.json").read_text())


def made() -> dict[str, Any]:
    """What tests/vectors/proof.json holds, made anew."""
    return {
        "origin": ORIGIN,
        "vkey": SIGNER.vkey,
        "witness_vkey": WITNESS.vkey,
        "receipt": json.loads(msgspec.json.encode(Receipt("acme", 217, leaf_hash(RECORDS["acme"][217]).hex()))),
        "proof": proof().decode(),
        "proof_of_a_leaf": prove(tree("acme"), 217, head(size=300, head_size=5)).decode(),
        "proof_across_a_rotation": rotated_proof().decode(),
        "consistency": prove_consistency(head_tree(), head_note(3), head_note(8)).decode(),
        "consistency_across_a_rotation": prove_consistency(head_tree(), head_note(3), head_note(8, [SUCCESSOR]), [handover()]).decode(),
    }


def test_proofs_are_made_byte_for_byte() -> None:
    assert made() == {name: value for name, value in PROOFS.items() if name != "about"}


@pytest.mark.parametrize("name", ["proof", "proof_of_a_leaf", "proof_across_a_rotation"])
def test_proofs_of_the_vectors_hold(name: str) -> None:
    trusted = Trusted(PROOFS["origin"], PROOFS["vkey"], (Verifier.parse(PROOFS["witness_vkey"]),), 1)
    report = verify_proof(PROOFS[name].encode(), trusted, Receipt(**PROOFS["receipt"]))
    assert (report.envelope is None) == (report.payload is None) == (name == "proof_of_a_leaf")


@pytest.mark.parametrize("name", ["consistency", "consistency_across_a_rotation"])
def test_consistency_of_the_vectors_holds(name: str) -> None:
    trusted = Trusted(PROOFS["origin"], PROOFS["vkey"], (Verifier.parse(PROOFS["witness_vkey"]),), 1)
    report = verify_consistency(PROOFS[name].encode(), trusted)
    assert (report.first.size, report.second.size) == (3, 8)


def numbers(size: int) -> list[bytes]:
    """The entries of the published trees."""
    return [b"%d" % number for number in range(size)]


def digest_of(files: dict[str, str]) -> str:
    return hashlib.sha256("".join(f"{files[path]}  {path}\n" for path in sorted(files)).encode()).hexdigest()


def tile_files(size: int) -> dict[str, bytes]:
    """Every tile and bundle of the tree over the first numbers."""
    entries, builder = numbers(size), TileBuilder()
    files = {path_of(TileName(tile.level, tile.n, WIDTH)): tile.hashes for tile in builder.extend([leaf_hash(entry) for entry in entries])}
    for level, row in enumerate(builder.edge):
        if row:
            files[path_of(TileName(level, size >> HEIGHT * (level + 1), len(row)))] = b"".join(row)
    for n in range(-(-size // WIDTH)):
        bundle = entries[n * WIDTH : (n + 1) * WIDTH]
        files[path_of(TileName(None, n, len(bundle)))] = encode_entries(bundle)
    return files


@pytest.mark.parametrize("vector", TILES["trees"], ids=lambda vector: str(vector["size"]))
def test_tiles_are_those_of_an_independent_implementation(vector: dict[str, Any]) -> None:
    files = tile_files(vector["size"])
    assert len(files) == vector["files"]
    assert {path: files[path].hex() for path in vector["bytes"]} == vector["bytes"]
    assert digest_of({path: hashlib.sha256(data).hexdigest() for path, data in files.items()}) == vector["digest"]


@pytest.mark.parametrize("vector", TILES["trees"][:3], ids=lambda vector: str(vector["size"]))
def test_an_exported_folder_is_that_of_an_independent_implementation(vector: dict[str, Any], tmp_path: Path) -> None:
    entries = numbers(vector["size"])
    state = Checkpoint(ORIGIN, len(entries), root_of([leaf_hash(entry) for entry in entries]))
    write_tiles(tmp_path, sign_checkpoint(state, [SIGNER]), lambda start, stop: iter(entries[start:stop]))
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "checkpoint"]
    assert {path.relative_to(tmp_path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == vector["sha256"]


def test_the_published_tree_of_rfc6962_is_read_through_tiles() -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in TREE["inputs"]]
    published = HashTree(Leaves(leaves), len(leaves))
    assert [published.root_at(size).hex() for size in range(1, 9)] == TREE["roots"]
    assert published.root_at(0).hex() == TREE["empty_root"]
    for vector in TREE["inclusion"]:
        assert [step.hex() for step in published.inclusion_proof(vector["index"], vector["size"])] == vector["path"]
    for vector in TREE["consistency"]:
        assert [step.hex() for step in published.consistency_proof(vector["first"], vector["second"])] == vector["path"]
