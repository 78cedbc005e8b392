"""The check of a signed vote agrees with the library's, on what is sound and on what is not; keys have one form."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
import webauthn
from msgspec.structs import replace
from webauthn.helpers import encode_cbor
from webauthn.helpers.exceptions import WebAuthnException

from licet.ledger.passkeys import AssertionInvalid, challenge_of, decode_base64url, public_key_of, verify_signed, verify_votes, vote_digest
from licet.model import Assertion
from tests.console.authenticator import PRESENT, VERIFIED, Authenticator, Kind, coded

CHALLENGE = bytes(range(32))


def given(key: Authenticator, shown: dict[str, str]) -> Assertion:
    return Assertion(
        credential="",
        passkey=key.passkey,
        authenticator_data=shown["authenticator_data"],
        client_data=shown["client_data"],
        signature=shown["signature"],
        votes=(),
    )


def ours(key: Authenticator, shown: dict[str, str]) -> bool:
    try:
        verify_signed(given(key, shown), CHALLENGE)
    except AssertionInvalid:
        return False
    return True


def theirs(key: Authenticator, shown: dict[str, str]) -> bool:
    response = {
        "clientDataJSON": shown["client_data"],
        "authenticatorData": shown["authenticator_data"],
        "signature": shown["signature"],
    }
    try:
        webauthn.verify_authentication_response(
            credential={"id": shown["id"], "rawId": shown["id"], "type": "public-key", "response": response},
            expected_challenge=CHALLENGE,
            expected_rp_id=key.passkey.rp_id,
            expected_origin=key.passkey.origin,
            credential_public_key=key.key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError):
        return False
    return True


ANSWERS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"flags": PRESENT | VERIFIED | 0x18}, True),  # a passkey that is kept in several devices
    ({"flags": PRESENT}, False),
    ({"flags": VERIFIED}, False),
    ({"flags": 0}, False),
    ({"origin": "https://evil.example"}, False),
    ({"origin": "https://licet.example.com."}, False),
    ({"origin": "https://licet.example.com:443"}, False),
    ({"origin": "https://LICET.example.com"}, False),
    ({"kind": "webauthn.create"}, False),
]


@pytest.mark.parametrize("kind", ["es256", "eddsa", "rs256"])
@pytest.mark.parametrize(("more", "holds"), ANSWERS)
def test_it_agrees_with_the_library(kind: Kind, more: dict[str, Any], holds: bool) -> None:  # noqa: FBT001  what is expected
    key = Authenticator(kind)
    shown = key.answer(CHALLENGE, **more)
    assert (ours(key, shown), theirs(key, shown)) == (holds, holds)
    other = key.answer(os.urandom(32), **more)
    assert (ours(key, other), theirs(key, other)) == (False, False)


@pytest.mark.parametrize("kind", ["es256", "eddsa", "rs256"])
def test_each_changed_byte_is_found_as_the_library_finds_it(kind: Kind) -> None:
    key = Authenticator(kind)
    shown = key.answer(CHALLENGE)
    for part in ("authenticator_data", "signature"):
        whole = decode_base64url(shown[part])
        for at in range(0, len(whole), 7):
            changed = {**shown, part: coded(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])}
            assert (ours(key, changed), theirs(key, changed)) == (False, False)


def test_a_page_within_a_page_of_somebody_else_signs_nothing() -> None:
    key = Authenticator()
    shown = key.answer(CHALLENGE)
    embedded = decode_base64url(shown["client_data"]).replace(b'"crossOrigin": false', b'"crossOrigin": true')
    assert embedded != decode_base64url(shown["client_data"])
    data = decode_base64url(shown["authenticator_data"])

    signature = key.sign(data + hashlib.sha256(embedded).digest())
    assert not ours(key, {**shown, "client_data": coded(embedded), "signature": coded(signature)})


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"\xa0",
        b"\xff",
        b"\xa1\x01",
        encode_cbor([1]),
        encode_cbor({1: 2}),
        encode_cbor({1: 2, 3: -7, -1: 1, -2: bytes(31), -3: bytes(32)}),
        encode_cbor({1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)}),  # on no curve
        encode_cbor({1: 2, 3: -7, -1: 2, -2: bytes(32), -3: bytes(32)}),
        encode_cbor({1: 1, 3: -8, -1: 6, -2: 5}),
        encode_cbor({1: 3, 3: -257, -1: b"\xff" * 64, -2: b"\x01\x00\x01"}),  # 512 bits
        encode_cbor({1: 3, 3: -257, -1: b"\xff" * 2_000, -2: b"\x01\x00\x01"}),
        encode_cbor({"1": 2}),
        Authenticator("eddsa").key + b"\0",
        Authenticator("eddsa").key[:-1],
        b"\xa2\x01\x02\x01\x02",
    ],
    ids=[str(number) for number in range(16)],
)
def test_what_is_no_key_of_ours_is_refused(key: bytes) -> None:
    with pytest.raises(AssertionInvalid):
        public_key_of(replace(Authenticator().passkey, key=coded(key)))


def test_each_part_of_a_vote_is_in_its_digest() -> None:
    whole: dict[str, Any] = {
        "log": "acme",
        "request": "r",
        "binding": "b",
        "verdict": "approve",
        "voter": "lena",
        "number": 0,
        "comment": None,
    }
    changed: list[dict[str, Any]] = [
        {"log": "a"},
        {"request": "q"},
        {"binding": "c"},
        {"verdict": "reject"},
        {"voter": "l"},
        {"number": 1},
        {"comment": "x"},
    ]
    assert len({vote_digest(**(whole | one)) for one in [{}, *changed]}) == len(changed) + 1
    assert vote_digest(**(whole | {"comment": ""})) == vote_digest(**whole)


def test_the_digests_are_those_that_the_format_says() -> None:
    """Made by hand from docs/ledger-format.md, with another program."""
    vote = vote_digest(log="acme", request="r1", binding="00" * 32, verdict="approve", voter="lena", number=0, comment="ä")
    assert vote == VOTE
    assert challenge_of([vote]).hex() == ONE
    assert challenge_of([vote, "ff" * 32]).hex() == TWO


VOTE = "3edaf36a6e7e63d3b7307feb18d6ea7a9a0e5ab4f8aa150a44b63a70ca613c76"
ONE = "42e9363f7dcd0f88aca8003ed8ffa67dfc1ce007ecd59141f4b8f7c06113c190"
TWO = "c47487596bfc356cdcf2d3ddea8a3e538232dcefa0944de20a1cf5e953ee298a"


def test_a_vote_that_was_not_signed_with_the_others_is_none_of_them() -> None:
    key = Authenticator()
    mine, other = "11" * 32, "22" * 32
    assertion = replace(given(key, key.answer(challenge_of([mine]))), votes=(mine,))
    verify_votes(assertion, mine)
    with pytest.raises(AssertionInvalid, match="not this vote"):
        verify_votes(assertion, other)
    with pytest.raises(AssertionInvalid, match="something else"):
        verify_votes(replace(assertion, votes=(mine, other)), other)
