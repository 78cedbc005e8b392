"""Whether a record is in the log as it was signed, computed for this very look.

Rules:

1. The proof is made as `licet audit prove` makes it (server/proofs.py), and verified as somebody outside verifies it (ledger/prove.py).
2. A check is shown as passed only where it was computed just now. What comes behind a check that failed is not shown as anything.
3. Where the check that failed is not known, all of it counts as broken.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.console.looks import ALLOW, Look
from licet.errors import IntegrityBroken
from licet.ledger.note import COSIGNATURE_V1, Verifier
from licet.ledger.prove import Proof, ProofReport, Trusted, verify_proof
from licet.ledger.record import leaf_hash
from licet.ledger.wording import counted, listed
from licet.server import proofs
from licet.server.endpoint import Asked
from licet.server.problems import Problem
from licet.server.proofs import ProvedRecord
from licet.server.shapes_records import RecordShape

State = Literal["verified", "unsealed", "broken", "not_permitted"]
BROKEN: Final = Look("broken", "Failed")
OPEN: Final = Look("unsealed", "Not yet")
_MADE: Final = (3, 4, 5, 6, 7)
"""The order in which a proof is checked while it is made; then all of it is, from outside."""
_decode = msgspec.json.Decoder(Proof).decode
_NUMBER: Final = re.compile(r"check ([1-8]): ")


class Check(Struct, frozen=True):
    """A line: what holds, or does not, and what would break it."""

    look: Look
    text: str
    id: str = ""
    breaks: str = ""


class Proved(Struct, frozen=True, kw_only=True):
    """What came of it. `wrong` is the message of the check that failed; `vkey` is the key with which anybody can check it elsewhere."""

    state: State
    checks: tuple[Check, ...] = ()
    wrong: str = ""
    vkey: str = ""
    signed_at: int | None = None
    head_size: int = 0


def prove(asked: Asked, shape: RecordShape) -> Proved:
    """The proof of this record, made and verified now. Whoever may not prove is told that and nothing else."""
    if not asked.decide("records.prove", shape.log).allowed:
        return Proved(state="not_permitted")
    opens = shape.payload is not None
    vkey = vkey_of(asked)
    try:
        line = proofs.prove(asked.with_input(ProvedRecord(log=shape.log, index=shape.index, payload=opens), None)).content
        vkey = vkey_of(asked)
        assert line is not None
        report = verify_proof(line, Trusted(Verifier.parse(vkey).name, vkey, _witnesses(asked)))
        proof = _decode(line)
        _check_same(shape, proof)
    except IntegrityBroken as error:
        return _broken(shape, str(error), vkey)
    except Problem as problem:
        if problem.code != "not_covered":
            raise
        return Proved(state="unsealed", checks=(_waiting(shape),), vkey=vkey)
    if shape.closed == "damaged":
        return _broken(shape, "check 7: the payload in the store does not open: its bytes are not those that were written", vkey)
    return Proved(
        state="verified",
        checks=(*_passed(shape, proof, report), _outside(asked, report)),
        vkey=vkey,
        signed_at=report.at,
        head_size=report.head_size,
    )


def vkey_of(asked: Asked) -> str:
    """Where trust begins: the key that is pinned in licet.toml, else the ledger's own first. Empty where nothing was ever signed."""
    keys = asked.gate.store.signing_keys()
    return asked.gate.settings.witness.log or (keys[0].vkey if keys else "")


def _witnesses(asked: Asked) -> tuple[Verifier, ...]:
    return tuple([Verifier.parse(server.vkey) for server in asked.gate.settings.witness.servers])


def _check_same(shape: RecordShape, proof: Proof) -> None:
    """What was proved is what is shown: both were read, one after the other."""
    shown = bytes(shape.envelope)
    if proof.envelope is None or proof.envelope.encode() != shown or proof.leaf != leaf_hash(shown).hex():
        raise IntegrityBroken("check 6: the envelope that is shown here is not the one that was proved")
    if shape.payload is not None and (proof.payload is None or proof.payload.encode() != bytes(shape.payload)):
        raise IntegrityBroken("check 7: the payload that is shown here is not the one that was proved")


