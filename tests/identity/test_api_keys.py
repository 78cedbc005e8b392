"""API keys: what one looks like, which are accepted, and why the others are not."""

from __future__ import annotations

import hashlib
import string

import pytest
from msgspec.structs import replace

from licet.errors import NotAuthenticated
from licet.identity.api_keys import ERASED, KeyContent, StoredKey, find_id, mint
from licet.identity.authenticated import AskedCaller
from licet.identity.authenticator import Authenticator
from tests.identity.keys import Keys, directory_of
from tests.identity.people import CONFIG

ROBOT = KeyContent(name="robot", tenants=("acme",), agents=("support-bot",), users=("alice",), roles=("licet-agent",))
ALICE = KeyContent(name="alice's", tenants=("acme",), user="alice")


@pytest.fixture
def keys() -> Keys:
    return Keys()


def refused(keys: Keys, shown: str) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated) as caught:
        keys.verifier().verify(shown, None)
    return caught.value


def test_a_key_says_what_it_is_and_its_id_is_found() -> None:
    minted = mint()
    prefix, id_, secret = minted.key.split("_")
    assert (prefix, id_) == ("licet", minted.id)
    assert (len(id_), len(secret)) == (16, 49)
    assert set(secret) <= set(string.ascii_letters + string.digits)
    assert minted.digest == hashlib.sha256(minted.key.encode()).digest()
    assert find_id(minted.key) == minted.id
    assert minted.key not in repr(minted)


def test_no_two_keys_are_alike() -> None:
    made = [mint() for _ in range(200)]
    assert len({one.id for one in made}) == len({one.digest for one in made}) == 200


def test_one_wrong_letter_anywhere_is_a_typing_error_and_asks_no_store(keys: Keys) -> None:
    minted = keys.put(ROBOT)
    for place in range(len(minted.key)):
        letter = "b" if minted.key[place] != "b" else "c"
        wrong = minted.key[:place] + letter + minted.key[place + 1 :]
        assert find_id(wrong) is None, place
    assert refused(keys, minted.key[:-1] + ("a" if minted.key[-1] != "a" else "b")).reason == "malformed_key"
    assert keys.asked == 0


@pytest.mark.parametrize("shown", ["", "licet_", "licet__", "licet_a_b", "LICET_" + "a" * 16 + "_" + "b" * 49, "licet_" + "a" * 100_000])
def test_what_is_no_key_has_no_id(shown: str) -> None:
    assert find_id(shown) is None


def test_a_key_speaks_for_what_it_was_issued_for(keys: Keys) -> None:
    minted = keys.put(ROBOT)
    who = keys.verifier().verify(minted.key, None)
    assert (who.method, who.credential, who.user, who.tenants) == ("api_key", minted.id, None, ("acme",))
    assert (who.agents, who.services, who.users, who.roles) == (("support-bot",), (), ("alice",), ("licet-agent",))
    caller = who.calling(AskedCaller())
    assert (caller.tenant, caller.agent, caller.user, caller.roles) == ("acme", "support-bot", "alice", ())


def test_a_persons_key_is_the_person_and_calls_nothing(keys: Keys) -> None:
    who = keys.verifier().verify(keys.put(ALICE).key, None)
    assert who.user == "alice"
    assert who.agents == who.services == who.users == ()


def test_a_key_that_nobody_issued_is_refused_like_one_with_another_secret(keys: Keys) -> None:
    minted, other = keys.put(ROBOT), mint()
    unknown = refused(keys, other.key)
    keys.rows[other.id] = keys.rows[minted.id]  # the row of another key, as somebody might copy it
    wrong = refused(keys, other.key)
    assert unknown.reason == wrong.reason == "unknown_key"
    assert str(unknown) == str(wrong) == "the credential is not accepted"
    assert unknown.code == wrong.code == "invalid_credential"


def test_a_key_is_good_until_it_expires(keys: Keys) -> None:
    minted, verifier = keys.put(ROBOT, expires_at=2_000), keys.verifier()
    keys.now = 1_999
    assert verifier.verify(minted.key, None).expires_at == 2_000
    assert verifier.find_known(minted.key, None) is not None
    keys.now = 2_000
    assert verifier.find_known(minted.key, None) is None
    assert refused(keys, minted.key).reason == "expired"


