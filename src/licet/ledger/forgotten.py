"""What a ledger says that it has forgotten, and what it must not forget.

Read from the envelopes of `erasure` and `legal_hold` records, so that no key is needed.

An **erasure** names among its targets what is gone:

    Customer::6f1c...       every payload of the ledger, in whatever log, that was sealed under this pseudonym
    Payloads::0-1199        the payloads of these records of the erasure's own log, the last one included

A **legal hold** names whom it protects (`Customer::6f1c...`), or the log's own `Tenant::acme` for everything in it. The record that
releases it names the hold, by the id of the record that placed it: `Hold::<id>`.

Rules:

1. A record explains only what was there before it: a payload of its own log that comes later was sealed under a new pseudonym.
2. An erasure while a hold stood explains nothing of what was held. Both are records of one log, so their order is beyond doubt.
3. The payload of an erasure, a hold or a release is never explained: it says who did it, and why.

What this does **not** show: whether an erasure was asked for. Its payload says who wrote it, and only who has the key could seal that:
`verify` opens it.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from licet.ledger.record import UNREADABLE

RANGE = "Payloads"
HOLD = "Hold"
LAST = 1 << 40
"""Behind every record that a log can hold."""
_RANGE = re.compile(rf"{RANGE}::([0-9]{{1,13}})-([0-9]{{1,13}})", re.ASCII)
_SUBJECT = re.compile(r"[^:]+::([0-9a-f]{32})", re.ASCII)


class Hold(Struct, frozen=True, order=True):
    """A legal hold that stands since `at` (UTC microseconds); `target` is `Type::pseudonym`, or None for everything in the log."""

    id: str
    log: str
    target: str | None
    at: int

    @property
    def pseudonym(self) -> str | None:
        """Who is protected; None for everything in the log."""
        return None if self.target is None else pseudonym_in(self.target)


class _Erased(Struct, frozen=True):
    """A pseudonym that is gone since this record."""

    log: str
    index: int


class _Dropped(Struct, frozen=True):
    """Payloads of one log that are gone, but for those of subjects that were held then."""

    first: int
    last: int
    held: frozenset[str]


class Gone(Struct, frozen=True):
    """What one erasure names: who, by pseudonym, and runs of records of its log, both ends included, whose payloads were dropped."""

    pseudonyms: tuple[str, ...]
    runs: tuple[tuple[int, int], ...]


class _Envelope(Struct, frozen=True):
    log: str
    kind: str
    id: str
    at: int = 0
    targets: tuple[str, ...] = ()


class _Naming(Struct, frozen=True):
    kind: str
    targets: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_naming = msgspec.json.Decoder(_Naming).decode


class Forgotten:
    """Takes the `erasure` and `legal_hold` records of all logs, those of one log in their order, and answers for every log then."""

    def __init__(self) -> None:
        self._erased: dict[str, list[_Erased]] = {}
        self._targets: dict[str, tuple[str, str]] = {}
        self._dropped: dict[str, list[_Dropped]] = {}
        self._holds: dict[str, Hold] = {}
        self._taken: set[tuple[str, int]] = set()

    def take(self, envelope: bytes, index: int = LAST) -> None:
        """One more record, which stands at this index of its log. One that cannot be read, or is of another kind, says nothing."""
        try:
            found = _decode(envelope)
        except (*UNREADABLE, TypeError):
            return
        if found.kind == "erasure":
            self._taken.add((found.log, index))
            self._erase(found, index)
        elif found.kind == "legal_hold":
            self._taken.add((found.log, index))
            self._hold(found)

    def explains(self, log: str, index: int, subjects: tuple[str, ...]) -> bool:
        """Whether the payload of this record, sealed under these pseudonyms, may be gone."""
        if (log, index) in self._taken:
            return False  # rule 3
        if any(erased.log != log or index < erased.index for subject in subjects for erased in self._erased.get(subject, ())):
            return True
        return any(dropped.first <= index <= dropped.last and dropped.held.isdisjoint(subjects) for dropped in self._dropped.get(log, ()))

    def holds(self) -> tuple[Hold, ...]:
        """The holds that stand: what the rows of `holds` must be."""
        return tuple(sorted(self._holds.values()))

    def erased(self) -> dict[str, tuple[str, str]]:
        """Log and target (`Type::pseudonym`) by pseudonym of whom was erased: what the rows of `erasures` must be."""
        return dict(self._targets)

    def _erase(self, found: _Envelope, index: int) -> None:
        standing = [hold for hold in self._holds.values() if hold.log == found.log]
        if any(hold.target is None for hold in standing):
            return  # rule 2: everything in this log was held
        held = frozenset([hold.pseudonym for hold in standing if hold.pseudonym is not None])
        for target in found.targets:
            drop = _RANGE.fullmatch(target)
            pseudonym = pseudonym_in(target)
            if drop is not None:
                first, last = int(drop[1]), min(int(drop[2]), index - 1)  # rule 1
                self._dropped.setdefault(found.log, []).append(_Dropped(first, last, held))
            elif pseudonym is not None and pseudonym not in held:
                self._erased.setdefault(pseudonym, []).append(_Erased(found.log, index))
                self._targets[pseudonym] = (found.log, target)

    def _hold(self, found: _Envelope) -> None:
        for target in found.targets:
            released = self._holds.get(target.removeprefix(f"{HOLD}::")) if target.startswith(f"{HOLD}::") else None
            if released is not None:
                if released.log == found.log:
                    del self._holds[released.id]
            elif target == f"Tenant::{found.log}":
                self._holds[found.id] = Hold(found.id, found.log, None, found.at)
            elif pseudonym_in(target) is not None:
                self._holds[found.id] = Hold(found.id, found.log, target, found.at)


def gone_by(envelope: bytes, index: int) -> Gone | None:
    """What this record, at this index of its log, says is gone; None for one that is no erasure, or cannot be read.

    It is for whoever keeps a copy of what was sealed. What an erasure explains depends on the holds before it: `Forgotten`.
    """
    if b'"erasure"' not in envelope:  # nearly all of them
        return None
    try:
        found = _decode_naming(envelope)
    except (*UNREADABLE, TypeError):
        return None
    if found.kind != "erasure":
        return None
    drops = [drop for target in found.targets if (drop := _RANGE.fullmatch(target)) is not None]
    return Gone(
        tuple([pseudonym for target in found.targets if (pseudonym := pseudonym_in(target)) is not None]),
        tuple([(int(drop[1]), last) for drop in drops if (last := min(int(drop[2]), index - 1)) >= int(drop[1])]),
    )


def pseudonym_in(target: str) -> str | None:
    """The pseudonym in `Customer::6f1c...`; None where there is none."""
    match = _SUBJECT.fullmatch(target)
    return None if match is None else match[1]


def range_of(first: int, last: int) -> str:
    """How an erasure names the payloads of these records, the last one included."""
    return f"{RANGE}::{first}-{last}"
