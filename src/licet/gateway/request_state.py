"""What a modern client carries from one round of its request to the next (`requestState`, 2026-07-28): signed, bound, and short-lived.

Rules:

1. It is the client's to send, so it is an attacker's: nothing in it is read before its signature holds, and it grants nothing. A call that
   goes on by it goes on as whoever made it, under the decision that was recorded for it.
2. It is bound to who asks (tenant, agent, service, user, their roles, and the credential), to the door, the method and the params, and to a
   time. Presented by anybody else, or for anything else, it is refused, and nobody is told which of these it was.
3. It suffices by itself to tell what must not be mixed up where the work that it belongs to is gone: a call of which nothing had been
   executed yet (`nothing_done`) may be made afresh; one that an upstream was executing may have happened.
4. Its key follows from the secret of the ledger's operator log, so that it holds in every process on the ledger, and after a restart.

That a state is used once is not in it: `Rounds` sees to that, as long as the process lives.

    requestState = base64url(json) "." base64url(HMAC-SHA256(key, "licet request state v1" NUL base64url(json)))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from licet.gate.acting import Acting
from licet.gateway.incoming import Incoming
from licet.gateway.messages import INVALID_PARAMS, RpcError
from licet.model import OPERATOR_LOG
from licet.store.contract import Store

LONGEST: Final = 2_048
"""Characters. Ours have some five hundred."""
OF_A_ROUND: Final = frozenset({"_meta", "inputResponses", "requestState"})
"""Params in which the rounds of one request may differ."""
_DOMAIN: Final = b"licet request state v1\0"


class State(Struct, frozen=True, kw_only=True):
    """What a state says: which `work` goes on, in which of its rounds, and what of it was done.

    `call` is the call that an upstream was executing; None where `nothing_done`. `principal` and `request` are SHA-256 (hex) of who asked,
    and for what. `expires_at` is in UTC microseconds.
    """

    work: str
    round: int
    nothing_done: bool
    call: str | None
    principal: str
    request: str
    expires_at: int


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(State, strict=True)


class StateRefused(RpcError):
    """A state that is not to be believed, or whose time is over."""

    def __init__(self, message: str) -> None:
        super().__init__(INVALID_PARAMS, message)


def key_of(store: Store) -> bytes:
    """The key (32 bytes) of the states of this ledger (rule 4). Raises `KeyUnavailable`."""
    return hashlib.sha256(store.blind(OPERATOR_LOG, "request state", "key").encode()).digest()


class RequestStates:
    """Writes and reads states under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, state: State) -> str:
        """The state as a client carries it."""
        body = base64.urlsafe_b64encode(_encoder.encode(state)).rstrip(b"=")
        return f"{body.decode()}.{self._signature(body)}"

    def read(self, unverified: object, incoming: Incoming, now_us: int) -> State:
        """What the state says, where it is of this very request. Raises `StateRefused`."""
        state = self._verified(unverified)
        if state is None or (state.principal, state.request) != (principal_of(incoming.acting), request_of(incoming)):
            raise StateRefused("this `requestState` is not of this request: send it back as given, with the same params, or not at all")
        if now_us >= state.expires_at:
            raise StateRefused(_expired(state))
        return state

    def _verified(self, unverified: object) -> State | None:
        if not isinstance(unverified, str) or len(unverified) > LONGEST or not unverified.isascii():
            return None
        body, _, signature = unverified.partition(".")
        # What is compared is text that we have written: there is no second way to write a signature that holds.
        if not hmac.compare_digest(self._signature(body.encode()), signature):
            return None
        try:
            return _decoder.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (binascii.Error, ValueError, msgspec.DecodeError):  # of a version that wrote them otherwise
            return None

    def _signature(self, body: bytes) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, _DOMAIN + body, "sha256")).rstrip(b"=").decode()


def principal_of(acting: Acting) -> str:
    """Who asks, as a digest: equal for all requests of one caller with one credential."""
    who = (acting.tenant, acting.agent, acting.service, acting.user, sorted(acting.roles), acting.credential)
    return _digest(who)


def request_of(incoming: Incoming) -> str:
    """For what is asked, as a digest: equal for all rounds of one request."""
    return _digest((incoming.upstream, incoming.method, without_rounds(incoming.params)))


def without_rounds(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params that say what is asked for."""
    return {name: value for name, value in params.items() if name not in OF_A_ROUND}


def _expired(state: State) -> str:
    if state.nothing_done:
        return "this `requestState` has expired, and nothing was done: make the call again, without it"
    return (
        f"this `requestState` has expired, and call `{state.call}`, which waited for an answer, has ended: "
        "its record says how; look before calling again"
    )


def _digest(value: object) -> str:
    return hashlib.sha256(_encoder.encode(value)).hexdigest()