def test_what_was_verified_is_known_without_asking_again(keys: Keys) -> None:
    minted, verifier = keys.put(ROBOT), keys.verifier()
    assert verifier.find_known(minted.key, None) is None
    who = verifier.verify(minted.key, None)
    for _ in range(5):
        assert verifier.find_known(minted.key, None) == who
    assert keys.asked == 1
    assert keys.used == {minted.id: 1_000}


def test_a_revoked_key_is_not_known_any_more(keys: Keys) -> None:
    minted, verifier = keys.put(ROBOT), keys.verifier()
    verifier.verify(minted.key, None)
    keys.ends[minted.id] = 1_500
    keys.now = 1_499
    assert verifier.find_known(minted.key, None) is not None
    keys.now = 1_500
    assert verifier.find_known(minted.key, None) is None
    with pytest.raises(NotAuthenticated) as caught:
        verifier.verify(minted.key, None)
    assert (caught.value.reason, caught.value.detail) == ("revoked", minted.id)


def test_nothing_is_known_while_a_revocation_could_be_missed(keys: Keys) -> None:
    minted, verifier = keys.put(ROBOT), keys.verifier()
    verifier.verify(minted.key, None)
    keys.fresh = False
    assert verifier.find_known(minted.key, None) is None
    keys.down = True
    failed = refused(keys, minted.key)
    assert (failed.code, failed.reason) == ("unavailable", "store_unavailable")
    assert "the ledger is away" not in str(failed)


def test_the_key_of_somebody_who_has_left_is_refused_at_once(keys: Keys) -> None:
    minted, verifier = keys.put(ALICE), keys.verifier()
    verifier.verify(minted.key, None)
    keys.directory = directory_of(CONFIG.replace('logins = ["https://idp.example.com|00u1"]', "disabled = true"))
    assert verifier.find_known(minted.key, None) is None
    assert refused(keys, minted.key).reason == "user_unknown_or_disabled"


def test_the_header_decides_who_is_asked(keys: Keys) -> None:
    minted = keys.put(ROBOT)
    door = Authenticator(keys=keys.verifier())
    assert door.authenticate(f"bearer {minted.key}").credential == minted.id
    assert door.find_known(f"Bearer {minted.key}") is not None
    assert door.find_known(None) is None
    cases = {
        None: ("no_credential", "missing"),
        "": ("invalid_credential", "not_bearer"),
        f"Basic {minted.key}": ("invalid_credential", "not_bearer"),
        f"Bearer  {minted.key}": ("invalid_credential", "not_bearer"),
        f"Bearer {minted.key} {minted.key}": ("invalid_credential", "not_bearer"),
        f"Bearer {minted.key}\u00e9": ("invalid_credential", "not_bearer"),
        "Bearer " + "a" * 20_000: ("invalid_credential", "not_bearer"),
        "Bearer a.b.c": ("invalid_credential", "kind_not_accepted"),
        "Bearer LICET_a_b": ("invalid_credential", "kind_not_accepted"),
    }
    for header, expected in cases.items():
        with pytest.raises(NotAuthenticated) as caught:
            door.authenticate(header)
        assert (caught.value.code, caught.value.reason) == expected, header
        assert door.find_known(header) is None


def test_a_certificate_counts_only_where_certificates_are_accepted() -> None:
    with pytest.raises(NotAuthenticated) as caught:
        Authenticator().authenticate(None, b"a certificate")
    assert caught.value.code == "no_credential"


def test_a_key_whose_content_has_changed_is_verified_anew(keys: Keys) -> None:
    minted, verifier = keys.put(ROBOT), keys.verifier()
    keys.marks[minted.id] = "issued"
    assert verifier.verify(minted.key, None).users == ("alice",)
    assert verifier.find_known(minted.key, None) is not None
    keys.rows[minted.id] = replace(keys.rows[minted.id], content=replace(ROBOT, users=(ERASED,)))
    keys.marks[minted.id] = "changed"
    assert verifier.find_known(minted.key, None) is None
    assert verifier.verify(minted.key, None).users == (ERASED,)


def test_a_content_that_changes_while_it_is_read_is_not_remembered(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    minted, verifier = keys.put(ROBOT), keys.verifier()
    keys.marks[minted.id] = "issued"
    found = keys.find

    def change_behind(credential: str) -> StoredKey | None:
        row = found(credential)
        keys.marks[minted.id] = "changed"
        return row

    monkeypatch.setattr(keys, "find", change_behind)
    verifier.verify(minted.key, None)
    assert verifier.find_known(minted.key, None) is None
