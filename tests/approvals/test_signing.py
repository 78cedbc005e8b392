"""Votes that are signed: an approval of what is risky takes the voter's own passkey, on exactly that vote, once; the log shows it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from licet.approvals import desk
from licet.approvals.signing import ShownAssertion
from licet.approvals.standing import binding_of, standing
from licet.approvals.viewed import get_request
from licet.errors import VoteRefused
from licet.gate.forgetting import forget
from licet.gate.results import Held, Ok
from licet.identity.api_keys import KeyContent
from licet.ledger.passkeys import challenge_of, vote_digest
from licet.ledger.vault import Subject
from licet.model import Assertion, RequestId
from tests.console.authenticator import PRESENT, Authenticator, Kind, coded
from tests.gate.proof import assert_whole, report_of
from tests.world import CONFIG, World, world

RISKY = CONFIG + 'passkey_for = ["money"]\n'
OTHER = "0" * 64


@pytest.fixture
def there() -> Iterator[World]:
    with world(RISKY) as made:
        yield made


@pytest.fixture
def key(there: World) -> Authenticator:
    made = Authenticator()
    made.give_to(there.gate, "lena")
    return made


def held(there: World, amount: int = 50_000) -> RequestId:
    found = there.held(amount).request
    assert found is not None
    return found


def binding(there: World, request: RequestId) -> str:
    shown = there.gate.approvals.show(request)
    return binding_of(shown.request.key, shown.request.preview_digest, shown.request.obligations)


def digest(there: World, request: RequestId, /, **other: Any) -> str:
    said: dict[str, Any] = {
        "log": "acme",
        "request": request,
        "binding": binding(there, request),
        "verdict": "approve",
        "voter": "lena",
        "number": 0,
        "comment": None,
    }
    return vote_digest(**(said | other))


def signed(key: Authenticator, *digests: str, **more: Any) -> ShownAssertion:
    return ShownAssertion(**key.answer(challenge_of(digests), **more))


def approve(there: World, request: RequestId, shown: ShownAssertion | None, **more: Any) -> Any:
    return there.gate.approvals.vote(request, more.pop("voter", "lena"), more.pop("verdict", "approve"), signed=shown, **more)


def refused(there: World, request: RequestId, shown: ShownAssertion | None, code: str, words: str, **more: Any) -> None:
    with pytest.raises(VoteRefused, match=words) as caught:
        approve(there, request, shown, **more)
    assert caught.value.code == code
    assert get_request(there.gate.store, request)[1] == ()
    assert_whole(there.gate)


@pytest.mark.parametrize("kind", ["es256", "eddsa", "rs256"])
def test_an_approval_that_is_signed_counts_and_is_kept_with_its_signature(there: World, kind: Kind) -> None:
    key = Authenticator(kind)
    credential = key.give_to(there.gate, "lena")
    request = held(there)
    shown = signed(key, digest(there, request, comment="as agreed: ä\n"))
    approve(there, request, shown, comment="as agreed: ä\n", binding=binding(there, request))
    vote = get_request(there.gate.store, request)[1][0]
    assert vote.assertion == Assertion(
        credential=credential,
        passkey=key.passkey,
        authenticator_data=shown.authenticator_data,
        client_data=shown.client_data,
        signature=shown.signature,
        votes=(digest(there, request, comment="as agreed: ä\n"),),
    )
    assert isinstance(there.adjust(50_000), Ok)
    assert_whole(there.gate)
    assert there.gate.credentials.show(credential).last_used_at is not None


def test_an_approval_that_is_not_signed_is_refused_and_says_where_to_go(there: World) -> None:
    refused(there, held(there), None, "passkey_needed", "signed with a passkey: approve it in the console; a rejection takes none")


def test_a_rejection_takes_no_passkey(there: World) -> None:
    request = held(there)
    approve(there, request, None, verdict="reject")
    assert there.denied(there.adjust(50_000), "rejected")
    assert_whole(there.gate)


@pytest.mark.parametrize(
    ("classes", "is_needed"),
    [
        ('["money"]', True),
        ('["write"]', True),
        ('["customers", "money"]', True),
        ('["production"]', False),
        ('["destructive"]', False),
        ('["read"]', False),
        ("[]", False),
    ],
)
def test_which_requests_need_one_is_said_by_what_their_tool_touches_and_does(classes: str, is_needed: bool) -> None:  # noqa: FBT001
    with world(f"{CONFIG}passkey_for = {classes}\n") as there:
        request = held(there)
        assert (there.gate.approvals.show(request).request.passkey is True) == is_needed
        if not is_needed:
            approve(there, request, None)
            assert isinstance(there.adjust(50_000), Ok)


@pytest.mark.parametrize(
    "other",
    [
        {"request": "another"},
        {"verdict": "reject"},
        {"voter": "alice"},
        {"binding": OTHER},
        {"log": "globex"},
        {"number": 1},
        {"comment": "something else"},
    ],
)
def test_a_signature_on_another_vote_is_none_on_this_one(there: World, key: Authenticator, other: dict[str, Any]) -> None:
    request = held(there)
    refused(there, request, signed(key, digest(there, request, **other)), "bad_assertion", "something else was signed")


def test_a_signature_on_more_than_this_vote_is_none_on_it(there: World, key: Authenticator) -> None:
    request = held(there)
    mine = digest(there, request)
    refused(there, request, signed(key, mine, OTHER), "bad_assertion", "something else was signed")
    refused(there, request, signed(key, OTHER, mine), "bad_assertion", "something else was signed")
    refused(there, request, signed(key), "bad_assertion", "something else was signed")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"flags": PRESENT}, "did not verify who was there"),
        ({"flags": 0x04}, "nobody was there"),
        ({"origin": "https://evil.example"}, "another origin"),
        ({"origin": "https://licet.example.com:8443"}, "another origin"),
        ({"kind": "webauthn.create"}, "not an assertion"),
    ],
)
def test_a_signature_elsewhere_or_by_nobody_in_particular_is_none(
    there: World, key: Authenticator, more: dict[str, Any], words: str
) -> None:
    request = held(there)
    refused(there, request, signed(key, digest(there, request), **more), "bad_assertion", words)


def test_a_signature_for_another_relying_party_is_none(there: World, key: Authenticator) -> None:
    request = held(there)
    key.rp_id = "evil.example"
    refused(there, request, signed(key, digest(there, request)), "bad_assertion", "another relying party")


def test_a_passkey_of_somebody_else_signs_nothing_for_this_voter(there: World) -> None:
    request = held(there)
    for user in ("dana", "gina"):  # gina is of another tenant
        theirs = Authenticator()
        theirs.give_to(there.gate, user)
        refused(there, request, signed(theirs, digest(there, request)), "bad_assertion", "no passkey of whoever votes")
    refused(there, request, signed(Authenticator(), digest(there, request)), "bad_assertion", "no passkey of whoever votes")


def test_a_key_under_the_id_of_another_passkey_signs_nothing(there: World, key: Authenticator) -> None:
    request, forged = held(there), Authenticator()
    forged.id = key.id
    refused(there, request, signed(forged, digest(there, request)), "bad_assertion", "not by the key of the passkey")


def test_a_passkey_that_was_revoked_signs_nothing(there: World) -> None:
    key, request = Authenticator(), held(there)
    credential = key.give_to(there.gate, "lena")
    there.gate.credentials.revoke(credential, reason="lost")
    refused(there, request, signed(key, digest(there, request)), "bad_assertion", "no passkey of whoever votes")


@pytest.mark.parametrize("part", ["id", "client_data", "authenticator_data", "signature"])
@pytest.mark.parametrize("value", ["", "A", "AA", "ä", "=", "A" * 10_000, '"'])
def test_garbage_for_any_part_is_refused(there: World, key: Authenticator, part: str, value: str) -> None:
    request = held(there)
    shown = replace(signed(key, digest(there, request)), **{part: value})
    with pytest.raises(VoteRefused) as caught:
        approve(there, request, shown)
    assert caught.value.code == "bad_assertion"


def test_a_vote_that_was_taken_back_is_not_cast_again_by_its_old_signature(there: World, key: Authenticator) -> None:
    request = held(there)
    old = signed(key, digest(there, request))
    approve(there, request, old)
    there.gate.approvals.take_back(request, "lena")
    refused(there, request, old, "bad_assertion", "something else was signed")
    approve(there, request, signed(key, digest(there, request, number=1)))
    assert isinstance(there.adjust(50_000), Ok)
    assert_whole(there.gate)


def test_a_signature_is_none_on_the_request_that_took_the_place_of_its_own(there: World, key: Authenticator) -> None:
    first = held(there)
    shown = signed(key, digest(there, first))
    second = held(there, 60_000)
    refused(there, second, shown, "bad_assertion", "something else was signed")


def test_what_was_approved_without_is_held_anew_once_a_passkey_is_needed() -> None:
    with world(f"{CONFIG}passkey_for = []\n") as there:
        request = held(there)
        approve(there, request, None)
        settings = there.gate.settings
        there.gate.reload(replace(settings, approvals=replace(settings.approvals, passkey_for=("money",))))
        anew = there.adjust(50_000)
        assert isinstance(anew, Held)
        assert anew.request not in {None, request}
        assert "approvals of this tool are signed with a passkey now" in anew.decision.message
        assert there.ran == []
        assert_whole(there.gate)


def test_an_approval_that_lost_its_signature_counts_for_nothing(there: World, key: Authenticator) -> None:
    request = held(there)
    approve(there, request, signed(key, digest(there, request)))
    shown = there.gate.approvals.show(request)
    bare = tuple([replace(vote, assertion=UNSET) for vote in shown.votes])
    assert shown.standing.approved
    assert not standing(shown.request, bare, there.gate.scene.directory).approved


# what a verification finds of records that somebody who can write the log has forged


def forge(there: World, monkeypatch: pytest.MonkeyPatch, made: Any) -> list[str]:
    """A vote is recorded with this for its signature; what the verification then says of it."""
    request = held(there)
    monkeypatch.setattr(desk, "sign", lambda *_: made(request) if callable(made) else made)
    approve(there, request, None)
    found = [problem for problem in report_of(there.gate).problems if problem.field == "payload.detail.vote.assertion"]
    assert all((problem.log, problem.index is not None) == ("acme", True) for problem in found)
    return [problem.message for problem in found]


def assertion(there: World, key: Authenticator, credential: str, request: RequestId) -> Assertion:
    mine = digest(there, request)
    shown = signed(key, mine)
    return Assertion(
        credential=credential,
        passkey=key.passkey,
        authenticator_data=shown.authenticator_data,
        client_data=shown.client_data,
        signature=shown.signature,
        votes=(mine,),
    )


def test_an_approval_without_its_signature_is_found(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert forge(there, monkeypatch, UNSET) == ["the approval is not signed, and had to be"]


def test_a_signature_that_holds_is_not_found(there: World, monkeypatch: pytest.MonkeyPatch, key: Authenticator) -> None:
    credential = there_credential(there)
    assert forge(there, monkeypatch, lambda request: assertion(there, key, credential, request)) == []


def there_credential(there: World) -> str:
    return next(row.issued.id for row in there.gate.store.credentials())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"signature": coded(bytes(70))}, "not by the key of the passkey"),
        ({"votes": (OTHER,)}, "what was signed is not this vote"),
        ({"authenticator_data": coded(bytes(37))}, "another relying party"),
        ({"client_data": coded(b"{}")}, "cannot be read"),
        ({"credential": "a" * 16}, "no record registers the passkey"),
    ],
)
def test_a_changed_assertion_is_found(
    there: World, monkeypatch: pytest.MonkeyPatch, key: Authenticator, change: dict[str, Any], words: str
) -> None:
    credential = there_credential(there)
    (found,) = forge(there, monkeypatch, lambda request: replace(assertion(there, key, credential, request), **change))
    assert words in found


def test_a_key_that_was_not_registered_is_found_whatever_it_signs(
    there: World, monkeypatch: pytest.MonkeyPatch, key: Authenticator
) -> None:
    credential, forged = there_credential(there), Authenticator()
    (found,) = forge(there, monkeypatch, lambda request: assertion(there, forged, credential, request))
    assert found == f"the passkey `{credential}` was registered with another key"


def test_a_passkey_of_somebody_else_is_found(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Authenticator()
    credential = theirs.give_to(there.gate, "dana")
    (found,) = forge(there, monkeypatch, lambda request: assertion(there, theirs, credential, request))
    assert found == f"the passkey `{credential}` is somebody else's"


def test_a_passkey_that_was_revoked_before_is_found_and_one_that_was_revoked_after_is_not(
    there: World, monkeypatch: pytest.MonkeyPatch, key: Authenticator
) -> None:
    request = held(there)
    approve(there, request, signed(key, digest(there, request)))
    credential = there_credential(there)
    there.gate.credentials.revoke(credential, reason="lost")
    assert_whole(there.gate)
    there.clock.advance(timedelta(seconds=1))
    with monkeypatch.context() as patched:
        other = held(there, 60_000)
        patched.setattr(desk, "sign", lambda *_: assertion(there, key, credential, other))
        approve(there, other, None)
    (found,) = report_of(there.gate).problems
    assert found.message == f"the passkey `{credential}` was revoked before"


def test_an_api_key_in_the_place_of_a_passkey_is_found(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = there.gate.credentials.issue(KeyContent(name="x", tenants=("acme",), user="lena"), expires_s=None)
    (found,) = forge(there, monkeypatch, lambda request: assertion(there, Authenticator(), issued.credential.id, request))
    assert "no record registers the passkey" in found


def test_a_ledger_is_whole_after_a_voter_was_erased(there: World, key: Authenticator) -> None:
    request = held(there)
    approve(there, request, signed(key, digest(there, request)))
    operator = there.gate.ledger.operator(there.gate.settings, "olga")
    forget(there.gate.ledger, there.gate.settings, operator, Subject("acme", "User", "lena"), "asked for")
    report = assert_whole(there.gate)
    assert report.erased > 0
    (row,) = there.gate.store.credentials()
    assert key.passkey.key.encode() not in row.issued.content
