"""Why a decision is what it is, and what would have to be otherwise: of one that would be taken, or of one that is recorded.

A recorded one is put once more to the very policies, tools and people that it was taken under. The ledger keeps those by hash; nothing of
today enters. What comes out explains the record and changes nothing. It quotes policies, which may name people and targets of every tenant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.catalog.spec import Catalog
from licet.errors import IntegrityBroken, OperatorError
from licet.gate.recorder import MASKED
from licet.identity.directory import Directory
from licet.ledger.entries import UNREADABLE_BECAUSE, Entry
from licet.model import Decision, Principal, Verdict
from licet.policy.bundle import Bundle
from licet.policy.conditions import parts
from licet.policy.engine import Engine, Question
from licet.policy.explain import Why, explain
from licet.policy.local_time import LocalTime
from licet.policy.slices import admits
from licet.store.contract import Store


class Shut(Struct, frozen=True, kw_only=True):
    """A principal that no permit about the tool is for: each such permit, its place, and whom it is for."""

    principal: str
    policy: str
    file: str
    line: int
    scope: str


class Reasons(Struct, frozen=True, kw_only=True):
    """Why a decision is what it is. `unpermitted` has the nearest permit of each pair that none matches, `texts` the deciding policies."""

    decision: Decision
    unpermitted: tuple[Why, ...] = ()
    shut: tuple[Shut, ...] = ()
    errors: tuple[str, ...] = ()
    texts: dict[str, str] = {}
    record: str | None = None
    note: str | None = None


class Past(Struct, frozen=True):
    """What a record was decided under, and the question it answers; `question` is None where policies were never asked."""

    engine: Engine
    question: Question | None


class _Manifest(Struct, frozen=True):
    bundle: str
    schema: str
    catalog: str
    directory: str


_decode_manifest = msgspec.json.Decoder(_Manifest).decode


def reasons_of(engine: Engine, decision: Decision, question: Question | None, tool: str, principals: tuple[Principal, ...]) -> Reasons:
    """What explains a decision under these policies; `question` is None where they were not asked."""
    texts = {one.id: policy.text for one in decision.policies for policy in engine.bundle.policies if policy.id == one.id}
    if decision.verdict != "deny":
        return Reasons(decision=decision, texts=texts)
    if question is None:
        shut = tuple(_shut(engine, tool, principals)) if decision.code == "no_permit" else ()
        return Reasons(decision=decision, shut=shut)
    found = explain(engine, question)
    if found.decision.verdict != "deny":
        return Reasons(decision=decision, texts=texts)  # it was denied by something else than policy
    return Reasons(decision=decision, unpermitted=found.unpermitted, errors=found.errors, texts=texts)


def _shut(engine: Engine, tool: str, principals: tuple[Principal, ...]) -> list[Shut]:
    """Whom the permits about a tool are for, for each principal that none of them admits."""
    permits = [policy for policy in engine.frame(tool).policies if policy.effect == "permit"]
    return [
        Shut(principal=str(principal.ref), policy=policy.id, file=policy.file, line=policy.line, scope=parts(policy)[0].text)
        for principal in principals
        if not any(admits(policy.tree.principal, principal) for policy in permits)
        for policy in permits
    ]


def decided_in(entries: Sequence[Entry]) -> Entry | None:
    """The first of these records that holds a decision."""
    return next((entry for entry in entries if entry.envelope.decision is not None), None)


def reasons_of_record(store: Store, entry: Entry) -> Reasons:
    """What explains the decision of a record. `note` says why that is less than all. Raises `StoreError`, `IntegrityBroken`."""
    decision = decision_of(entry)
    past = recall(store, entry)
    if isinstance(past, str):
        return Reasons(decision=decision, record=entry.place, note=past)
    assert entry.envelope.tool is not None
    found = reasons_of(past.engine, decision, past.question, entry.envelope.tool.name, entry.payload.principals)
    return replace(found, record=entry.place)


def decision_of(entry: Entry) -> Decision:
    """The decision as its record has it, of one that holds any."""
    recorded = entry.envelope.decision
    assert recorded is not None
    return Decision(
        verdict=msgspec.convert(recorded.verdict, Verdict),
        code=recorded.code,
        message=entry.payload.message or recorded.code,
        policies=entry.payload.policies,
        obligations=entry.payload.obligations,
    )


def recall(store: Store, entry: Entry) -> Past | str:
    """What the record's decision rested on, or why that cannot be had any more. Raises `StoreError`, `IntegrityBroken`."""
    decision, tool = entry.envelope.decision, entry.envelope.tool
    if decision is None or decision.bundle is None or tool is None:
        return "the record names no policies"
    unread = _unread(entry)
    if unread is not None:
        return unread
    manifest = _manifest(store, decision.bundle)
    if manifest is None:
        return "the policies of that time are not in this ledger"
    parts = (manifest.bundle, manifest.catalog, manifest.directory, manifest.schema)
    bundle, catalog, directory, schema = [_snapshot(store, digest) for digest in parts]
    if bundle is None or catalog is None or directory is None or schema is None:
        return "the policies of that time are not in this ledger"
    try:
        tools = Catalog.from_snapshot(catalog)
        engine = Engine.load(Bundle.from_content(bundle), tools, Directory.from_content(directory), meters=_meters(schema))
    except OperatorError as error:
        return f"the policies of that time do not load any more: {error}"
    return Past(engine, _question(entry, tools))


def _meters(schema: bytes) -> tuple[str, ...]:
    """The meters that policies could read: a record of a call that was denied before they were has none of them."""
    found: set[str] = set()
    for action in msgspec.json.decode(schema)[""]["actions"].values():
        context = action.get("appliesTo", {}).get("context", {}).get("attributes", {})
        found |= set(context.get("meters", {}).get("attributes", {}))
    return tuple(sorted(found))


def _unread(entry: Entry) -> str | None:
    """Why the record does not hold all that the decision saw; None where it does."""
    if entry.closed:
        return f"what the decision saw cannot be read: {UNREADABLE_BECAUSE[entry.closed]}"
    if any(said.startswith(("cut:arguments", "secret:payload", "secret:arguments")) for said in entry.envelope.redactions):
        return "arguments that the decision saw are not in the record: they were secret, or too long"
    return None


def _manifest(store: Store, digest: str) -> _Manifest | None:
    content = _snapshot(store, digest)
    return None if content is None else _decode_manifest(content)


def _snapshot(store: Store, digest: str) -> bytes | None:
    """A snapshot by hash. Raises `IntegrityBroken` where its bytes have another: an edited policy would explain what it never decided."""
    content = store.find_blob(digest)
    if content is not None and hashlib.sha256(content).hexdigest() != digest:
        raise IntegrityBroken(f"the snapshot `{digest}` in this ledger has other bytes than were hashed")
    return content


def _question(entry: Entry, tools: Catalog) -> Question | None:
    tool = tools.find_tool(entry.envelope.tool.name) if entry.envelope.tool is not None else None
    payload, context = entry.payload, entry.payload.context or {}
    if tool is None or not payload.targets or any(target.tenant == MASKED for target in payload.targets):
        return None
    return Question(
        tool=tool,
        principals=payload.principals,
        targets=payload.targets,
        input=msgspec.json.decode(payload.arguments),
        environment=entry.envelope.environment,
        now=datetime.fromtimestamp(context.get("now", entry.envelope.at) / 1_000_000, UTC),
        local=msgspec.convert(context.get("local"), LocalTime | None),
        session_labels=tuple(context.get("labels", ())),
        session_calls=context.get("calls", 0),
        meters=context.get("meters", {}),
    )
