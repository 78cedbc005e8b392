"""Payloads, and the secrets that seal them: replaced, swapped, taken out, with and without records that explain it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from licet.errors import KeyUnavailable
from licet.gate.results import Ok
from licet.ledger.entropy import new_id
from licet.ledger.keys import KeyEncryptionKeys
from licet.ledger.vault import log_lookup
from tests.attacks.forger import Forger
from tests.attacks.outside import seen_from_outside
from tests.attacks.owner import Owner
from tests.attacks.stored import ANCHORED, Stored
from tests.attacks.table import Attack, name_of
from tests.world import world_on

LOG = "acme"
Act = Callable[[Forger], None]


def at(forger: Forger, kind: str) -> int:
    return forger.place(LOG, forger.first(LOG, kind))


# who writes the file


def replace_a_payload(forger: Forger) -> None:
    forger.run("UPDATE payloads SET sealed = randomblob(length(sealed)) WHERE place = ?", at(forger, "denial"))


def turn_a_payload_into_text(forger: Forger) -> None:
    forger.run("PRAGMA writable_schema = ON")
    forger.run("UPDATE sqlite_schema SET sql = replace(sql, 'sealed BLOB', 'sealed ANY') WHERE name = 'payloads'")
    forger.run("PRAGMA writable_schema = RESET")
    forger.run("UPDATE payloads SET sealed = 'nothing' WHERE place = ?", at(forger, "denial"))


def swap_two_payloads(forger: Forger) -> None:
    """Of two records of one kind, sealed by the same people."""
    one, two = at(forger, "denial"), forger.place(LOG, forger.first(LOG, "denial", 1))
    for old, new in ((one, -1), (two, one), (-1, two)):
        forger.run("UPDATE payloads SET place = ? WHERE place = ?", new, old)


def repeat_another_payload(forger: Forger) -> None:
    sealed = forger.one("SELECT sealed FROM payloads WHERE place = ?", at(forger, "vote"))
    forger.run("UPDATE payloads SET sealed = ? WHERE place = ?", sealed, at(forger, "denial"))


def delete_a_payload(forger: Forger) -> None:
    forger.run("DELETE FROM payloads WHERE place = ?", at(forger, "vote"))


def empty_a_payload(forger: Forger) -> None:
    forger.run("UPDATE payloads SET sealed = NULL WHERE place = ?", at(forger, "vote"))


def delete_all_payloads(forger: Forger) -> None:
    forger.run("DELETE FROM payloads")


def forge_at_the_end(forger: Forger, kind: str, **fields: object) -> int:
    """A record that nobody wrote, behind the last one that is signed; its payload is noise, for want of a key. Its index."""
    index, model = forger.size(LOG), forger.fields(LOG, forger.first(LOG, kind))
    forger.append(LOG, {**model, "id": new_id(), **fields})
    forger.run("INSERT INTO payloads VALUES (?, randomblob(200))", forger.place(LOG, index))
    forger.mend_trees()
    return index


def forge_an_erasure_of_a_person(forger: Forger) -> None:
    """Everything about alice is gone, and a record says that she was erased."""
    alice = forger.fields(LOG, 0)["actor"]["user"]
    forge_at_the_end(forger, "erasure", targets=[f"User::{alice}"])
    forger.run("DELETE FROM secrets WHERE pseudonym = ?", alice)


def forge_an_erasure_of_payloads(forger: Forger) -> None:
    """One payload is gone, and a record says that it was dropped by its age."""
    index = forger.first(LOG, "vote")
    forge_at_the_end(forger, "erasure", targets=[f"Payloads::{index}-{index}"])
    forger.run("DELETE FROM payloads WHERE place = ?", forger.place(LOG, index))


def forge_an_erasure_without_a_payload(forger: Forger) -> None:
    """As above, and the erasure itself says that its payload is gone."""
    index = forger.first(LOG, "vote")
    end = forge_at_the_end(forger, "erasure", targets=[f"Payloads::{index}-{forger.size(LOG)}"])
    forger.run("DELETE FROM payloads WHERE place IN (?, ?)", forger.place(LOG, index), forger.place(LOG, end))


def repeat_an_erasure_for_somebody_else(forger: Forger) -> None:
    """The true erasure of carl once more, with its payload, which opens; but its envelope names alice."""
    index, alice = forger.first(LOG, "erasure"), forger.fields(LOG, 0)["actor"]["user"]
    end = forger.size(LOG)
    forger.append(LOG, {**forger.fields(LOG, index), "targets": [f"User::{alice}"]})
    forger.run("INSERT INTO payloads SELECT ?, sealed FROM payloads WHERE place = ?", forger.place(LOG, end), forger.place(LOG, index))
    forger.mend_trees()
    forger.run("INSERT OR IGNORE INTO erasures VALUES (?, ?, ?)", alice, LOG, f"User::{alice}")
    forger.run("DELETE FROM secrets WHERE pseudonym = ?", alice)


def repeat_a_denial(forger: Forger) -> None:
    """A denial that came once stands twice, payload and all."""
    index, end = forger.first(LOG, "denial"), forger.size(LOG)
    forger.append(LOG, forger.fields(LOG, index) | {"at": forger.fields(LOG, end - 1)["at"] + 1})
    forger.run("INSERT INTO payloads SELECT ?, sealed FROM payloads WHERE place = ?", forger.place(LOG, end), forger.place(LOG, index))
    forger.mend_trees()


# secrets


def delete_a_secret(forger: Forger) -> None:
    forger.run("DELETE FROM secrets WHERE pseudonym = ?", forger.fields(LOG, 0)["actor"]["user"])


def delete_the_secret_of_a_log(forger: Forger) -> None:
    forger.run("DELETE FROM secrets WHERE lookup = ?", log_lookup(LOG))


def swap_two_secrets(forger: Forger) -> None:
    rows = forger.run("SELECT rowid, wrapped FROM secrets WHERE tenant = ? ORDER BY rowid LIMIT 3", LOG)
    for (row, _), (_, wrapped) in zip(rows, [*rows[1:], rows[0]], strict=True):
        forger.run("UPDATE secrets SET wrapped = ? WHERE rowid = ?", wrapped, row)


def swap_two_lookups(forger: Forger) -> None:
    (one, first), (two, second) = forger.run("SELECT rowid, lookup FROM secrets WHERE tenant = ? ORDER BY rowid LIMIT 2 OFFSET 1", LOG)
    for row, lookup in ((one, b"between"), (two, first), (one, second)):
        forger.run("UPDATE secrets SET lookup = ? WHERE rowid = ?", lookup, row)


def point_a_lookup_nowhere(forger: Forger) -> None:
    """The person gets a new secret at the next call, and a new pseudonym: what was written before is not found any more."""
    forger.run("UPDATE secrets SET lookup = randomblob(32) WHERE pseudonym = ?", forger.fields(LOG, 0)["actor"]["user"])


def move_a_secret_to_another_tenant(forger: Forger) -> None:
    forger.run("UPDATE secrets SET tenant = 'globex' WHERE pseudonym = ?", forger.fields(LOG, 0)["actor"]["user"])


def say_that_a_secret_is_under_another_key(forger: Forger) -> None:
    forger.run("UPDATE secrets SET key = 'ffffffffffffffff' WHERE pseudonym = ?", forger.fields(LOG, 0)["actor"]["user"])


def wrap_a_secret_of_his_own(forger: Forger) -> None:
    """A secret that the attacker knows, under a key that he knows, in the place of alice's."""
    alice, mine = forger.fields(LOG, 0)["actor"]["user"], KeyEncryptionKeys([bytes(32)])
    text = "UPDATE secrets SET key = ?, wrapped = ? WHERE pseudonym = ?"
    forger.run(text, mine.current, mine.wrap(bytes(32), LOG, alice), alice)


