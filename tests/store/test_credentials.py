"""Credentials on a store: issued once, ended only earlier, held against the records."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import pytest

from licet.ledger.issued import IssuedCredential, Issues, change_mark, end_mark
from licet.ledger.seal import Filing, Statement
from licet.ledger.verify import verify
from licet.model import OPERATOR_LOG
from licet.store.contract import Committed, Lost, Store
from licet.store.credentials import EndCredential, PutCredential, RewriteCredential, TouchCredentials
from tests.store.conftest import Database, SqliteDatabase
from tests.store.samples import commit, record, written

ROBOT = IssuedCredential(id="robot", digest=b"\1" * 32, content=b'{"agents":["bot"]}', created_at=5, expires_at=900)


def said(*marks: str) -> Statement:
    return msgspec.structs.replace(record("admin", OPERATOR_LOG), marks=marks)


def issue(credential: IssuedCredential = ROBOT) -> Filing:
    return Filing((said(credential.mark),), (PutCredential(credential),))


def end(ends_at: int, credential: str = "robot") -> Filing:
    return Filing((said(end_mark(credential, ends_at)),), (EndCredential(credential, ends_at),))


def rewrite(content: bytes, ends_at: int | None = None, former: bytes = ROBOT.content) -> Filing:
    anew = msgspec.structs.replace(ROBOT, content=content)
    marks = (change_mark(anew), *((end_mark("robot", ends_at),) if ends_at is not None else ()))
    return Filing((said(*marks),), (RewriteCredential("robot", former, content, ends_at),))


def problems(store: Store) -> list[str]:
    with store.source() as source:
        return [problem.message for problem in verify(source).problems]


def test_what_was_issued_is_found_as_it_was(store: Store) -> None:
    assert store.find_credential("robot") is None
    assert store.credentials() == ()
    written(store, issue())
    found = store.find_credential("robot")
    assert found is not None
    assert (found.issued, found.ends_at, found.last_used_at) == (ROBOT, None, None)
    assert store.credentials() == (found,)
    assert problems(store) == []


@pytest.mark.parametrize("changed", [{"id": "robot"}, {"id": "other"}], ids=["same id", "same digest"])
def test_neither_an_id_nor_a_digest_is_issued_twice(store: Store, changed: dict[str, str]) -> None:
    written(store, issue())
    again = msgspec.structs.replace(ROBOT, **changed)
    assert commit(store, [issue(again)]) == [Lost("credential_exists", f"there is a credential `{again.id}` already")]
    assert len(store.credentials()) == 1
    assert problems(store) == []


def test_an_end_only_comes_closer(store: Store) -> None:
    written(store, issue())
    written(store, end(700))
    written(store, end(600))
    lost = [Lost("credential_ended", "credential `robot` has ended, or ends earlier already")]
    assert commit(store, [end(600)]) == lost
    assert commit(store, [end(650)]) == lost
    assert commit(store, [end(1, credential="nobody")]) == [
        Lost("credential_ended", "credential `nobody` has ended, or ends earlier already")
    ]
    found = store.find_credential("robot")
    assert found is not None
    assert found.ends_at == 600
    assert problems(store) == []


@pytest.mark.parametrize(
    ("before", "ends_at", "after"), [(None, None, None), (None, 700, 700), (600, None, 600), (600, 700, 600), (800, 700, 700)]
)
def test_a_content_is_replaced_and_an_end_only_comes_closer(store: Store, before: int | None, ends_at: int | None, after: int) -> None:
    written(store, issue())
    if before is not None:
        written(store, end(before))
    written(store, rewrite(b"{}", ends_at))
    found = store.find_credential("robot")
    assert found is not None
    assert (found.issued, found.ends_at) == (msgspec.structs.replace(ROBOT, content=b"{}"), after)
    assert problems(store) == []


def test_a_content_that_is_another_by_now_is_not_replaced(store: Store) -> None:
    written(store, issue())
    written(store, rewrite(b"{}"))
    lost = [Lost("credential_moved", "credential `robot` was changed at the same moment")]
    assert commit(store, [rewrite(b"[]")]) == lost
    found = store.find_credential("robot")
    assert found is not None
    assert found.issued.content == b"{}"
    assert problems(store) == []


def test_a_use_moves_on_and_needs_no_record(store: Store) -> None:
    written(store, issue())
    for at in (50, 40, 60):
        (answer,) = store.commit([store.seal(Filing((), (TouchCredentials((("robot", at), ("nobody", 1))),)))])
        assert isinstance(answer, Committed)
    found = store.find_credential("robot")
    assert found is not None
    assert found.last_used_at == 60
    assert problems(store) == []


def test_records_are_read_on_from_where_somebody_was(database: Database) -> None:
    store, other = database.open(), database.open()
    assert store.credential_records().envelopes == ()
    written(store, issue())
    first = store.credential_records()
    assert len(first.envelopes) == 1
    assert store.credential_records(first.next).envelopes == ()
    written(store, Filing((record("policy", OPERATOR_LOG),)))
    written(other, end(700))
    later = store.credential_records(first.next)
    assert len(later.envelopes) == 1
    issues = Issues()
    assert [issues.take(envelope) for envelope in first.envelopes + later.envelopes] == [None, None]
    assert issues.bears_out(ROBOT)
    assert issues.ends == {"robot": 700}


EDITS = {
    "forged": ("INSERT INTO credentials VALUES ('evil', x'02', x'7b7d', 1, NULL, NULL, NULL)", "no record issued this credential"),
    "widened": ("""UPDATE credentials SET content = CAST('{"agents":["*"]}' AS BLOB)""", "credential robot is not what was issued"),
    "given another secret": ("UPDATE credentials SET digest = x'03'", "credential robot is not what was issued"),
    "made to last": ("UPDATE credentials SET expires_at = NULL", "credential robot is not what was issued"),
    "revived": ("UPDATE credentials SET ends_at = NULL", "credential robot does not end when the records say"),
    "ended": ("UPDATE credentials SET ends_at = 1", "credential robot does not end when the records say"),
    "deleted": ("DELETE FROM credentials", "a credential that was issued has no row"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_that_somebody_has_edited_is_found(tmp_path: Path, edit: str) -> None:
    database = SqliteDatabase(f"sqlite:{tmp_path}/licet.db")
    store = database.open()
    written(store, issue())
    written(store, end(700))
    assert problems(store) == []
    text, message = EDITS[edit]
    con = apsw.Connection(f"{tmp_path}/licet.db")
    con.execute(text)
    con.close()
    assert problems(store) == [message]
    store.close()


def test_records_that_contradict_each_other_are_found(store: Store) -> None:
    written(store, Filing((said(end_mark("nobody", 5)),)))
    assert problems(store) == ["a credential or its end, and it ends a credential that was not issued: `nobody`"]


def test_a_change_of_what_was_not_issued_is_found(store: Store) -> None:
    written(store, Filing((said(change_mark(ROBOT)),)))
    assert problems(store) == ["a credential or its end, and it changes a credential that was not issued: `robot`"]


def test_a_row_with_its_former_content_is_found(store: Store) -> None:
    written(store, issue())
    written(store, rewrite(b"{}"))
    (answer,) = store.commit([store.seal(Filing((), (RewriteCredential("robot", b"{}", ROBOT.content),)))])
    assert isinstance(answer, Committed)
    assert problems(store) == ["credential robot is not what was issued"]


def test_a_tenants_log_issues_nothing() -> None:
    issues = Issues()
    envelope = {"log": "acme", "kind": "admin", "targets": [ROBOT.mark]}
    assert issues.take(msgspec.json.encode(envelope)) is None
    assert not issues.bears_out(ROBOT)
    assert issues.take(b"{") == "it cannot be read"
