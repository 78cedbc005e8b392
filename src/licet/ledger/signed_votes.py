"""Votes that were signed with passkeys, as a verification meets them: each by its own record, and all of them by the passkeys of the log.

1. an approval of a request that asks for passkeys is signed
2. what was signed is this vote: log, request, binding, verdict, voter, how often they had voted before, comment
3. the signature is by the key that the record names, over this challenge, at its origin, by somebody present and verified
4. that key was registered for this voter before, under the credential that the record names, and had not been revoked

1 to 3 need nothing but the tenant's log, so that an export of it shows them. 4 needs the log `operator`, where passkeys are registered, and
is left out where that is not there. Before and after are told by the clock here, since the two logs have no order between them. A passkey
whose registration cannot be read (its person was erased, or no key is at hand) is taken for what the vote's own record says.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct

from licet.ledger.issued import Issues
from licet.ledger.passkeys import AssertionInvalid, verify_votes, vote_digest
from licet.ledger.record import UNREADABLE, microseconds
from licet.ledger.report import Findings
from licet.model import OPERATOR_LOG, Passkey, Request, Vote

_FIELD = "payload.detail.vote.assertion"


class _Content(Struct, frozen=True):
    user: str | None = None
    kind: str = "key"
    passkey: Passkey | None = None


class _Issue(Struct, frozen=True):
    credential: str
    content: _Content


class _Registered(Struct, frozen=True):
    detail: _Issue


_decode = msgspec.json.Decoder(_Registered).decode


class _Envelope(Struct, frozen=True):
    at: int
    targets: tuple[str, ...] = ()


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_ISSUED = "Credential::"


class _Cast(Struct, frozen=True):
    log: str
    index: int
    vote: Vote


class SignedVotes:
    """Takes registrations and votes in whatever order, and says at the end what does not fit."""

    def __init__(self, issues: Issues) -> None:
        self._issues = issues
        self._passkeys: dict[str, tuple[int, _Content]] = {}
        self._unread: set[str] = set()
        self._cast: list[_Cast] = []
        self._has_registrations = False

    def note_log(self, log: str) -> None:
        """Records of this log were read."""
        self._has_registrations = self._has_registrations or log == OPERATOR_LOG

    def take_passkey(self, log: str, envelope: bytes, payload: bytes | None) -> None:
        """A record that may register a passkey; None where its payload cannot be read. Each is issued once, which is checked elsewhere."""
        if log != OPERATOR_LOG:
            return
        try:
            said = _decode_envelope(envelope)
            issued = {target.split("::")[1] for target in said.targets if target.startswith(_ISSUED)}
            found = None if payload is None else _decode(payload).detail
        except UNREADABLE:
            return  # it registers nothing, and votes by it will say so
        if found is None:
            self._unread |= issued
        elif found.content.kind == "passkey" and found.credential in issued:
            self._passkeys.setdefault(found.credential, (said.at, found.content))

    def take_vote(self, log: str, index: int, vote: Vote, number: int, request: Request) -> str | None:
        """1 to 3 for one vote, the `number`th (from 0) of its voter on this request. Says what is wrong, where something is."""
        if vote.assertion is UNSET:
            return "the approval is not signed, and had to be" if request.passkey is True and vote.verdict == "approve" else None
        digest = vote_digest(
            log=log,
            request=vote.request,
            binding=vote.binding,
            verdict=vote.verdict,
            voter=vote.voter,
            number=number,
            comment=vote.comment,
        )
        try:
            verify_votes(vote.assertion, digest)
        except AssertionInvalid as error:
            return f"the signature does not hold: {error}"
        self._cast.append(_Cast(log, index, vote))
        return None

    def finish(self, findings: Findings) -> None:
        """4, once all logs were read."""
        for cast in self._cast if self._has_registrations else ():
            problem = self._problem(cast.vote)
            if problem is not None:
                findings.add(cast.log, cast.index, _FIELD, problem, found=cast.vote.voter)

    def _problem(self, vote: Vote) -> str | None:
        assertion = vote.assertion
        assert assertion is not UNSET
        credential = assertion.credential
        ends_at, at = self._issues.ends.get(credential), microseconds(vote.at)
        if ends_at is not None and ends_at < at:
            return f"the passkey `{credential}` was revoked before"
        if credential in self._unread:
            return None
        since, registered = self._passkeys.get(credential, (at + 1, None))
        if registered is None or since > at:
            return f"no record registers the passkey `{credential}` before"
        if registered.user != vote.voter:
            return f"the passkey `{credential}` is somebody else's"
        return None if registered.passkey == assertion.passkey else f"the passkey `{credential}` was registered with another key"
