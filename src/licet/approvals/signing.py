"""Votes that are signed with a passkey: what is signed, and whether whoever votes has signed it.

Rules:

1. Whether an approval must be signed is in the request, which says so in the record that opened it. All votes that are cast together are
   signed together, and a vote that was signed is kept with its signature, wanted or not.
2. The passkey is the voter's own, registered and not revoked, as its records say; nothing that is sent names its key or its origin.
3. What is signed is made from what the request shows now, and never from what was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from licet.approvals.attest import times_voted
from licet.errors import VoteRefused
from licet.identity.api_keys import KeyContent, decode_content, id_of_passkey
from licet.ledger.issued import Issues
from licet.ledger.passkeys import AssertionInvalid, decode_base64url, verify_votes, vote_digest
from licet.ledger.record import microseconds
from licet.model import Assertion, Passkey, Vote
from licet.store.contract import Dossier, Store

_LONGEST: Final = 8_000
"""Characters of each part. Real ones have some hundreds."""


class ShownAssertion(Struct, frozen=True, kw_only=True):
    """What an authenticator has given, unverified; each part is base64url, unpadded. `id` is what the authenticator calls its passkey."""

    id: str
    client_data: str
    authenticator_data: str
    signature: str


def sign(store: Store, votes: Sequence[tuple[Dossier, Vote]], shown: ShownAssertion | None) -> Assertion | UnsetType:
    """What these votes, by one voter, are kept with. Raises `VoteRefused` (`passkey_needed`, `bad_assertion`), `StoreError`."""
    if shown is None:
        wanting = next((vote.request for found, vote in votes if found.request.passkey is True and vote.verdict == "approve"), None)
        if wanting is not None:
            message = f"an approval of request `{wanting}` is signed with a passkey: approve it in the console; a rejection takes none"
            raise VoteRefused("passkey_needed", message)
        return UNSET
    first = votes[0][1]
    try:
        _check_length(shown)
        credential = id_of_passkey(decode_base64url(shown.id))
        assertion = Assertion(
            credential=credential,
            passkey=_find(store, credential, shown.id, first),
            authenticator_data=shown.authenticator_data,
            client_data=shown.client_data,
            signature=shown.signature,
            votes=tuple([digest_of(found, vote) for found, vote in votes]),
        )
        verify_votes(assertion, assertion.votes[0])
    except AssertionInvalid as error:
        raise VoteRefused("bad_assertion", f"the passkey has not signed this vote: {error}") from error
    return assertion


def digest_of(found: Dossier, vote: Vote) -> str:
    """The digest (hex) of a vote that is cast now."""
    return vote_digest(
        log=found.request.tenant,
        request=vote.request,
        binding=vote.binding,
        verdict=vote.verdict,
        voter=vote.voter,
        number=times_voted(found, vote.voter),
        comment=vote.comment,
    )


def _check_length(shown: ShownAssertion) -> None:
    if max(map(len, msgspec.structs.astuple(shown))) > _LONGEST:
        raise AssertionInvalid("it is too long")


def _find(store: Store, credential: str, id_: str, vote: Vote) -> Passkey:
    """The voter's passkey of this id, as its records say it is (rule 2). Raises `AssertionInvalid`."""
    row = store.find_credential(credential)
    issues = Issues()
    for envelope in store.credential_records().envelopes if row is not None else ():
        issues.take(envelope)
    content = _content(row.issued.content) if row is not None and issues.bears_out(row.issued) else None
    ends_at = issues.ends.get(credential)
    ended = ends_at is not None and ends_at <= microseconds(vote.at)
    if content is None or ended or content.kind != "passkey" or content.user != vote.voter:
        raise AssertionInvalid("it is no passkey of whoever votes")
    if content.passkey is None or content.passkey.id != id_:
        raise AssertionInvalid("it is no passkey of whoever votes")
    return content.passkey


def _content(stored: bytes) -> KeyContent | None:
    try:
        return decode_content(stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
