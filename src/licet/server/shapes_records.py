"""Records, and what is asked of them, as they stand in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Raw, Struct

from licet.ledger.record import Kind
from licet.model import OutcomeStatus, Verdict

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1_000)]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
Index: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 40)]
Exporting: TypeAlias = Literal["jsonl", "csv", "parquet", "ocsf", "otlp"]


class SearchRecords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records: every parameter narrows. `target` is `Customer/C-412`, or an id alone; `since` is inclusive, `until` is not.

    Records of kind `access` (who read the log) are found only where `kind` names them.
    """

    tenant: Name | None = None
    actor: Name | None = None
    agent: Name | None = None
    service: Name | None = None
    user: Name | None = None
    session: Name | None = None
    tool: Name | None = None
    target: Name | None = None
    verdict: Verdict | None = None
    outcome: OutcomeStatus | None = None
    deviating: bool = False
    kind: tuple[Kind, ...] = ()
    policy: Name | None = None
    workflow: Name | None = None
    trace: Name | None = None
    voter: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    text: Name | None = None
    payloads: bool = True
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: str | None = None


class OneRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The place of a record."""

    log: Name
    index: Index
    payloads: bool = True


class OneReason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The place of a record that holds a decision."""

    log: Name
    index: Index


class OneStory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call, by its id or that of its request."""

    id: Name


class RecordShape(Struct, frozen=True, kw_only=True):
    """A record: where it is, the hash of its exact bytes, what it says in a sentence, and its envelope and payload as they were written.

    `payload` is null where it cannot be opened, which `closed` explains, and where it was not asked for.
    """

    place: str
    log: str
    index: int
    leaf: str
    id: str
    kind: str
    at: datetime
    call: str | None
    sentence: str
    envelope: Raw
    payload: Raw | None
    closed: Literal["erased", "locked", "damaged"] | None


class RecordPage(Struct, frozen=True, kw_only=True):
    """Records, the newest first. `next` continues the page; None where nothing is left. A page may be short and go on all the same."""

    records: tuple[RecordShape, ...]
    next: str | None


class Story(Struct, frozen=True, kw_only=True):
    """Every record of a call, of its requests and of what has undone it, in order of time."""

    call: str | None
    records: tuple[RecordShape, ...]


class CountRecords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted apart, over which whole hours (`since` is 30 days ago where it is left out), in bars of how many hours each."""

    by: Literal["tool", "verdict", "outcome"] = "verdict"
    tenant: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    hours: Annotated[int, Meta(ge=1, le=24 * 31)] = 24


class BarShape(Struct, frozen=True, kw_only=True):
    """How many records there were from this hour on; `value` is empty for those that have none."""

    since: datetime
    value: str
    count: int


class Counts(Struct, frozen=True, kw_only=True):
    """All records of each value, most first, and the bars."""

    by: Literal["tool", "verdict", "outcome"]
    totals: dict[str, int]
    bars: tuple[BarShape, ...]


class ExportRecords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In which form, of which log, and with payloads or without."""

    format: Exporting = "jsonl"
    tenant: Name | None = None
    payloads: bool = True
