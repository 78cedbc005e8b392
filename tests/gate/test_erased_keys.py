"""What an erasure leaves of API keys, where something else has happened beside it: an edit, a backup, a key issued meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from licet.errors import CredentialRefused, IntegrityBroken, NotAuthenticated
from licet.gate.opening import OpenLedger
from licet.identity.api_keys import ERASED, KeyContent, decode_content, encode_content
from licet.ledger.acts import Operator
from licet.ledger.erasure import Erased, erase
from licet.ledger.erasure_keys import KeysCleared, clear_keys
from licet.ledger.erasure_manifest import ErasedTarget
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.ledger.verify import verify
from licet.store.credentials import RewriteCredential
from tests.gate.test_key_view import ROBOT, Room, here, room

__all__ = ["here"]  # a fixture
ALICE = Subject("acme", "User", "alice")
HERS = KeyContent(name="hers", tenants=("acme",), user="alice")


def operator(ledger: OpenLedger, at: Room) -> Operator:
    return Operator(store=ledger.store, writer=ledger.writer, environment="test", now=at.keys._now, by="olga")


def erased(at: Room) -> Erased:
    return erase(operator(at.ledger, at), at.ledger.manifest, ALICE, "asked for")


def contents(at: Room) -> list[KeyContent]:
    return [replace(decode_content(row.issued.content), salt="") for row in at.ledger.store.credentials()]


def problems(at: Room) -> list[str]:
    with at.ledger.store.source() as source:
        return [problem.message for problem in verify(source).problems]


def test_a_row_that_was_widened_is_cleared_and_not_made_lawful(here: Room) -> None:
    shared = here.keys.issue(replace(ROBOT, users=("alice", "gina")), expires_s=None)
    row = here.ledger.store.find_credential(shared.credential.id)
    assert row is not None
    wider = encode_content(replace(decode_content(row.issued.content), agents=("*",), roles=("licet-admin",)))
    here.ledger.writer.submit(Filing((), (RewriteCredential(shared.credential.id, row.issued.content, wider),))).wait()
    assert erased(here).credentials == (shared.credential.id,)
    assert [content.users for content in contents(here)] == [(ERASED, "gina")]
    assert here.keys.show(shared.credential.id).state == "broken"
    assert problems(here) == [f"credential {shared.credential.id} is not what was issued"]
    with pytest.raises(NotAuthenticated) as refused:
        here.door.authenticator.authenticate(f"Bearer {shared.key}")
    assert refused.value.reason == "unknown_key"
    with pytest.raises(IntegrityBroken, match="is not what was issued"):
        here.keys.rotate(shared.credential.id, overlap_s=0)


def test_a_restored_backup_brings_back_neither_the_key_nor_the_name(tmp_path: Path) -> None:
    with room(tmp_path) as at:
        hers = at.keys.issue(HERS, expires_s=None)
    shutil.copy(tmp_path / "licet.db", tmp_path / "backup")
    with room(tmp_path) as at:
        erased(at)
    shutil.copy(tmp_path / "backup", tmp_path / "licet.db")
    with room(tmp_path) as at:
        assert contents(at) == [replace(HERS, user=ERASED)]
        assert at.keys.show(hers.credential.id).state == "ended"
        with pytest.raises(NotAuthenticated) as refused:
            at.door.authenticator.authenticate(f"Bearer {hers.key}")
        assert refused.value.reason == "revoked"
        assert problems(at) == []


def test_a_key_that_is_changed_meanwhile_is_looked_at_again(here: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    first = here.keys.issue(HERS, expires_s=None)
    tries: list[int] = []

    def late(by: Operator, gone: ErasedTarget, user: str | None) -> KeysCleared:
        found = clear_keys(by, gone, user)
        if not tries:
            here.keys.issue(replace(HERS, name="second"), expires_s=None)
        tries.append(len(found.credentials))
        return found

    monkeypatch.setattr("licet.ledger.erasure.clear_keys", late)
    assert len(erased(here).credentials) == 2
    assert tries == [1, 2]
    assert [content.user for content in contents(here)] == [ERASED, ERASED]
    assert here.keys.show(first.credential.id).state == "ended"
    assert problems(here) == []


def test_a_key_that_has_ended_names_nobody_either_and_keeps_its_end(here: Room) -> None:
    hers = here.keys.issue(HERS, expires_s=None)
    ended = here.keys.revoke(hers.credential.id, reason="lost").credential.ends_at
    assert erased(here).credentials == (hers.credential.id,)
    shown = here.keys.show(hers.credential.id)
    assert (shown.state, shown.user, shown.ends_at) == ("ended", ERASED, ended)
    with pytest.raises(CredentialRefused) as refused:
        here.keys.rotate(hers.credential.id, overlap_s=0)
    assert refused.value.code == "already_ended"
    assert problems(here) == []


def test_keys_that_name_somebody_else_and_erasures_of_targets_change_nothing(here: Room) -> None:
    here.keys.issue(HERS, expires_s=None)
    others = here.keys.issue(replace(ROBOT, name="malice", users=("*",)), expires_s=None)
    done = erased(here)
    assert others.credential.id not in done.credentials
    assert here.keys.show(others.credential.id).name == "malice"
    nobody = ErasedTarget("acme", "Customer::" + "a" * 32)
    assert clear_keys(operator(here.ledger, here), nobody, "alice") == KeysCleared()


def test_a_new_key_of_an_erased_user_is_a_new_beginning(here: Room) -> None:
    here.keys.issue(HERS, expires_s=None)
    erased(here)
    again = here.keys.issue(HERS, expires_s=None)
    assert here.door.authenticator.authenticate(f"Bearer {again.key}").user == "alice"
    assert problems(here) == []
