"""What a page needs so that a vote on it can be signed with a passkey, and what comes back.

The page says what is voted on, and its script makes the challenge of that (ledger/passkeys.py says how): what is shown is what is signed.
Whether a signature is needed, and holds, is for the desk to say (approvals/signing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from licet.approvals.attest import times_voted
from licet.approvals.signing import ShownAssertion
from licet.console.challenges import place_of
from licet.gate.passkeys import ids_of
from licet.model import RequestId
from licet.server.endpoint import Asked
from licet.server.problems import bad_request
from licet.server.shapes_approvals import RequestShape

Signed = Annotated[str, Meta(max_length=40_000)]
"""JSON of a `ShownAssertion`; empty where nobody has signed."""


class VotesOn(Struct, frozen=True):
    """A request that can be voted on: whether an approval is signed, and what is signed beside what the page shows anyway."""

    needs: bool
    log: str
    number: int


class Signer(Struct, frozen=True):
    """Who signs, where, and with which passkeys; with none that is good here, nothing can be approved."""

    voter: str
    rp_id: str
    keys: tuple[str, ...]


def votes_on(asked: Asked, one: RequestShape) -> VotesOn | None:
    """What a vote on this request by the person who asks would sign; None where they cannot vote. Raises as `times_voted`."""
    if not one.may_vote or asked.who.user is None:
        return None
    found = asked.gate.store.get_dossier(RequestId(one.id))
    return VotesOn(found.request.passkey is True, one.tenant, times_voted(found, asked.who.user))


def signer_of(asked: Asked, shown: Sequence[dict[str, Any]]) -> Signer | None:
    """Who signs what is shown; None where nothing there has to be signed. Raises `StoreError`."""
    if asked.who.user is None or not any(one["sign"] is not None and one["sign"].needs for one in shown):
        return None
    place = place_of(asked)
    keys = () if place is None else ids_of(asked.gate.credentials, asked.gate.store, asked.who.user, place.origins, asked.gate.now())
    return Signer(asked.who.user, "" if place is None else place.rp_id, keys)


def read_signed(text: str) -> ShownAssertion | None:
    """What was signed. Raises `Problem`."""
    if not text:
        return None
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_request("what was signed cannot be read") from error


_decode: Final = msgspec.json.Decoder(ShownAssertion).decode
