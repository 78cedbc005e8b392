"""Legal holds: while one stands, whom or what it protects is neither erased nor dropped.

Rules:

1. Placing and releasing a hold are records of the log that it protects; the rows that refuse are projections of them.
2. A hold of a subject protects it in every log; a hold of everything protects every payload of its log.
3. Hold and erasure are decided in one order, that of the store: whichever is first is seen by the other.
"""

from __future__ import annotations

from licet.errors import ConditionLost, ErasureRefused
from licet.ledger.acts import Operator
from licet.ledger.erasure import find_target
from licet.ledger.forgotten import HOLD, Hold
from licet.ledger.seal import Filing
from licet.ledger.vault import Subject
from licet.store.contract import PlaceHold, ReleaseHold


def place_hold(operator: Operator, log: str, subject: Subject | None, reason: str) -> Hold:
    """A hold stands; of everything in the log where no subject is named.

    Raises `ErasureRefused` where nothing is recorded about the subject, so that there is nothing to protect; `StoreError`.
    """
    target = None if subject is None else find_target(operator, subject, reason)
    record = operator.say("legal_hold", log, {"reason": reason, "act": "hold"}, marks=(target or f"Tenant::{log}",))
    hold = Hold(record.id, log, target, record.at)
    try:
        operator.writer.submit(Filing((record,), (PlaceHold(hold),))).wait()
    except ConditionLost as lost:
        raise ErasureRefused("nothing_recorded", "it was erased at the same moment") from lost
    return hold


def release_hold(operator: Operator, hold_id: str, reason: str) -> Hold:
    """The hold stands no more. Raises `ErasureRefused` where there is none of this id; `StoreError`."""
    found = next((hold for hold in operator.store.holds() if hold.id == hold_id), None)
    if found is None:
        raise ErasureRefused("no_such_hold", f"no hold `{hold_id}` stands")
    record = operator.say("legal_hold", found.log, {"reason": reason, "act": "release"}, marks=(f"{HOLD}::{hold_id}",))
    try:
        operator.writer.submit(Filing((record,), (ReleaseHold(hold_id),))).wait()
    except ConditionLost as lost:
        raise ErasureRefused("no_such_hold", str(lost)) from lost
    return found
