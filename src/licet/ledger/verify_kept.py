"""Does a ledger go on from what somebody kept outside it: a key, a checkpoint?

This is what shows that the whole of a ledger was written anew, or put back to an older state, by somebody who holds its keys.

1. the signed head log follows from the key that was brought along, by endorsements (ledger/rotation.py), and that key or a successor has
   signed a checkpoint of it
2. a kept checkpoint is of this head log, signed by one of its keys, not larger than it, and has the root that it had at that size
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.checkpoint import Checkpoint
from licet.ledger.merkle import Tree
from licet.ledger.note import Verifier
from licet.ledger.record import leaf_hash
from licet.ledger.report import SHOWN_LIMIT, Problem, Report
from licet.ledger.rotation import Trust, verify_rotation
from licet.ledger.source import HeadLog, Withheld


class Kept(Struct, frozen=True):
    """A checkpoint from outside, as a signed note; `source` says whose, for messages."""

    source: str
    unverified_note: bytes


def key_problems(report: Report, vkey: str) -> tuple[Problem, ...]:
    """Why this key does not speak for what was verified; empty where it does. Raises `NoteInvalid` for what is no key."""
    key, head = Verifier.parse(vkey), report.head
    if head is None or not head.keys:
        return (_problem("key", "nothing in it is signed, by this key or any other", vkey),)
    if vkey not in head.keys:
        message = f"its keys do not follow from the one that was given: it is the ledger `{head.origin}`, the key is of `{key.name}`"
        return (_problem("key", message, vkey, ", ".join(head.keys)),)
    if report.records and not head.signed:
        return (_problem("key", "no checkpoint that fits is signed by this key or a successor", vkey),)
    return ()


def kept_problems(head_log: HeadLog | None, kept: Sequence[Kept], vkey: str | None = None) -> tuple[Problem, ...]:
    """What is wrong with a head log as far as these checkpoints know it. Trust begins with `vkey`, or with its own first key."""
    if not kept:
        return ()
    try:
        trust = _trust(head_log, vkey)
    except (IntegrityBroken, LookupError) as error:
        return tuple([_problem("checkpoint", f"{one.source} cannot be held against it: {error}") for one in kept])
    assert head_log is not None
    problems: list[Problem] = []
    opened: list[tuple[str, Checkpoint]] = []
    for one in kept:
        try:
            opened.append((one.source, trust.open(one.unverified_note)[0]))
        except NoteInvalid as error:
            problems.append(_problem("checkpoint", f"{one.source} holds no checkpoint of this ledger: {error}"))
    try:
        roots = _roots(head_log, {checkpoint.size for _, checkpoint in opened})
    except IntegrityBroken as error:
        return (*problems, _problem("checkpoint", f"the head log cannot be read: {error}"))
    return (*problems, *[problem for source, checkpoint in opened if (problem := _compared(source, checkpoint, roots)) is not None])


def _compared(source: str, checkpoint: Checkpoint, roots: dict[int, bytes]) -> Problem | None:
    root = roots.get(checkpoint.size)
    if root is None:
        message = f"{source} knows more of the head log than there is: records are missing, or this is an older copy"
        return _problem("checkpoint", message, checkpoint.size, max(roots))
    if root != checkpoint.root:
        message = f"history was changed: {source} knows another head log of size {checkpoint.size}"
        return _problem("checkpoint", message, checkpoint.root.hex(), root.hex())
    return None


def _trust(head_log: HeadLog | None, vkey: str | None) -> Trust:
    if head_log is None:
        raise LookupError("it has no signed head log")
    keys = head_log.signing_keys()
    if not keys:
        raise LookupError("nothing in it is signed")
    return verify_rotation(head_log.tree().log, vkey or keys[0][0], [note for _, note in keys if note is not None])


def _roots(head_log: HeadLog, sizes: set[int]) -> dict[int, bytes]:
    """The roots at these sizes, as far as they are reached, and the one at the end."""
    tree, found = Tree(), {}
    for _, _, entry in head_log.entries():
        if tree.size in sizes:
            found[tree.size] = tree.root()
        tree.append(entry.leaf if isinstance(entry, Withheld) else leaf_hash(entry))
    found[tree.size] = tree.root()
    return found


def _problem(field: str, message: str, expected: object = "", found: object = "") -> Problem:
    return Problem(None, None, field, str(expected)[:SHOWN_LIMIT], str(found)[:SHOWN_LIMIT], message)
