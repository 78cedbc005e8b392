"""Erasing a subject: its secret, the payloads that the secret seals, and what could lead back to it, in one transaction with its record.

Rules:

1. The record names the pseudonym and never the id; it is sealed under the log's secret alone, so that it can be read afterwards. A reason
   that names the id is refused.
2. The erasure manifest (ledger/erasure_manifest.py) has the line before the transaction begins, so that a crash or a restored backup leaves
   nothing of it undone: opening the ledger for writing ends it.
3. Live requests that the subject seals are withdrawn in the same transaction: nobody could see any more what they approve.
4. A legal hold refuses: of the subject, or of everything in a log in which its payloads lie.
5. What credentials say of a user is cleared in the same transaction (ledger/erasure_keys.py).
6. Whoever writes about the subject at the same moment is either seen, and erased with the rest, or seals anew: under a new secret, as
   somebody of whom nothing was known.

Not guaranteed: what other people's records say about the subject in free text, sessions and workflows that an application named after it,
snapshots of a directory that lists it, and what anybody has read or copied before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from licet.errors import ConditionLost, ErasureRefused, StoreError, StoreUnavailable
from licet.ledger.acts import Operator
from licet.ledger.erasure_keys import KeysCleared, clear_keys, word
from licet.ledger.erasure_manifest import ErasedTarget, ErasureManifest
from licet.ledger.forgotten import Hold
from licet.ledger.seal import Filing, Statement
from licet.ledger.vault import LOG_TYPE, Subject
from licet.model import LIVE_STATES, JsonObject, Receipt, RequestId, RequestState
from licet.store.contract import Change, DestroySecret, LiveRequest, MoveRequest, Sealed

TRIES = 50
_PAUSE_S = 0.005
_HERSELF = "(the erased user)"
AGAIN = "erased before; the ledger had it once more: it was restored from a backup, or a process died over the erasure"


class Erased(Struct, frozen=True):
    """What an erasure has done: `payloads` destroyed in these `logs`, `requests` withdrawn, `credentials` cleared or revoked.

    `open_calls` are calls about the subject that had begun: what they still record is recorded under a new pseudonym.
    """

    log: str
    target: str
    payloads: int
    logs: tuple[str, ...]
    requests: tuple[RequestId, ...]
    open_calls: int
    receipt: Receipt
    credentials: tuple[str, ...] = ()

    @property
    def pseudonym(self) -> str:
        """Who it was."""
        return self.target.rpartition("::")[2]


def erase(operator: Operator, manifest: ErasureManifest, subject: Subject, reason: str) -> Erased:
    """The subject is forgotten.

    Raises `ErasureRefused` where a hold stands, nothing is recorded about it, or the reason names it; `StoreError`.
    """
    target = find_target(operator, subject, reason)
    detail = {"reason": reason}
    by = _HERSELF if names(operator.by, subject.id) else operator.by
    erased = ErasedTarget(subject.tenant, target)
    refuse_held(operator.store.holds(), erased.pseudonym, {subject.tenant})
    manifest.add([erased])  # rule 2
    try:
        return _destroy(replace(operator, by=by), erased, detail, subject.id)
    except ErasureRefused as error:
        if error.code != "nothing_recorded":  # then somebody else has erased it at the same moment, and needs the line
            manifest.void(erased)
        raise
    except StoreError as error:
        if not error.ambiguous:
            manifest.void(erased)
        raise


def settle(operator: Operator, manifest: ErasureManifest) -> tuple[list[Erased], list[str]]:
    """Everybody whom manifest or ledger know as erased is gone, and stands in both. Returns who had to be erased again, and problems.

    Raises `IntegrityBroken` where the manifest cannot be read; `StoreError`.
    """
    known = manifest.read()
    own = {pseudonym: ErasedTarget(*found) for pseudonym, found in operator.store.erasures().items()}
    manifest.add([erased for pseudonym, erased in own.items() if pseudonym not in known])
    known = own | known
    done, problems = [], []
    for pseudonym in operator.store.present_secrets(tuple(known)):
        try:
            done.append(_destroy(operator, known[pseudonym], {"reason": AGAIN, "again": True}))
        except ErasureRefused as error:
            problems.append(str(error))
    return done, problems


def find_target(operator: Operator, subject: Subject, reason: str) -> str:
    """How records name the subject. Raises `ErasureRefused`."""
    if subject.type in {LOG_TYPE, "Tenant"}:
        raise ErasureRefused("not_a_subject", f"`{subject.type}` is nobody: people and targets of calls are erased and held")
    if names(reason, subject.id):
        raise ErasureRefused("reason_names_it", f"the reason names `{subject.id}`, and would keep it in the log for ever; leave it out")
    pseudonym = operator.store.find_pseudonym(subject)
    if pseudonym is None:
        raise ErasureRefused("nothing_recorded", f"nothing is recorded about `{subject.type}/{subject.id}` in tenant `{subject.tenant}`")
    return f"{subject.type}::{pseudonym}"


def refuse_held(holds: Iterable[Hold], pseudonym: str, logs: set[str]) -> None:
    """Raise `ErasureRefused` where a hold protects the subject, or everything in one of these logs."""
    for hold in holds:
        if hold.log in logs if hold.target is None else hold.pseudonym == pseudonym:
            raise ErasureRefused("held", held_by(hold))


def held_by(hold: Hold) -> str:
    """Which hold stands in the way, and since when."""
    what = f"everything in `{hold.log}`" if hold.target is None else f"`{hold.target}`"
    since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(hold.at / 1e6))
    return f"legal hold `{hold.id}` protects {what} since {since} UTC"


def names(text: str, name: str) -> bool:
    """Whether the text has this name as a word of its own, in whatever case."""
    return word(name).search(text) is not None


def _destroy(operator: Operator, erased: ErasedTarget, detail: JsonObject, name: str | None = None) -> Erased:
    """Rule 6: what is found outside the transaction is looked at again inside it, until nothing has come between."""
    sealed: Sealed | None = None
    for attempt in range(TRIES):
        sealed = operator.store.sealed_under(erased.pseudonym, sealed)
        cleared = clear_keys(operator, erased, name)
        try:
            receipts = operator.writer.submit(_filing(operator, erased, sealed, cleared, detail)).wait()
        except ConditionLost as lost:
            _refuse(operator, erased, sealed, lost)
            time.sleep(_PAUSE_S * (attempt % 4))
            continue
        requests = tuple([request.id for request in sealed.live])
        done = (sealed.payloads, sealed.logs, requests, sealed.open_calls, receipts[-1], cleared.credentials)
        return Erased(erased.log, erased.target, *done)
    raise StoreUnavailable(f"calls about `{erased.target}` are recorded all the time; stop them for a moment and try again")


def _refuse(operator: Operator, erased: ErasedTarget, sealed: Sealed, lost: ConditionLost) -> None:
    """Raise where trying again does not help."""
    if lost.condition == "held":
        refuse_held(operator.store.holds(), erased.pseudonym, {erased.log, *sealed.logs})
    elif lost.condition == "secret_gone":
        raise ErasureRefused("nothing_recorded", "another process has erased it at the same moment") from lost
    elif lost.condition not in {"sealed_since", "request_moved", "credential_moved"}:
        raise lost


def _filing(operator: Operator, erased: ErasedTarget, sealed: Sealed, cleared: KeysCleared, detail: JsonObject) -> Filing:
    withdrawn = [_withdrawal(operator, request) for request in sealed.live]
    record = operator.say(
        "erasure",
        erased.log,
        {**detail, "payloads": sealed.payloads, "logs": sealed.logs, "requests": [request.id for request in sealed.live]},
        marks=(erased.target,),
    )
    changes: tuple[Change, ...] = (*(change for _, change in withdrawn), *cleared.changes)
    said = (*(expiry for expiry, _ in withdrawn), *cleared.statements, record)
    return Filing(said, (*changes, DestroySecret(erased.log, erased.target, sealed)))


def _withdrawal(operator: Operator, request: LiveRequest) -> tuple[Statement, MoveRequest]:
    """Rule 3. The record names nobody."""
    detail = {"request": request.id, "event": "withdraw", "because": "erasure"}
    record = operator.say("expiry", request.log, detail, request=request.id, call=request.call, by="(an erasure)")
    return record, MoveRequest(request.id, tuple(sorted(LIVE_STATES)), RequestState.WITHDRAWN, operator.now())
