"""The API keys of a store as a process sees them: what the records bear out, and revocations within a second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from licet.config import loads
from licet.errors import NotAuthenticated, StoreUnavailable
from licet.gate.authenticating import Authenticating
from licet.gate.credentials import Credentials, IssuedKey
from licet.gate.key_view import FRESH_S, KeyView
from licet.gate.opening import OpenLedger
from licet.identity.api_keys import KeyContent
from licet.identity.authenticated import Authenticated
from licet.identity.directory import Directory
from licet.ledger.verify import verify
from tests.identity.people import CONFIG

ROBOT = KeyContent(name="robot", tenants=("acme",), agents=("support-bot",), users=("alice",), roles=("licet-agent",))
TOKENLESS = CONFIG.partition("[[identity.issuers]]")[0].replace("logins =", "# logins =")


@dataclass
class Room:
    """One process on the ledger."""

    ledger: OpenLedger
    keys: Credentials
    view: KeyView
    door: Authenticating
    clock: list[float]

    def age(self, seconds: float) -> None:
        """The view is so much older."""
        self.clock[0] += seconds


@contextmanager
def room(folder: Path) -> Iterator[Room]:
    settings = loads(TOKENLESS, file=folder / "licet.toml")
    directory = Directory.from_settings(settings)

    def now() -> datetime:
        return datetime.now(UTC)

    with OpenLedger(settings, now) as ledger:
        keys = Credentials(
            ledger.store, ledger.writer, directory=directory, environment=settings.environment, now=now, operating_user="operator"
        )
        clock = [100.0]
        view = KeyView(ledger.store, ledger.writer, clock=lambda: clock[0])
        with Authenticating(ledger.store, ledger.writer, settings=lambda: settings, directory=lambda: directory, now=now) as door:
            yield Room(ledger, keys, view, door, clock)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Room]:
    with room(tmp_path) as opened:
        yield opened


def issued(here: Room, expires_s: int | None = 3_600) -> IssuedKey:
    return here.keys.issue(ROBOT, expires_s=expires_s)


def edit(folder: Path, text: str) -> None:
    """As somebody who can write the file would."""
    con = apsw.Connection(str(folder / "licet.db"))
    con.execute(text)
    con.close()


def test_a_key_is_found_as_it_was_issued(here: Room) -> None:
    key = issued(here)
    here.view.refresh()
    found = here.view.find(key.credential.id)
    assert found is not None
    assert found.content == ROBOT
    assert here.view.ends_at(key.credential.id) is None
    assert here.view.find("nobody") is None


def test_a_key_that_another_process_issued_a_moment_ago_is_found(tmp_path: Path, here: Room) -> None:
    here.view.refresh()
    with room(tmp_path) as other:
        key = issued(other)
    assert here.view.find(key.credential.id) is not None


def test_a_key_is_found_of_whose_commit_the_database_has_not_told_this_process_yet(
    tmp_path: Path, here: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.view.look()
    before = here.view._store.version()
    monkeypatch.setattr(here.view._store, "version", lambda: before)
    with room(tmp_path) as other:
        key = issued(other)
    assert here.view.find(key.credential.id) is not None


FORGERIES = {
    "a row that nobody issued": (
        "INSERT INTO credentials SELECT 'aaaaaaaaaaaaaaaa', x'00', content, created_at, expires_at, NULL, NULL FROM credentials",
        "aaaaaaaaaaaaaaaa",
    ),
    "another secret": ("UPDATE credentials SET digest = x'00'", None),
    "more tenants": ("UPDATE credentials SET content = CAST(replace(CAST(content AS TEXT), '[\"acme\"]', '[\"*\"]') AS BLOB)", None),
    "another role": ("UPDATE credentials SET content = CAST(replace(CAST(content AS TEXT), 'licet-agent', 'licet-admin') AS BLOB)", None),
    "no expiry": ("UPDATE credentials SET expires_at = NULL", None),
    "nothing that can be read": ("UPDATE credentials SET content = x'ff'", None),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_row_that_no_record_bears_out_is_refused_and_said(
    tmp_path: Path, here: Room, forgery: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = issued(here)
    text, id_ = FORGERIES[forgery]
    edit(tmp_path, text)
    here.view.refresh()
    with caplog.at_level(logging.ERROR, "licet.gate"):
        assert here.view.find(id_ or key.credential.id) is None
        assert here.view.find(id_ or key.credential.id) is None
    (said,) = caplog.messages
    assert "is not what the log says, and is refused" in said


def test_a_revoked_key_stays_revoked_whatever_its_row_says(tmp_path: Path, here: Room) -> None:
    key = issued(here)
    assert here.door.authenticator.authenticate(f"Bearer {key.key}").agents == ("support-bot",)
    here.keys.revoke(key.credential.id, reason="stolen")
    edit(tmp_path, "UPDATE credentials SET ends_at = NULL")
    here.view.look()
    assert here.view.ends_at(key.credential.id) is not None
    with room(tmp_path) as other, pytest.raises(NotAuthenticated) as caught:
        other.door.authenticator.authenticate(f"Bearer {key.key}")
    assert caught.value.reason == "revoked"


def test_a_revocation_by_another_process_counts_within_a_second(tmp_path: Path, here: Room) -> None:
    key = issued(here)
    header = f"Bearer {key.key}"
    here.door.authenticator.authenticate(header)
    assert here.door.authenticator.find_known(header) is not None
    with room(tmp_path) as other:
        other.keys.revoke(key.credential.id, reason="stolen")
    until = time.monotonic() + 30  # a machine may stand still for seconds; what is promised is tested below
    while here.door.authenticator.find_known(header) is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert here.door.authenticator.find_known(header) is None
    with pytest.raises(NotAuthenticated) as caught:
        here.door.authenticator.authenticate(header)
    assert caught.value.reason == "revoked"


def test_a_view_that_is_a_second_old_lets_nobody_in(here: Room) -> None:
    assert FRESH_S < 1
    assert not here.view.is_fresh()
    here.view.refresh()
    here.age(FRESH_S - 0.01)
    assert here.view.is_fresh()
    here.age(0.02)
    assert not here.view.is_fresh()


def test_a_store_that_cannot_be_read_lets_nobody_in(here: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> int:
        raise StoreUnavailable("the ledger is away")

    monkeypatch.setattr(here.ledger.store, "version", away)
    with pytest.raises(StoreUnavailable):
        here.view.refresh()
    assert not here.view.is_fresh()


def test_an_outage_is_said_once(here: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def away() -> int:
        raise StoreUnavailable("the ledger is away")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "licet.gate"):
        patched.setattr(here.ledger.store, "version", away)
        for _ in range(3):
            here.view._look_patiently()
    said = "licet: which keys were revoked cannot be read, so no key is accepted: the ledger is away"
    assert caplog.messages.count(said) in {1, 2}  # this view, and that of the door, if its thread has looked meanwhile
    assert not here.view.is_fresh()
    here.view._look_patiently()
    assert here.view.is_fresh()


def test_records_are_read_only_where_something_was_committed(here: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    here.view.refresh()
    read = here.ledger.store.credential_records
    asked: list[int] = []

    def counted(start: int = 0) -> object:
        asked.append(start)
        return read(start)

    monkeypatch.setattr(here.ledger.store, "credential_records", counted)
    for _ in range(5):
        here.age(1)
        here.view.refresh()
    assert asked == []
    key = issued(here)
    asked.clear()
    here.age(1)
    here.view.refresh()
    assert len(asked) == 1
    assert here.view.find(key.credential.id) is not None


def test_when_a_key_was_used_last_is_written_later(here: Room) -> None:
    key = issued(here)
    id_ = key.credential.id
    at = int(datetime.now(UTC).timestamp() * 1_000_000)
    here.view.note_use(id_, at)
    assert here.keys.show(id_).last_used_at is None
    here.view.write_uses()
    assert here.keys.show(id_).last_used_at == datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)
    here.view.write_uses()  # nothing to write, and no error
    with here.ledger.store.source() as source:
        assert verify(source).problems == ()


def test_a_use_that_was_not_written_yet_is_written_at_the_end(tmp_path: Path) -> None:
    with room(tmp_path) as here:
        key = issued(here)
        here.door.authenticator.authenticate(f"Bearer {key.key}")
    with room(tmp_path) as again:
        assert again.keys.show(key.credential.id).last_used_at is not None


def test_each_act_names_who_did_it(here: Room) -> None:
    key = here.keys.issue(ROBOT, expires_s=None, by="gina")
    successor = here.keys.showing(Authenticated(method="api_key", credential="cred-1")).rotate(key.credential.id, overlap_s=60)
    here.keys.revoke(successor.credential.id, reason="over")
    records = [record for record in here.ledger.store.records("operator") if record.kind == "admin"]
    said = [bytes(record.payload or b"").decode() for record in records]
    assert '"act":"issue_credential"' in said[0]
    assert '"by":"gina"' in said[0]
    assert '"operating_user":"operator"' in said[0]
    assert '"act":"rotate_credential"' in said[1]
    assert f'"credential":"{successor.credential.id}"' in said[1]
    assert '"shown":"cred-1"' in said[1]
    assert '"reason":"over"' in said[2]
    assert not any(key.key in one or successor.key in one for one in said)


def test_no_error_ends_the_thread_that_looks(here: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    met = threading.Semaphore(0)

    def broken(_start: int = 0) -> None:
        met.release()
        raise RuntimeError("a row that nobody thought of")

    with monkeypatch.context() as breaking:
        breaking.setattr(here.ledger.store, "credential_records", broken)
        view = KeyView(here.ledger.store, None)
        view.start()
        assert met.acquire(timeout=30)
        assert met.acquire(timeout=30), "it has looked again"
    end = time.monotonic() + 30
    while not view.is_fresh():
        assert time.monotonic() < end
        time.sleep(0.01)
    view.close()
    assert "which keys were revoked cannot be read" in caplog.text
    assert "a row that nobody thought of" in caplog.text
