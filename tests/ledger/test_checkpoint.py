"""Checkpoints and entries of the head log: exact bytes, one form, and who may sign them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.checkpoint import (
    SIZE_LIMIT,
    Checkpoint,
    HeadEntry,
    decode_head_entry,
    encode_head_entry,
    head_leaf,
    open_checkpoint,
    origin_of_log,
    sign_checkpoint,
)
from licet.ledger.merkle import EMPTY_ROOT
from licet.ledger.note import Cosigner, Signer, Verifier, add_signatures, is_key_name, sign_note
from licet.ledger.record import leaf_hash
from licet.names import name_problem

FOLDER = Path(__file__).parents[1] / "vectors"
PUBLISHED = [vector for vector in json.loads((FOLDER / "signed_note.json").read_text())["notes"] if "checkpoint" in vector]

ORIGIN = "licet.invalid/3f2a9c"
ROOT = bytes(range(32))
KEY = Signer.from_seed(ORIGIN, b"\x01" * 32)
OTHER = Signer.from_seed(ORIGIN, b"\x02" * 32)
WITNESS = Cosigner.from_seed("witness.invalid/w1", b"\x03" * 32)
CHECKPOINT = Checkpoint(ORIGIN, 7, ROOT)
NOTE = sign_checkpoint(CHECKPOINT, [KEY])
ENTRY = HeadEntry(1, "acme", 7, ROOT.hex(), 1_750_000_000_000_000)
ENTRY_BYTES = encode_head_entry(ENTRY)


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda v: v["name"])
def test_published_checkpoints_open(vector: dict[str, Any]) -> None:
    note = f"{vector['text']}\n{vector['signatures']}".encode()
    expected = vector["checkpoint"]
    checkpoint, _ = open_checkpoint(note, expected["origin"], [Verifier.parse(vkey) for vkey in vector["vkeys"]])
    assert checkpoint == Checkpoint(expected["origin"], expected["size"], bytes.fromhex(expected["root"]))
    assert checkpoint.text == vector["text"].encode()


def test_a_checkpoint_tells_its_witnesses() -> None:
    note = add_signatures(NOTE, [WITNESS.cosign(CHECKPOINT.text, 1_750_000_000)])
    checkpoint, opened = open_checkpoint(note, ORIGIN, [KEY.verifier], [WITNESS.verifier])
    assert checkpoint == CHECKPOINT
    assert [(signature.name, signature.timestamp_s) for signature in opened.signatures] == [
        (ORIGIN, None),
        ("witness.invalid/w1", 1_750_000_000),
    ]


def test_a_witness_alone_cannot_speak_for_a_log() -> None:
    unsigned = sign_checkpoint(CHECKPOINT, [OTHER])
    forged = add_signatures(unsigned, [WITNESS.cosign(CHECKPOINT.text, 5)])
    with pytest.raises(NoteInvalid, match=f"not signed by a key of `{ORIGIN}`"):
        open_checkpoint(forged, ORIGIN, [KEY.verifier], [WITNESS.verifier])


def test_the_checkpoint_of_another_log_is_refused_though_the_key_is_the_same() -> None:
    note = sign_checkpoint(Checkpoint("licet.invalid/\u202eother", 7, ROOT), [KEY])
    with pytest.raises(NoteInvalid, match=r"is of `licet.invalid/\\u202eother`, not of `licet.invalid/3f2a9c`"):
        open_checkpoint(note, ORIGIN, [KEY.verifier])


def test_a_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="a checkpoint has an origin"):
        open_checkpoint(sign_note(b"hello\n", [KEY]), ORIGIN, [KEY.verifier])


def test_extension_lines_are_kept_and_signed() -> None:
    checkpoint = Checkpoint(ORIGIN, 7, ROOT, ("one", "two\u00a0words"))
    note = sign_checkpoint(checkpoint, [KEY])
    assert open_checkpoint(note, ORIGIN, [KEY.verifier])[0] == checkpoint
    with pytest.raises(NoteInvalid, match="does not verify"):
        open_checkpoint(note.replace(b"one", b"two"), ORIGIN, [KEY.verifier])


ROOT_LINE = CHECKPOINT.text.split(b"\n")[2]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"o\n7\n",
        b"o\n7\n" + ROOT_LINE,
        b"\n7\n" + ROOT_LINE + b"\n",
        b"o\n\n" + ROOT_LINE + b"\n",
        b"o\n07\n" + ROOT_LINE + b"\n",
        b"o\n+7\n" + ROOT_LINE + b"\n",
        b"o\n-7\n" + ROOT_LINE + b"\n",
        b"o\n 7\n" + ROOT_LINE + b"\n",
        b"o\n7 \n" + ROOT_LINE + b"\n",
        b"o\n7_0\n" + ROOT_LINE + b"\n",
        "o\n\u0667\n".encode() + ROOT_LINE + b"\n",
        b"o\n9223372036854775808\n" + ROOT_LINE + b"\n",
        b"o\n" + b"9" * 5000 + b"\n" + ROOT_LINE + b"\n",
        b"o\n0\n" + ROOT_LINE + b"\n",
        b"o\n7\n" + ROOT_LINE[:-1] + b"\n",
        b"o\n7\n" + ROOT_LINE[:-2] + b"9=\n",  # bits behind the last byte
        b"o\n7\nAAAA\n",
        b"o\n7\n" + ROOT_LINE + b"AAAA\n",
        b"o\n7\n " + ROOT_LINE + b"\n",
        b"o\n7\n" + ROOT_LINE + b"\n\n",
        b"o\n7\n" + ROOT_LINE + b"\n\nextension\n",
        b"o\n7\n" + ROOT_LINE + b"\r\n",
        b"o\t\n7\n" + ROOT_LINE + b"\n",
        b"\xff\n7\n" + ROOT_LINE + b"\n",
        CHECKPOINT.text + b"no newline",
    ],
)
def test_what_is_not_in_its_one_form_is_no_checkpoint(text: bytes) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    ("origin", "size", "root", "extensions", "problem"),
    [
        ("", 7, ROOT, (), "not empty"),
        ("a\nb", 7, ROOT, (), "no control characters"),
        ("\ud800", 7, ROOT, (), "no control characters"),
        ("a", 7, ROOT, ("",), "not empty"),
        ("a", 7, ROOT, ("b\n",), "no control characters"),
        ("a", -1, ROOT, (), "the size"),
        ("a", SIZE_LIMIT + 1, ROOT, (), "the size"),
        ("a", 7, ROOT[:31], (), "32 bytes"),
        ("a", 0, ROOT, (), "the empty root"),
    ],
)
def test_what_no_checkpoint_can_say_is_not_made(origin: str, size: int, root: bytes, extensions: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Checkpoint(origin, size, root, extensions)


@pytest.mark.parametrize("checkpoint", [Checkpoint(ORIGIN, 0, EMPTY_ROOT), Checkpoint(ORIGIN, 2**63 - 1, ROOT)], ids=["empty", "largest"])
def test_the_smallest_and_the_largest_log_have_a_checkpoint(checkpoint: Checkpoint) -> None:
    assert Checkpoint.parse(checkpoint.text) == checkpoint


LINES = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(LINES, st.integers(1, SIZE_LIMIT), st.binary(min_size=32, max_size=32), st.lists(LINES, max_size=3).map(tuple))
def test_each_checkpoint_is_read_as_it_was_written(origin: str, size: int, root: bytes, extensions: tuple[str, ...]) -> None:
    checkpoint = Checkpoint(origin, size, root, extensions)
    assert Checkpoint.parse(checkpoint.text) == checkpoint


@given(st.binary(max_size=100) | st.lists(st.sampled_from([b"o", b"0", b"7", ROOT_LINE, b"", b"\xff"]), max_size=6).map(b"\n".join))
def test_garbage_is_refused_or_in_its_one_form(garbage: bytes) -> None:
    with contextlib.suppress(NoteInvalid):
        assert Checkpoint.parse(garbage).text == garbage


@pytest.mark.parametrize(
    ("log", "origin"),
    [
        ("acme", "licet.invalid/3f2a9c/log/acme"),
        ("a-b_c.d~9", "licet.invalid/3f2a9c/log/a-b_c.d~9"),
        ("a/b", "licet.invalid/3f2a9c/log/a%2Fb"),
        ("a+b@c.example", "licet.invalid/3f2a9c/log/a%2Bb%40c.example"),
        ("50%", "licet.invalid/3f2a9c/log/50%25"),
        ("m\u00fcnchen", "licet.invalid/3f2a9c/log/m%C3%BCnchen"),
    ],
)
def test_the_origin_of_a_log(log: str, origin: str) -> None:
    assert origin_of_log(ORIGIN, log) == origin


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda name: name_problem(name) is None)


@given(NAMES, NAMES)
def test_the_origin_of_each_log_is_its_own_and_can_name_a_key(one: str, other: str) -> None:
    origin = origin_of_log(ORIGIN, one)
    assert is_key_name(origin)
    assert origin.isascii()
    assert origin.count("/") == ORIGIN.count("/") + 2
    assert (origin == origin_of_log(ORIGIN, other)) == (one == other)


def test_a_head_entry_in_bytes() -> None:
    assert ENTRY_BYTES == (
        b'{"v":1,"log":"acme","size":7,"root":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f","at":1750000000000000}'
    )
    assert decode_head_entry(ENTRY_BYTES) == ENTRY
    assert head_leaf(ENTRY) == leaf_hash(ENTRY_BYTES)


def test_the_largest_and_the_smallest_head_entry_are_read() -> None:
    largest = HeadEntry(1, "acme", SIZE_LIMIT, ROOT.hex(), SIZE_LIMIT)
    assert decode_head_entry(encode_head_entry(largest)) == largest
    earliest = HeadEntry(1, "acme", 0, EMPTY_ROOT.hex(), 0)
    assert decode_head_entry(encode_head_entry(earliest)) == earliest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v":1.0'),
        (b'"v":1', b'"v":"1"'),
        (b'"v":1', b'"v":1,"v":1'),
        (b'"v":1,', b""),
        (b'"v":1,', b'"v":1,"more":1,'),
        (b'"v":1', b'"v": 1'),
        (b'"acme"', b'""'),
        (b'"acme"', b'"\\u0061cme"'),
        (b'"acme"', b'"\\ud800"'),
        (b'"acme"', b'"\xff"'),
        (b'"size":7', b'"size":-7'),
        (b'"size":7', b'"size":0'),
        (b'"size":7', b'"size":9223372036854775808'),
        (b'"size":7', b'"size":true'),
        (b'"size":7', b'"size":null'),
        (b"1e1f", b"1E1F"),
        (b"1e1f", b"1e1"),
        (b"1e1f", b"1e1g"),
        (b"1e1f", "1e1\u0661".encode()),
        (b'"at":1', b'"at":-1'),
        (b'"at":1', b'"at":1000000000000000000000'),
        (b"}", b"} "),
        (b"}", b"}}"),
        (b"}", b""),
    ],
)
def test_a_head_entry_that_was_never_written_is_broken(old: bytes, new: bytes) -> None:
    changed = ENTRY_BYTES.replace(old, new)
    assert changed != ENTRY_BYTES
    with pytest.raises(IntegrityBroken, match="stored entry of the head log"):
        decode_head_entry(changed)


@given(st.binary(max_size=200))
def test_garbage_is_no_head_entry(garbage: bytes) -> None:
    with pytest.raises(IntegrityBroken):
        decode_head_entry(garbage)


def test_a_deep_head_entry_is_broken() -> None:
    with pytest.raises(IntegrityBroken):
        decode_head_entry(b'{"more":' + b"[" * 100_000)


@pytest.mark.parametrize(
    "entry",
    [
        HeadEntry(0, "acme", 7, ROOT.hex(), 1),
        HeadEntry(1, "", 7, ROOT.hex(), 1),
        HeadEntry(1, "\ud800", 7, ROOT.hex(), 1),
        HeadEntry(1, "acme", -1, ROOT.hex(), 1),
        HeadEntry(1, "acme", 0, ROOT.hex(), 1),
        HeadEntry(1, "acme", 7, "00", 1),
        HeadEntry(1, "acme", 7, ROOT.hex(), -1),
        HeadEntry(1, "acme", 7, ROOT.hex(), SIZE_LIMIT + 1),
        HeadEntry(1, "acme", SIZE_LIMIT + 1, ROOT.hex(), 1),
    ],
)
def test_a_head_entry_that_could_not_be_read_is_not_written(entry: HeadEntry) -> None:
    with pytest.raises(ValueError, match=r"^it |^size|^its|^an empty"):
        encode_head_entry(entry)