def claim_the_ledgers_key_for_it(forger: Forger) -> None:
    """As above, but the row says that it is under the ledger's own key."""
    alice, mine = forger.fields(LOG, 0)["actor"]["user"], KeyEncryptionKeys([bytes(32)])
    forger.run("UPDATE secrets SET wrapped = ? WHERE pseudonym = ?", mine.wrap(bytes(32), LOG, alice), alice)


def lower_the_count_of_destroyed_secrets(forger: Forger) -> None:
    """What was sealed before an erasure is taken for newer than it."""
    forger.run("UPDATE ledger SET secrets = secrets - 1")


def bring_an_erased_secret_back(forger: Forger) -> None:
    """From a copy that is older than the erasure: here, any row under carl's pseudonym."""
    carl = forger.one("SELECT pseudonym FROM erasures")
    forger.run("INSERT INTO secrets SELECT ?, tenant, randomblob(32), key, wrapped FROM secrets LIMIT 1", carl)


# who has the key


def seal_another_payload(owner: Owner) -> None:
    index = owner.first(LOG, "denial")
    owner.put_payload(LOG, index, b'{"reason":"another"}', commit=False)


def seal_it_with_another_salt(owner: Owner) -> None:
    index = owner.first(LOG, "denial")
    owner.put_payload(LOG, index, owner.opened(LOG, index).payload, salt=bytes(32), commit=False)