def _passed(shape: RecordShape, proof: Proof, report: ProofReport) -> list[Check]:
    found = _lines(shape)
    found[5] = replace(
        found[5], text=f"Leaf {shape.index:,} leads to the root of {shape.log} at {counted(proof.size, 'record')}, {_hashes(proof.path)}"
    )
    found[3] = replace(
        found[3], text=f"That root is entry {proof.head_index:,} of {proof.head_size:,} in the head log, {_hashes(proof.head_path)}"
    )
    signers = list(dict.fromkeys([signature.name for signature in report.signatures if signature.timestamp_s is None]))
    found[2] = replace(found[2], text=f"Checkpoint of {proof.head_size:,} is signed by {listed(signers)}")
    return [found[number] for number in (6, 7, 5, 3, 2)]


def _lines(shape: RecordShape) -> dict[int, Check]:
    """By the number of the check in ledger/prove.py; 4 is told with 3."""
    if shape.payload is not None:
        payload = Check(ALLOW, "Payload opens the commitment in these bytes", breaks="A payload that was edited or exchanged.")
    else:
        payload = Check(Look("none", ""), "Payload is closed; the commitment to it stays in these bytes", breaks="")
    return {
        6: Check(ALLOW, "Bytes hash to leaf", leaf_hash(bytes(shape.envelope)).hex(), "One byte of the record that is another."),
        7: payload,
        5: Check(ALLOW, f"Leaf leads to the root of {shape.log}", breaks="A record before it that was changed, added or taken away."),
        3: Check(ALLOW, "That root is in the head log", breaks="Roots that were exchanged, of this log or any other."),
        2: Check(ALLOW, "Checkpoint is signed", breaks="Another key, or another root under the signature."),
    }


def _hashes(path: tuple[str, ...]) -> str:
    return counted(len(path), "hash", "hashes")


def _broken(shape: RecordShape, message: str, vkey: str) -> Proved:
    """What passed before the check that failed, and that one; nothing is said of those behind it (rule 2)."""
    found = _NUMBER.match(message)
    number = int(found[1]) if found else 0
    failed = 3 if number == 4 else number  # noqa: PLR2004  told with 3
    lines = _lines(shape)
    before = _MADE[: _MADE.index(number)] if number in _MADE else ()
    checks = [lines[each] for each in before if each in lines]
    if failed in lines:
        checks.append(replace(lines[failed], look=BROKEN))
    return Proved(state="broken", checks=tuple(checks), wrong=message, vkey=vkey)


def _waiting(shape: RecordShape) -> Check:
    return Check(OPEN, f"No signed checkpoint covers record {shape.index:,} of {shape.log} yet", breaks="")


def _outside(asked: Asked, report: ProofReport) -> Check:
    """Whether anybody outside knows the checkpoint: only they would notice a ledger that was written anew, whole."""
    settings = asked.gate.settings.witness
    keys = {(key.name, key.key_id) for key in _witnesses(asked) if key.algorithm == COSIGNATURE_V1}
    cosigned = [one.name for one in report.signatures if (one.name, one.key_id) in keys]
    breaks = "Whoever has the store and the signing key could write all of it anew; only somebody outside would notice."
    if cosigned:
        return Check(ALLOW, f"Witness {listed(cosigned)} has cosigned that checkpoint", breaks=breaks)
    if settings.servers:
        return Check(OPEN, f"No witness has cosigned that checkpoint yet: {listed([one.name for one in _witnesses(asked)])}", breaks=breaks)
    if settings.anchors:
        held = counted(len(settings.anchors), "anchor file")
        return Check(OPEN, f"Not seen by a witness; what was signed is held in {held} apart from the store", breaks=breaks)
    return Check(OPEN, "Not pinned: no witness is set up", breaks=breaks)
