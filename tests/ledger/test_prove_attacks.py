"""Forged proofs: each fails, at the check that is there against it, with what was expected and what was found."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest

from licet.errors import IntegrityBroken
from licet.ledger.checkpoint import HeadEntry, decode_head_entry, encode_head_entry, sign_checkpoint
from licet.ledger.merkle import find_root, root_of
from licet.ledger.note import Signer
from licet.ledger.prove import (
    Head,
    prove,
    verify_proof,
)
from licet.ledger.record import leaf_hash
from licet.ledger.rotation import endorse
from licet.ledger.tiles import HashTree
from tests.ledger.small_ledger import (
    HASHES,
    HEAD,
    ORIGIN,
    RECORDS,
    SIGNER,
    SUCCESSOR,
    TRUSTED,
    Leaves,
    changed_proof,
    fields_of,
    head_note,
    head_state,
    head_tree,
    hexed,
    log_note,
    opening,
    payload,
    proof,
    rotated_proof,
    salt,
    tree,
)

WHOLE = proof()
OTHER = Signer.from_seed(ORIGIN, bytes(32))
ENTRY = decode_head_entry(HEAD[6])
STEP = "00" * 32
LEAF = HASHES["acme"][217].hex()
PATH = fields_of(WHOLE)["path"]
HEAD_PATH = fields_of(WHOLE)["head_path"]

ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "another version": (lambda: changed_proof(licet_proof=2), "check 1: the version of the proof is another: expected `1`, found `2`"),
    "an unknown field": (
        lambda: WHOLE.replace(b'{"licet_proof":1', b'{"more":1,"licet_proof":1'),
        "check 1: the bundle cannot be read: Object contains unknown field `more`",
    ),
    "a field twice": (lambda: WHOLE.replace(b'"index":217', b'"index":3,"index":217'), "check 1: the bundle is not in its one form"),
    "spaces": (lambda: WHOLE.replace(b":217", b": 217"), "check 1: the bundle is not in its one form: it was written by something else"),
    "a step that is no hash": (
        lambda: changed_proof(path=("AB" * 32, *PATH[1:])),
        f"check 1: `{'AB' * 32}` is not 64 lower-case hex digits",
    ),
    "a salt that is no hash": (lambda: changed_proof(salt="zz"), "check 1: `zz` is not 64 lower-case hex digits"),
    "a checkpoint of another origin": (
        lambda: changed_proof(checkpoint=head_note(8, [SIGNER], "example.com/other").decode()),
        f"check 2: the checkpoint is of `example.com/other`, not of `{ORIGIN}`",
    ),
    "a checkpoint by an untrusted key": (
        lambda: changed_proof(checkpoint=sign_checkpoint(head_state(8), [OTHER]).decode()),
        "check 2: the note is not signed by any known key",
    ),
    "a checkpoint by a witness alone": (
        lambda: changed_proof(checkpoint=head_note(8, [OTHER]).decode()),
        f"check 2: the checkpoint is not signed by a key of `{ORIGIN}`",
    ),
    "a checkpoint by a wrong signature": (
        lambda: changed_proof(checkpoint=(head_state(8).text + head_note(7)[len(head_state(7).text) :]).decode()),
        f"check 2: signature of `{ORIGIN}` (key id {SIGNER.verifier.key_id}) does not verify",
    ),
    "the checkpoint of a tenant's own log": (
        lambda: changed_proof(checkpoint=log_note("acme", 600).decode()),
        "check 2: the note is not signed by any known key",
    ),
    "no checkpoint": (lambda: changed_proof(checkpoint=""), "check 2: a note is text, an empty line and signature lines"),
    "an endorsement that is none": (
        lambda: changed_proof(endorsements=("x",)),
        "check 2: a note is text, an empty line and signature lines",
    ),
    "a key that took over without the old one": (
        lambda: changed_proof(checkpoint=head_note(8, [OTHER]).decode(), endorsements=(endorse(head_state(4), SUCCESSOR, OTHER).decode(),)),
        "check 2: no endorsement names the trusted key",
    ),
    "a retired key": (
        lambda: changed_proof(rotated_proof(), checkpoint=head_note(8, [SIGNER]).decode()),
        f"check 2: no key that may sign `{ORIGIN}` at size 8 has signed",
    ),
    "an older checkpoint of the same log": (
        lambda: changed_proof(checkpoint=head_note(7).decode()),
        "check 2: the size of the checkpoint is another: expected `8`, found `7`",
    ),
    "an older checkpoint with its size": (
        lambda: changed_proof(checkpoint=head_note(4).decode(), head_size=4),
        "check 3: the path of the head entry has 3 hashes: index 6 in a tree of size 4 has no such path",
    ),
    "a head entry that is none": (lambda: changed_proof(head_entry="{}"), "check 3: stored entry of the head log cannot be read: "),
    "the head entry of another log": (
        lambda: changed_proof(head_entry=HEAD[7].decode()),
        f"check 3: the root to which the path of the head entry leads is another: expected `{head_state(8).root.hex()}`, found ",
    ),
    "the head entry of another log with its index": (
        lambda: changed_proof(head_entry=HEAD[7].decode(), head_index=7, head_path=hexed(head_tree().inclusion_proof(7))),
        "check 4: the log of the head entry is another: expected `acme`, found `operator`",
    ),
    "an older head entry": (
        lambda: changed_proof(head_entry=HEAD[4].decode(), head_index=4, head_path=hexed(head_tree().inclusion_proof(4))),
        "check 4: the size in the head entry is another: expected `600`, found `300`",
    ),
    "a forged head entry": (
        lambda: changed_proof(head_entry=encode_head_entry(HeadEntry(1, "acme", 600, STEP, ENTRY.at)).decode()),
        f"check 3: the root to which the path of the head entry leads is another: expected `{head_state(8).root.hex()}`, found ",
    ),
    "a truncated head path": (
        lambda: changed_proof(head_path=HEAD_PATH[:-1]),
        "check 3: the path of the head entry has 2 hashes: index 6 in a tree of size 8 has no such path",
    ),
    "an extra hash in the head path": (
        lambda: changed_proof(head_path=(*HEAD_PATH, STEP)),
        "check 3: the path of the head entry has 4 hashes: index 6 in a tree of size 8 has no such path",
    ),
    "a negative head index": (
        lambda: changed_proof(head_index=-2),
        "check 3: the path of the head entry has 3 hashes: index -2 in a tree of size 8 has no such path",
    ),
    "another size": (lambda: changed_proof(size=599), "check 4: the size in the head entry is another: expected `599`, found `600`"),
    "another index": (
        lambda: changed_proof(index=216),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "an index beyond the log": (
        lambda: changed_proof(index=600),
        "check 5: the path of the leaf has 10 hashes: index 600 in a tree of size 600 has no such path",
    ),
    "a huge index": (lambda: changed_proof(index=2**63 - 1), "check 5: the path of the leaf has 10 hashes: index 9223372036854775807 in"),
    "a truncated path": (
        lambda: changed_proof(path=PATH[:-1]),
        "check 5: the path of the leaf has 9 hashes: index 217 in a tree of size 600 has no such path",
    ),
    "an extra hash": (
        lambda: changed_proof(path=(*PATH, STEP)),
        "check 5: the path of the leaf has 11 hashes: index 217 in a tree of size 600 has no such path",
    ),
    "swapped hashes": (
        lambda: changed_proof(path=(PATH[1], PATH[0], *PATH[2:])),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "another record": (
        lambda: changed_proof(leaf=HASHES["acme"][216].hex()),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "a node of the tree as a record": (
        lambda: changed_proof(leaf=root_of(HASHES["acme"][216:218]).hex(), index=108, path=PATH[1:]),
        "check 5: the path of the leaf has 9 hashes: index 108 in a tree of size 600 has no such path",
    ),
    "another log's record": (
        lambda: changed_proof(leaf=HASHES["operator"][217].hex(), envelope=RECORDS["operator"][217].decode()),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "another envelope": (
        lambda: changed_proof(envelope=RECORDS["acme"][216].decode()),
        f"check 6: the hash of the envelope is another: expected `{LEAF}`, found `{HASHES['acme'][216].hex()}`",
    ),
    "another payload": (
        lambda: changed_proof(payload=payload(216).decode()),
        "check 7: the commitment to the payload is another: expected `",
    ),
    "another salt": (lambda: changed_proof(salt=salt(216).hex()), "check 7: the commitment to the payload is another: expected `"),
    "a payload without its salt": (lambda: changed_proof(salt=None), "check 7: a payload is opened with its salt and its envelope"),
    "a salt without its payload": (lambda: changed_proof(payload=None), "check 7: a payload is opened with its salt and its envelope"),
    "a payload without its envelope": (lambda: changed_proof(envelope=None), "check 7: a payload is opened with its salt and its envelope"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_told_by_its_check(attack: str) -> None:
    forge, message = ATTACKS[attack]
    with pytest.raises(IntegrityBroken, match=f"^{re.escape(message)}"):
        verify_proof(forge(), TRUSTED)


def test_the_found_hash_is_told_too() -> None:
    with pytest.raises(IntegrityBroken) as caught:
        verify_proof(changed_proof(index=216), TRUSTED)
    shown = re.search(r"expected `([0-9a-f]{64})`, found `([0-9a-f]{64})`$", str(caught.value))
    assert shown is not None
    node = find_root(HASHES["acme"][217], 216, 600, [bytes.fromhex(text) for text in PATH])
    assert node is not None
    assert (shown[1], shown[2]) == (ENTRY.root, node.hex())


def test_an_envelope_in_the_tree_of_another_log_is_refused() -> None:
    """Whoever writes the ledger could file one log's records under another's name; the envelope says whose it is."""
    entry = encode_head_entry(HeadEntry(1, "beta", 600, root_of(HASHES["acme"]).hex(), 1))
    under = HashTree(Leaves([leaf_hash(entry)]), 1)
    state = msgspec.structs.replace(head_state(1), root=leaf_hash(entry))
    misfiled = Head(entry, 0, under, sign_checkpoint(state, [SIGNER]))
    verify_proof(prove(tree("acme"), 3, misfiled), TRUSTED)  # a bare leaf tells nothing
    with pytest.raises(IntegrityBroken, match="check 6: the log of the envelope is another: expected `beta`, found `acme`"):
        prove(tree("acme"), 3, misfiled, envelope=RECORDS["acme"][3])


def signed_alone(envelope: bytes) -> tuple[HashTree, int, Head]:
    """A log of this one record, and a head log that says so."""
    leaf = leaf_hash(envelope)
    entry = encode_head_entry(HeadEntry(1, "acme", 1, leaf.hex(), 1))
    state = msgspec.structs.replace(head_state(1), root=leaf_hash(entry))
    return HashTree(Leaves([leaf]), 1), 0, Head(entry, 0, HashTree(Leaves([leaf_hash(entry)]), 1), sign_checkpoint(state, [SIGNER]))


def test_an_envelope_of_another_version_is_refused() -> None:
    envelope = RECORDS["acme"][0].replace(b'{"v":1,', b'{"v":9,')
    with pytest.raises(IntegrityBroken, match="check 6: envelope has version `9`"):
        prove(*signed_alone(envelope), envelope=envelope)


def test_a_payload_of_another_length_than_the_envelope_says_is_refused() -> None:
    envelope = RECORDS["acme"][0].replace(b'"length":%d' % len(payload(0)), b'"length":9')
    with pytest.raises(IntegrityBroken, match=f"check 7: the length of the payload is another: expected `9`, found `{len(payload(0))}`"):
        prove(*signed_alone(envelope), envelope=envelope, opening=opening(0))