def seal_other_names(owner: Owner) -> None:
    """The record names somebody else, and commits to it."""
    index = owner.first(LOG, "denial")
    payload = owner.payload(LOG, index)
    payload["names"] = dict.fromkeys(payload["names"], 'User::"mallory"')
    owner.put_payload(LOG, index, msgspec.json.encode(payload), commit=True)
    owner.mend_everything()


MISSING = "payload: it is missing, and nothing says that it was erased"
NOT_SEALED = "payload: its bytes are not those that were sealed"
OF_ANOTHER = "payload.names: a pseudonym is not that of this name"
ATTACKS = [
    Attack(replace_a_payload, Forger, "log `acme`, record 22, " + NOT_SEALED, ""),
    Attack(turn_a_payload_into_text, Forger, NOT_SEALED, NOT_SEALED),
    Attack(swap_two_payloads, Forger, NOT_SEALED, ""),
    Attack(repeat_another_payload, Forger, NOT_SEALED, ""),
    Attack(delete_a_payload, Forger, MISSING, MISSING),
    Attack(empty_a_payload, Forger, MISSING, MISSING),
    Attack(delete_all_payloads, Forger, MISSING, MISSING),
    Attack(forge_an_erasure_of_a_person, Forger, NOT_SEALED, "erasures: the erasures are not those that were recorded"),
    Attack(forge_an_erasure_of_payloads, Forger, NOT_SEALED, ""),
    Attack(forge_an_erasure_without_a_payload, Forger, MISSING, MISSING),
    Attack(repeat_an_erasure_for_somebody_else, Forger, "log `acme`, record 42, id: record 32 has it already", "record 42, id: record 32"),
    Attack(repeat_a_denial, Forger, "log `acme`, record 42, id: record 22 has it already", "record 42, id: record 22"),
    Attack(delete_a_secret, Forger, MISSING, ""),
    Attack(delete_the_secret_of_a_log, Forger, MISSING, ""),
    Attack(swap_two_secrets, Forger, NOT_SEALED, ""),
    Attack(swap_two_lookups, Forger, OF_ANOTHER, ""),
    Attack(point_a_lookup_nowhere, Forger, OF_ANOTHER, ""),
    Attack(move_a_secret_to_another_tenant, Forger, NOT_SEALED, ""),
    Attack(claim_the_ledgers_key_for_it, Forger, NOT_SEALED, ""),
    Attack(bring_an_erased_secret_back, Forger, "log `acme`, secrets: the secret of somebody who was erased is there", ""),
    Attack(seal_another_payload, Owner, "payload or salt is not what the envelope commits to", ""),
    Attack(seal_it_with_another_salt, Owner, "payload or salt is not what the envelope commits to", ""),
    Attack(seal_other_names, Owner, OF_ANOTHER, ""),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=name_of)
def test_what_is_done_to_payloads_and_secrets_is_shown(stored: Stored, attack: Attack) -> None:
    attack.carry_out(stored)
    for with_key, shown in ((True, attack.shown), (False, attack.shown_without_key)):
        problems = stored.problems(with_key=with_key)
        assert any(shown in problem for problem in problems) if shown else not problems, (with_key, problems)


@pytest.mark.parametrize("act", [say_that_a_secret_is_under_another_key, wrap_a_secret_of_his_own])
def test_a_secret_under_another_key_locks_payloads_which_are_counted_and_stops_the_start(stored: Stored, act: Act) -> None:
    with Forger(stored) as forger:
        act(forger)
    report = stored.report()
    assert report.ok
    assert report.locked > 0
    with pytest.raises(KeyUnavailable, match="1 secrets of the ledger"):
        stored.refused_at_start_by()


def test_a_lowered_count_of_destroyed_secrets_makes_writers_seal_anew_and_changes_nothing(stored: Stored) -> None:
    """Nothing is derived from it but whether two writers have seen the same: each reads it when it starts."""
    with Forger(stored) as forger:
        lower_the_count_of_destroyed_secrets(forger)
    with world_on(stored.folder, ANCHORED) as w:
        assert isinstance(w.adjust(), Ok)
    assert stored.problems() == []


def test_what_the_keys_owner_seals_and_commits_to_is_seen_only_from_outside(stored: Stored) -> None:
    with Owner(stored) as owner:
        index = owner.first(LOG, "denial")
        owner.put_payload(LOG, index, b'{"reason":"another"}', commit=True)
        owner.mend_everything()
    assert stored.problems() == []
    assert seen_from_outside(stored) == {"anchor", "checkpoint", "receipt"}
