"""Every field of the envelope is edited, by attackers who repair more and more of what would show it.

The fields come from the Structs themselves: one that is added is attacked from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
from msgspec import Struct

from licet.ledger.note import Signer
from licet.ledger.record import Envelope, leaf_hash
from licet.ledger.verify import verify
from licet.model import Receipt
from licet.store.sqlite import SqliteStore
from tests.attacks.forger import Forger
from tests.attacks.outside import seen_from_outside
from tests.attacks.owner import Owner
from tests.attacks.stored import Kept, Stored
from tests.store.samples import KEYS, now, small_ledger

LOG = "acme"
EVERYBODY = {"anchor", "checkpoint", "receipt"}


def fields_of(kind: type[Struct], prefix: str = "") -> list[str]:
    """The dotted names of everything that this Struct can hold."""
    names = []
    for name, hint in get_type_hints(kind).items():
        inner = next((part for part in (hint, *get_args(hint)) if isinstance(part, type) and issubclass(part, Struct)), None)
        names += [f"{prefix}{name}"] if inner is None else fields_of(inner, f"{prefix}{name}.")
    return names


FIELDS = fields_of(Envelope)


def edit(forger: Forger, field: str) -> int:
    """The field says something else, in the first record that has it, or says something, in one that has none; the record's index."""
    *outer, name = field.split(".")
    indexes = range(forger.size(LOG))
    index = next((index for index in indexes if name in holder_of(forger.fields(LOG, index), outer)), None)
    if index is None:
        index = next(index for index in indexes if not outer or outer[0] in forger.fields(LOG, index))
    fields = forger.fields(LOG, index)
    holder = holder_of(fields, outer)
    holder[name] = another(holder.get(name))
    forger.put_fields(LOG, index, fields, leaf=False)
    return index


def holder_of(fields: dict[str, Any], outer: list[str]) -> dict[str, Any]:
    for name in outer:
        fields = fields.get(name) or {}
    return fields


def another(value: Any) -> Any:
    """A value of the same kind."""
    match value:
        case int():
            return value + 1
        case list():
            return value[1:] or ["f" * 32]
        case "denial":
            return "evaluation"
        case str():
            if value in ("intent", "outcome", "call", "hold"):
                return "denial"
            return ("0" if value[:1] != "0" else "1") + value[1:]
        case _:
            return "1"


class Step(NamedTuple):
    """One more repair, and what then shows the edit, also without the key; nothing but the outside where that is empty."""

    repair: Callable[[Forger], None]
    shown_by: str


def nothing(_: Forger) -> None:
    """Only the record is edited."""


def the_leaf(forger: Forger) -> None:
    for log in forger.logs():
        base = forger.place(log, 0)
        for index, leaf in enumerate(forger.leaves(log)):
            forger.run("UPDATE records SET leaf = ? WHERE place = ?", leaf, base + index)


def the_tree(forger: Forger) -> None:
    forger.mend_trees()


def the_head_log(forger: Forger) -> None:
    forger.mend_heads()


def the_signatures_by_a_key_of_his_own(forger: Forger) -> None:
    forger.sign(lambda _: stranger(forger))


def the_ledgers_key_by_his_own(forger: Forger) -> None:
    forger.run("DELETE FROM signing_keys WHERE number > 1")
    forger.run("UPDATE signing_keys SET vkey = ?, endorsement = NULL", stranger(forger).vkey)


def stranger(forger: Forger) -> Signer:
    return Signer.from_seed(forger.origin(), bytes(range(32)))


LADDER = [
    Step(nothing, "log `acme`, record {index}, envelope: its bytes are not those that were hashed"),
    Step(the_leaf, "log `acme`, root: the trees over records"),
    Step(the_tree, "log `acme`, head: records"),
    Step(the_head_log, "ledger, checkpoint: checkpoint"),
    Step(the_signatures_by_a_key_of_his_own, ": the note is not signed by any known key"),
    Step(the_ledgers_key_by_his_own, ""),
]


@pytest.mark.parametrize("field", FIELDS)
def test_an_edited_field_is_shown_at_every_step_of_its_repair(stored: Stored, field: str) -> None:
    """Who has no key ends at a ledger under another signing key, which everybody sees who knows one of its own, or has the key."""
    with Forger(stored) as forger:
        index = edit(forger, field)
        for step in LADDER:
            step.repair(forger)
            for with_key in (True, False) if step.shown_by else ():
                problems = stored.problems(with_key=with_key)
                assert any(step.shown_by.format(index=index) in problem for problem in problems), (step, with_key, problems)
    assert seen_from_outside(stored) == {"key", "checkpoint", "receipt"}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_the_keys_owner_edits_is_shown_by_everybody_outside(stored: Stored, field: str) -> None:
    with Owner(stored) as owner:
        opened = [owner.find_opened(LOG, index) for index in range(owner.size(LOG))]
        index = edit(owner, field)
        kept = opened[index]
        assert kept is not None
        if field not in ("log", "payload.subjects"):
            owner.reseal(LOG, index, kept.salt, kept.payload)
        owner.mend_everything()
    assert seen_from_outside(stored) == EVERYBODY


def test_the_fields_are_those_of_the_envelope() -> None:
    assert {"v", "at", "actor.user", "decision.count", "payload.subjects", "redactions"} <= set(FIELDS)
    assert len(FIELDS) == len(set(FIELDS)) >= 36


def test_what_is_not_signed_yet_is_told_by_receipts_alone(tmp_path: Path) -> None:
    """Envelopes are bound to the key by signatures only, which come a second later at most."""
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS)
    small_ledger(store)
    receipts = tuple([Receipt(LOG, stored.index, leaf_hash(stored.envelope).hex()) for stored in store.records(LOG)])
    store.close()
    with Forger(Stored(tmp_path, receipts, Kept("", "", b""))) as forger:
        index = forger.last(LOG, "call")
        forger.put_fields(LOG, index, {**forger.fields(LOG, index), "outcome": {"status": "error"}})
        forger.mend_trees()
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS, read_only=True)
    with store.source() as source:
        assert verify(source).ok
        assert [(problem.index, problem.field) for problem in verify(source, receipts=receipts).problems] == [(index, "receipt")]
    store.close()
