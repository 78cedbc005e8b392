"""Keys, notes, cosignatures, head entries and endorsements, byte for byte as `tests/vectors/checkpoint_v1.json` has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licet.ledger.checkpoint import (
    Checkpoint,
    HeadEntry,
    decode_head_entry,
    encode_head_entry,
    head_leaf,
    origin_of_log,
    sign_checkpoint,
)
from licet.ledger.merkle import root_of
from licet.ledger.note import Cosigner, Signer, add_signatures
from licet.ledger.rotation import endorse, verify_rotation

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "checkpoint_v1.json").read_text(encoding="utf-8"))
KEYS = VECTORS["keys"]
ORIGIN = VECTORS["head_origin"]
LEAVES = [bytes.fromhex(entry["leaf"]) for entry in VECTORS["head_entries"]]
WITNESS = Cosigner.from_seed(KEYS["witness"]["name"], bytes.fromhex(KEYS["witness"]["seed"]))


def signer(key: str) -> Signer:
    return Signer.from_seed(KEYS[key]["name"], bytes.fromhex(KEYS[key]["seed"]))


@pytest.mark.parametrize("key", ["log", "successor"])
def test_a_seed_makes_this_key(key: str) -> None:
    assert signer(key).vkey == KEYS[key]["vkey"]


def test_a_seed_makes_this_key_for_cosignatures() -> None:
    assert WITNESS.vkey == KEYS["witness"]["vkey"]


@pytest.mark.parametrize(("log", "origin"), VECTORS["origins"].items())
def test_a_log_has_this_origin(log: str, origin: str) -> None:
    assert origin_of_log(ORIGIN, log) == origin


@pytest.mark.parametrize("vector", VECTORS["head_entries"], ids=lambda v: f"{v['log']} at {v['size']}")
def test_a_head_entry_has_these_bytes_and_this_leaf(vector: dict[str, Any]) -> None:
    entry = HeadEntry(*(vector[name] for name in ("v", "log", "size", "root", "at")))
    assert encode_head_entry(entry) == vector["bytes"].encode()
    assert decode_head_entry(vector["bytes"].encode()) == entry
    assert head_leaf(entry).hex() == vector["leaf"]


@pytest.mark.parametrize("vector", VECTORS["checkpoints"], ids=lambda v: f"{v['size']} by {v['signer']}")
def test_a_head_log_has_this_checkpoint(vector: dict[str, Any]) -> None:
    checkpoint = Checkpoint(ORIGIN, vector["size"], root_of(LEAVES[: vector["size"]]))
    assert checkpoint.root.hex() == vector["root"]
    assert checkpoint.text == vector["text"].encode()
    assert sign_checkpoint(checkpoint, [signer(vector["signer"])]) == vector["note"].encode()
    assert WITNESS.cosign(checkpoint.text, vector["timestamp_s"]) == vector["cosignature"].encode()


def test_an_endorsement_has_these_bytes() -> None:
    vector = VECTORS["endorsement"]
    checkpoint = Checkpoint(ORIGIN, vector["size"], bytes.fromhex(vector["root"]))
    assert endorse(checkpoint, signer("log"), signer("successor")) == vector["note"].encode()


@pytest.mark.parametrize("key", ["log", "successor"])
@pytest.mark.parametrize("vector", VECTORS["checkpoints"], ids=lambda v: f"{v['size']} by {v['signer']}")
def test_every_checkpoint_opens_from_either_key(key: str, vector: dict[str, Any]) -> None:
    trust = verify_rotation(ORIGIN, KEYS[key]["vkey"], [VECTORS["endorsement"]["note"].encode()])
    whole = add_signatures(vector["note"].encode(), [vector["cosignature"].encode()])
    checkpoint, note = trust.open(whole, [WITNESS.verifier])
    assert checkpoint.root.hex() == vector["root"]
    assert note.signatures[1].timestamp_s == vector["timestamp_s"]
