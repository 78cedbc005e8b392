"""What came of a step of the demo, and whether that is what its plan expects."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from msgspec import Struct

from licet.cli.demo_app import Cells
from licet.cli.demo_plan import Change, Expected, Said
from licet.ledger.record import decode_payload, read_envelope
from licet.model import CallId, DecidingPolicy, Decision, Effect, JsonObject, Receipt
from licet.store.contract import StoredRecord


class Seen(Struct, frozen=True, kw_only=True):
    """What came of a step, with the calls that it made or was about.

    `effects` are what a held call would change, or what a voter was shown; `flagged` is what a tool did that nobody had approved;
    `returned` is what the plan wants shown of the tool's result; `receipt` leads to the record of a step that was about no call.
    """

    verdict: Said
    code: str
    reason: str
    calls: tuple[CallId, ...] = ()
    receipt: Receipt | None = None
    policies: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    effects: tuple[Effect, ...] = ()
    flagged: tuple[Effect, ...] = ()
    returned: tuple[str, ...] = ()


class Unmet(Struct, frozen=True):
    """An expectation that was not met."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"expected {self.what} {self.expected}, found {self.found}"


class Told(Struct, frozen=True, kw_only=True):
    """A step that was performed: what was done, what came of it, and what of that was not expected."""

    number: int
    chapter: str
    sentence: str
    tool: str | None
    arguments: JsonObject | None
    seen: Seen
    unmet: tuple[Unmet, ...]


def reasons(decision: Decision) -> str:
    """Each reason that policies give, once; where they give none, what Licet says."""
    said: Sequence[DecidingPolicy | Any] = decision.obligations or decision.policies
    return "; ".join(dict.fromkeys(one.reason for one in said if one.reason)) or decision.message


def policies_of(decision: Decision) -> tuple[str, ...]:
    """Those that ask people, else those that decided."""
    owed = dict.fromkeys(obligation.policy for obligation in decision.obligations)
    return tuple(owed or dict.fromkeys(policy.id for policy in decision.policies))


def brief(record: StoredRecord) -> str:
    """A record in a few words: its kind, and the outcome, vote or act that it holds."""
    envelope = read_envelope(record.envelope, record.payload)
    if envelope.outcome is not None:
        return f"{record.kind} {envelope.outcome.status}{' deviates' if envelope.outcome.deviates else ''}"
    if record.kind == "vote" and envelope.approval is not None:
        return f"{record.kind} {envelope.approval.verdict}"
    if record.kind == "freeze" and record.payload is not None:
        return str((decode_payload(record.payload).detail or {})["act"])
    return record.kind


def changed(before: Cells, after: Cells) -> Iterator[Change]:
    """Every cell that is not what it was."""
    for table, row, column in sorted(before.keys() | after.keys()):
        one, other = before.get((table, row, column)), after.get((table, row, column))
        if one != other:
            yield Change(f"{table}/{row}", column, one, other)


def at(value: Any, path: str) -> Any:
    """What lies at a dotted path; nothing where there is no such thing."""
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return "(nothing)"
    return value


def compared(expected: Expected, seen: Seen) -> Generator[Unmet]:
    """What is not as the plan says."""
    for what, wanted, found in (("verdict", expected.verdict, seen.verdict), ("code", expected.code, seen.code)):
        if wanted is not None and wanted != found:
            yield Unmet(what, f"`{wanted}`", f"`{found}`")
    if expected.because is not None and expected.because not in seen.reason:
        yield Unmet("a reason with", f"`{expected.because}`", f"`{seen.reason}`")
    if expected.policies is not None and set(expected.policies) != set(seen.policies):
        yield Unmet("policies", _listed(expected.policies), _listed(seen.policies))
    if expected.records is not None and expected.records != seen.records:
        yield Unmet("records", _listed(expected.records), _listed(seen.records))
    wanted_changes, found_changes = set(map(_told, expected.changes)), set(map(_told, seen.changes))
    if wanted_changes != found_changes:
        yield Unmet("changes", _listed(sorted(wanted_changes)), _listed(sorted(found_changes)))


def _told(change: Change) -> str:
    return f"{change.row} {change.column}: {change.before} to {change.after}"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(f"`{part}`" for part in parts) or "none"
