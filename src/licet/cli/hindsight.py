"""A recorded decision, put once more to the very policies, tools and people that it was taken under.

The ledger keeps those by hash; nothing of today enters. What comes out explains the record and changes nothing.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from licet.catalog.spec import Catalog
from licet.cli.records import UNREADABLE_BECAUSE, Entry
from licet.errors import IntegrityBroken, OperatorError
from licet.gate.recorder import MASKED
from licet.identity.directory import Directory
from licet.policy.bundle import Bundle
from licet.policy.engine import Engine, Question
from licet.policy.local_time import LocalTime
from licet.store.contract import Store


class Past(Struct, frozen=True):
    """What a record was decided under, and the question it answers; `question` is None where policies were never asked."""

    engine: Engine
    question: Question | None


class _Manifest(Struct, frozen=True):
    bundle: str
    schema: str
    catalog: str
    directory: str


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
    bundle, catalog, directory = [_snapshot(store, digest) for digest in (manifest.bundle, manifest.catalog, manifest.directory)]
    if bundle is None or catalog is None or directory is None:
        return "the policies of that time are not in this ledger"
    context = entry.payload.context or {}
    try:
        tools = Catalog.from_snapshot(catalog)
        engine = Engine.load(Bundle.from_content(bundle), tools, Directory.from_content(directory), meters=tuple(context.get("meters", {})))
    except OperatorError as error:
        return f"the policies of that time do not load any more: {error}"
    return Past(engine, _question(entry, tools))


def _unread(entry: Entry) -> str | None:
    """Why the record does not hold all that the decision saw; None where it does."""
    if entry.closed:
        return f"what the decision saw cannot be read: {UNREADABLE_BECAUSE[entry.closed]}"
    if any(said.startswith(("cut:arguments", "secret:payload", "secret:arguments")) for said in entry.envelope.redactions):
        return "arguments that the decision saw are not in the record: they were secret, or too long"
    return None


def _manifest(store: Store, digest: str) -> _Manifest | None:
    content = _snapshot(store, digest)
    return None if content is None else msgspec.json.decode(content, type=_Manifest)


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
