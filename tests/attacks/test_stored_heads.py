"""The signed part of the ledger: head log, checkpoints, signing keys, origin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from licet.ledger.checkpoint import Checkpoint, decode_head_entry, encode_head_entry, sign_checkpoint
from licet.ledger.note import Signer
from licet.ledger.rotation import endorse
from tests.attacks.forger import Forger
from tests.attacks.outside import seen_from_outside
from tests.attacks.owner import Owner
from tests.attacks.stored import Stored
from tests.attacks.table import Attack, name_of

Act = Callable[[Any], None]


def entries(forger: Forger) -> list[tuple[str, int, bytes]]:
    return [(log, size, entry) for log, size, entry in forger.run("SELECT log, size, entry FROM heads ORDER BY number")]


def stranger(forger: Forger) -> Signer:
    return Signer.from_seed(forger.origin(), bytes(range(32)))


# entries


def change_an_entry(forger: Forger, number: int, **fields: object) -> None:
    entry = msgspec.structs.replace(decode_head_entry(entries(forger)[number][2]), **fields)
    forger.run("UPDATE heads SET log = ?, size = ?, entry = ? WHERE number = ?", entry.log, entry.size, encode_head_entry(entry), number)


def edit_a_root(forger: Forger) -> None:
    change_an_entry(forger, 0, root="0" * 64)


def edit_a_root_and_mend_the_tree(forger: Forger) -> None:
    edit_a_root(forger)
    forger.mend_head_tree()


def edit_a_time_and_mend_the_tree(forger: Forger) -> None:
    change_an_entry(forger, 0, at=1)
    forger.mend_head_tree()


def keep_an_entry_as_that_of_another_size(forger: Forger) -> None:
    forger.run("UPDATE heads SET size = size - 1 WHERE number = 2")


def write_an_entry_in_another_form(forger: Forger) -> None:
    forger.run("UPDATE heads SET entry = CAST(replace(CAST(entry AS TEXT), ',', ', ') AS BLOB) WHERE number = 2")


def delete_the_last_entry(forger: Forger) -> None:
    forger.run("DELETE FROM heads WHERE number = (SELECT max(number) FROM heads)")


def delete_the_last_entry_and_mend_the_tree(forger: Forger) -> None:
    forger.put_heads(entries(forger)[:-1])


def delete_an_entry(forger: Forger) -> None:
    forger.run("DELETE FROM heads WHERE number = 3")


def delete_an_entry_and_close_the_gap(forger: Forger) -> None:
    forger.put_heads(entries(forger)[:3] + entries(forger)[4:])


def add_an_entry_that_lies(forger: Forger) -> None:
    log, size, entry = entries(forger)[0]
    lie = encode_head_entry(msgspec.structs.replace(decode_head_entry(entry), size=size + 1))
    forger.put_heads([*entries(forger), (log, size + 1, lie)])


def add_an_entry_of_no_log(forger: Forger) -> None:
    lie = encode_head_entry(msgspec.structs.replace(decode_head_entry(entries(forger)[0][2]), log="initech"))
    forger.put_heads([*entries(forger), ("initech", 9, lie)])


def add_an_entry_that_knows_more(forger: Forger) -> None:
    """The log seems to have been cut."""
    lie = encode_head_entry(msgspec.structs.replace(decode_head_entry(entries(forger)[0][2]), size=1_000))
    forger.put_heads([*entries(forger), (decode_head_entry(lie).log, 1_000, lie)])


def edit_the_size_of_the_head_log(forger: Forger) -> None:
    forger.run("UPDATE ledger SET head_size = head_size + 1")


def edit_the_range_of_the_head_log(forger: Forger) -> None:
    forger.run("UPDATE ledger SET head_range = zeroblob(length(head_range))")


def change_the_origin(forger: Forger) -> None:
    forger.run("UPDATE ledger SET origin = 'licet.invalid/' || lower(hex(randomblob(16)))")


# checkpoints


def edit_a_note(forger: Forger) -> None:
    forger.run(
        "UPDATE checkpoints SET note = CAST(replace(CAST(note AS TEXT), char(10) || char(10), char(10) || 'x' || char(10) || char(10)) AS BLOB)"
    )


def damage_a_signature(forger: Forger) -> None:
    forger.run("UPDATE checkpoints SET note = CAST(substr(note, 1, length(note) - 5) || 'AAA=' || char(10) AS BLOB)")


def move_a_checkpoint(forger: Forger) -> None:
    forger.run("UPDATE checkpoints SET size = size + 1 WHERE size = (SELECT max(size) FROM checkpoints)")


def put_an_older_note_in_its_place(forger: Forger) -> None:
    forger.run("UPDATE checkpoints SET note = (SELECT note FROM checkpoints ORDER BY size LIMIT 1)")


def put_the_note_of_another_ledger(forger: Forger) -> None:
    size = int(forger.one("SELECT max(size) FROM checkpoints"))
    other = Signer.from_seed("licet.invalid/" + "0" * 32, bytes(range(32)))
    note = sign_checkpoint(Checkpoint(other.name, size, forger.checkpoint(size).root), [other])
    forger.run("UPDATE checkpoints SET note = ? WHERE size = ?", note, size)


def let_a_retired_key_sign(owner: Owner) -> None:
    """The first key signs what only its successor may."""
    owner.sign(lambda _: owner.signers()[0])


def let_the_new_key_sign_the_past(owner: Owner) -> None:
    owner.sign(lambda _: owner.signers()[-1])


# keys


def take_an_endorsement_out(forger: Forger) -> None:
    forger.run("UPDATE signing_keys SET endorsement = NULL")


def forge_an_endorsement(forger: Forger) -> None:
    """Signed by the new key on both lines; the old one has not signed."""
    mine = stranger(forger)
    forged = endorse(forger.checkpoint(3), Signer.from_seed(forger.origin(), bytes(range(1, 33))), mine)
    forger.run("UPDATE signing_keys SET vkey = ?, endorsement = ? WHERE number = 2", mine.vkey, forged)


def damage_an_endorsement(forger: Forger) -> None:
    forger.run("UPDATE signing_keys SET endorsement = zeroblob(length(endorsement)) WHERE endorsement NOT NULL")


def delete_the_newest_key(forger: Forger) -> None:
    forger.run("DELETE FROM signing_keys WHERE number = 2")


def delete_the_first_key(forger: Forger) -> None:
    forger.run("DELETE FROM signing_keys WHERE number = 1")


def delete_all_keys(forger: Forger) -> None:
    forger.run("DELETE FROM signing_keys")


# what only the outside shows


def delete_everything_that_is_signed(forger: Forger) -> None:
    """As if nothing had ever been signed."""
    forger.put_heads([])
    forger.run("DELETE FROM checkpoints")
    forger.run("DELETE FROM signing_keys")


def sign_under_a_new_origin(owner: Forger) -> None:
    """As another ledger, by a key of his own."""
    owner.run("DELETE FROM signing_keys WHERE number > 1")
    change_the_origin(owner)
    owner.run("UPDATE signing_keys SET vkey = ?, endorsement = NULL", stranger(owner).vkey)
    owner.sign(lambda _: stranger(owner))


# what a key row says that is not used yet


def replace_a_seed(forger: Forger) -> None:
    forger.run("UPDATE signing_keys SET wrapped = randomblob(length(wrapped)) WHERE number = 2")


def add_a_key_that_nobody_endorsed(forger: Forger) -> None:
    forger.run(
        "INSERT INTO signing_keys (vkey, key, wrapped) SELECT ?, key, wrapped FROM signing_keys WHERE number = 1", stranger(forger).vkey
    )


def delete_all_checkpoints(forger: Forger) -> None:
    """With whatever witnesses have added to them."""
    forger.run("DELETE FROM checkpoints")


ATTACKS: list[tuple[Act, type[Forger], str]] = [
    (edit_a_root, Forger, "are not those that entry 0 of the head log was made from"),
    (edit_a_root_and_mend_the_tree, Forger, "is of another head log"),
    (edit_a_time_and_mend_the_tree, Forger, "is of another head log"),
    (keep_an_entry_as_that_of_another_size, Forger, "log `acme`, head: entry 2 is kept as that of another state"),
    (write_an_entry_in_another_form, Forger, "ledger, head: entry 2 of the head log: stored entry of the head log is not valid"),
    (delete_the_last_entry, Forger, "ledger, head: the stored tree of the head log is another"),
    (delete_the_last_entry_and_mend_the_tree, Forger, "ledger, head: the head log was cut off: a checkpoint knows more"),
    (delete_an_entry, Forger, "ledger, store: entry 3 of the head log is missing or cannot be read"),
    (delete_an_entry_and_close_the_gap, Forger, "is of another head log"),
    (add_an_entry_that_lies, Forger, "are not those that entry"),
    (add_an_entry_of_no_log, Forger, "log `initech`, head: the head log knows its records, and there is no such log"),
    (add_an_entry_that_knows_more, Forger, "of the head log knows more"),
    (edit_the_size_of_the_head_log, Forger, "ledger, head: the stored tree of the head log is another"),
    (edit_the_range_of_the_head_log, Forger, "ledger, head: the stored tree of the head log is another"),
    (
        change_the_origin,
        Forger,
        "ledger, signing_keys: the keys that sign do not follow from one another: an endorsement is of another log",
    ),
    (edit_a_note, Forger, "does not verify"),
    (damage_a_signature, Forger, "does not verify"),
    (move_a_checkpoint, Forger, "ledger, head: the head log was cut off: a checkpoint knows more"),
    (put_an_older_note_in_its_place, Forger, "is of another head log"),
    (put_the_note_of_another_ledger, Forger, ": the note is not signed by any known key"),
    (let_a_retired_key_sign, Owner, "has signed, only one that may at other sizes"),
    (let_the_new_key_sign_the_past, Owner, ": no key that may sign"),
    (take_an_endorsement_out, Forger, ": the note is not signed by any known key"),
    (forge_an_endorsement, Forger, "ledger, signing_keys: the keys that sign do not follow from one another"),
    (damage_an_endorsement, Forger, "ledger, signing_keys: the keys that sign do not follow from one another"),
    (delete_the_newest_key, Forger, ": the note is not signed by any known key"),
    (delete_all_keys, Forger, "there is no key that could have signed it"),
]
OUTSIDE: list[tuple[Act, type[Forger], set[str]]] = [
    (delete_everything_that_is_signed, Forger, {"anchor", "checkpoint"}),
    (sign_under_a_new_origin, Forger, {"key", "checkpoint"}),
    (replace_a_seed, Forger, {"key"}),
    (add_a_key_that_nobody_endorsed, Forger, {"key"}),
    (delete_all_checkpoints, Forger, {"checkpoint"}),
    (delete_the_first_key, Forger, set()),
]
"""Who else sees what is done to all of the signed part. The last takes nothing away: the endorsement that is left names that key, too."""
WITH_KEY: list[tuple[Act, str]] = [
    (replace_a_seed, "ledger, store: signing key 2 is not the one that it is kept as"),
    (add_a_key_that_nobody_endorsed, "ledger, signing_keys: a key is kept that nobody has handed over to"),
    (delete_the_first_key, "ledger, signing_keys: a key is kept that nobody has handed over to"),
]


@pytest.mark.parametrize("attack", [Attack(act, by, shown, shown) for act, by, shown in ATTACKS], ids=name_of)
def test_what_is_done_to_the_signed_part_is_shown_without_any_key(stored: Stored, attack: Attack) -> None:
    attack.carry_out(stored)
    for with_key in (True, False):
        problems = stored.problems(with_key=with_key)
        assert any(attack.shown in problem for problem in problems), problems


@pytest.mark.parametrize(("act", "by", "seen"), OUTSIDE, ids=name_of)
def test_what_is_done_to_all_of_the_signed_part_is_seen_from_outside(stored: Stored, act: Act, by: type[Forger], seen: set[str]) -> None:
    Attack(act, by, "", "").carry_out(stored)
    assert seen_from_outside(stored) == seen


@pytest.mark.parametrize(("act", "shown"), WITH_KEY, ids=name_of)
def test_a_key_that_nobody_endorsed_or_that_is_not_its_own_is_shown(stored: Stored, act: Act, shown: str) -> None:
    Attack(act, Forger, "", "").carry_out(stored)
    problems = stored.problems(with_key=True)
    assert any(problem.startswith(shown) for problem in problems), problems
