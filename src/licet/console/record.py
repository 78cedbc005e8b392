"""One record: what it says, why it was decided so, what came of it, and the proof of it, computed for this look.

Rules:

1. What is shown comes from the API's own functions, which record that it is looked at. Out of reach and not there answer alike.
2. Policies are quoted to whoever may read those of the installation (server/records.py, rule 4).
3. A record that cannot be read is shown as broken, with what is known of it: it is never passed over.
4. What an agent wrote stands apart from what Licet knows.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from licet.console.frame import page
from licet.console.looks import ALLOW, DENY, HOLD
from licet.console.record_neighbours import neighbours_of
from licet.console.record_proof import prove
from licet.console.record_story import facts_of, moment_of, path_of, trace_path, votes_of
from licet.console.records import record_path
from licet.console.subject_view import entry_of, pieces, shown_effects, why_path
from licet.console.wording import quoted_value
from licet.errors import IntegrityBroken
from licet.gate.hindsight import Reasons, decided_in
from licet.ledger.entries import UNREADABLE_BECAUSE, Entry, tell
from licet.ledger.token_checks import MARKER
from licet.ledger.wording import counted
from licet.model import OPERATOR_LOG
from licet.server import proofs, records
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem, not_found
from licet.server.proofs import ProvedRecord
from licet.server.shapes_records import Index, Name, OneReason, OneRecord, OneStory, RecordShape

HERE: Final = "/console/audit/{log}/{index}"
HEX_BYTES: Final = 4_096
"""So much of a record is written in hex; all of it can be downloaded."""
TEXT_LIMIT: Final = 40_000
"""More of one value than this is behind the link to the bytes."""
_decode = msgspec.json.Decoder().decode


class ShowBytes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The place of a record, and which of its bytes are downloaded, if any."""

    log: Name
    index: Index
    part: Literal["", "envelope", "payload"] = ""


class ShowRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The place of a record."""

    log: Name
    index: Index


def show(asked: Asked) -> Answer:
    """The page of a record."""
    params: ShowRecord = asked.params
    one = OneRecord(log=params.log, index=params.index)
    try:
        shape: RecordShape = records.get_record(asked.with_input(one, None)).body
    except IntegrityBroken as error:
        return _unreadable(asked, params, str(error))
    entry = entry_of(shape)
    envelope = entry.envelope
    story = _story(asked, entry)
    own = [one for one in story if one.envelope.call == envelope.call] if envelope.call is not None else [entry]
    decided = entry if envelope.decision is not None else decided_in(own) or entry
    return page(
        asked,
        "record.html",
        shape=shape,
        entry=entry,
        told=pieces(tell(entry).sentence),
        steps=path_of(story),
        timeline=[moment_of(one, entry, story[0].envelope.at) for one in story],
        proved=prove(asked, shape),
        closed=UNREADABLE_BECAUSE[entry.closed],
        effects=shown_effects(entry.payload.effects),
        deviates=envelope.outcome is not None and envelope.outcome.deviates,
        preview=_preview(entry),
        arguments=arguments_of(entry if entry.payload.arguments else decided),
        decided=None if decided is entry else decided,
        decided_path=record_path(decided.log, decided.index),
        result=_json(bytes(entry.payload.result)),
        detail=_detail(entry),
        reason=entry.payload.reason or decided.payload.reason,
        author=_author(decided),
        message=pieces(decided.payload.message or ""),
        why=_why(asked, decided),
        votes=list(votes_of(story)),
        request=None if envelope.approval is None else f"/console/inbox/{quote(envelope.approval.request, safe='')}",
        undone_by=[record_path(one.log, one.index) for one in story if one.detail.get("undoes") == envelope.call],
        undoes=_call_path(entry.detail.get("undoes")),
        twin=_call_path(entry.detail.get("twin")),
        facts=facts_of(entry),
        trace=trace_path(entry),
        neighbours=neighbours_of(asked, entry),
        here=record_path(entry.log, entry.index),
        why_path=why_path(decided.log, decided.index),
    )


def _unreadable(asked: Asked, params: ShowRecord, problem: str) -> Answer:
    """Rule 3: that it is there and what is wrong with it is told to whoever may read that log."""
    asked.allow("records.read", params.log)
    return page(
        asked, "record_broken.html", log=params.log, index=params.index, problem=problem, here=record_path(params.log, params.index)
    )


def show_bytes(asked: Asked) -> Answer:
    """The exact bytes, to look at or to download."""
    params: ShowBytes = asked.params
    one = OneRecord(log=params.log, index=params.index)
    try:
        shape: RecordShape = records.get_record(asked.with_input(one, None)).body
    except IntegrityBroken as error:
        return _unreadable(asked, ShowRecord(log=params.log, index=params.index), str(error))
    parts = {"envelope": bytes(shape.envelope), "payload": None if shape.payload is None else bytes(shape.payload)}
    if params.part:
        content = parts[params.part]
        if content is None:
            raise not_found()
        return _download(content, f"{params.log}-{params.index}.{params.part}.json", "application/octet-stream")
    shown = [(name, _bytes(content)) for name, content in parts.items() if content is not None]
    return page(
        asked,
        "record_bytes.html",
        shape=shape,
        parts=shown,
        closed=UNREADABLE_BECAUSE[shape.closed or ""],
        here=record_path(params.log, params.index),
    )


def download_proof(asked: Asked) -> Answer:
    """The proof that `licet audit prove` would write."""
    params: ProvedRecord = asked.params
    found = proofs.prove(asked)
    assert found.content is not None
    return _download(found.content, f"{params.log}-{params.index}.proof.jsonl", "application/jsonl")


def find(asked: Asked) -> Answer:
    """From a call or a request to its newest record."""
    story = records.get_story(asked).body
    own = [shape for shape in story.records if shape.call == story.call] or list(story.records)
    return Answer(status=303, media_type="text/plain", headers=(("Location", record_path(own[-1].log, own[-1].index)),))


def _story(asked: Asked, entry: Entry) -> list[Entry]:
    """The records of its call, as far as they are within reach; at least this one."""
    if entry.envelope.call is None:
        return [entry]
    try:
        shapes = records.get_story(asked.with_input(OneStory(id=entry.envelope.call), None)).body.records
    except Problem:
        return [entry]  # it is a call of which no other record is within reach
    except IntegrityBroken:
        return [entry]  # another record of it is broken; this one says what it says
    return [entry_of(shape) for shape in shapes] or [entry]


def _why(asked: Asked, entry: Entry) -> dict[str, Any] | None:
    """The policies that decided, with their texts for whoever may read them."""
    if entry.envelope.decision is None:
        return None
    try:
        found: Reasons = records.get_reasons(asked.with_input(OneReason(log=entry.log, index=entry.index), None)).body
    except IntegrityBroken as error:
        return {"policies": [], "note": str(error), "may_read": False}
    may_read = asked.decide("policies.read", OPERATOR_LOG).allowed
    failed = {text for one in found.unpermitted if one.nearest is not None for text in one.nearest.failed}
    named = dict.fromkeys((one.id, one.file, one.line, one.effect, one.reason or "") for one in found.decision.policies)
    held = {one.policy for one in found.decision.obligations}
    policies = [
        {
            "id": name,
            "file": file,
            "line": line,
            "look": HOLD if name in held else ALLOW if effect == "permit" else DENY,
            "word": "Held by" if name in held else "Allowed by" if effect == "permit" else "Forbidden by",
            "reason": reason,
            "lines": [
                (line + number, text, bool(failed) and any(one in text for one in failed))
                for number, text in enumerate(found.texts.get(name, "").splitlines())
            ],
        }
        for name, file, line, effect, reason in named
    ]
    return {"policies": policies, "note": found.note or "", "may_read": may_read}


def arguments_of(entry: Entry) -> list[dict[str, Any]]:
    """The arguments by name; what was hidden is marked as that."""
    raw = bytes(entry.payload.arguments)
    hidden = any(said.partition(":")[2].startswith(("arguments", "payload")) for said in entry.envelope.redactions)
    members = _decode(raw) if raw else {}
    if not isinstance(members, dict):
        members = {"(all)": members}
    return [
        {"name": name, "value": _clip(quoted_value(value)), "secret": hidden and MARKER.fullmatch(str(value)) is not None}
        for name, value in members.items()
    ]


def _preview(entry: Entry) -> str:
    if not entry.payload.preview or entry.payload.effects:
        return ""
    return _json(bytes(entry.payload.preview))


def _detail(entry: Entry) -> str:
    """What belongs to this kind of record; the summary of a request is told above, and has what the agent wrote (rule 4)."""
    told = {name: value for name, value in entry.detail.items() if name != "request"}
    return _json(msgspec.json.encode(told)) if told else ""


def _json(raw: bytes) -> str:
    """JSON on several lines, byte for byte the same values."""
    return _clip(msgspec.json.format(raw, indent=2).decode()) if raw else ""


def _clip(text: str) -> str:
    if len(text) <= TEXT_LIMIT:
        return text
    return f"{text[:TEXT_LIMIT]}\n… {counted(len(text) - TEXT_LIMIT, 'more character')}; the raw bytes have all of it"


def _author(entry: Entry) -> tuple[str, str]:
    actor = entry.envelope.actor
    if actor is None:
        return ("caller", "the caller")
    return ("agent" if actor.agent else "caller", actor.agent or actor.service or actor.user or "the caller")


def _call_path(call: object) -> str | None:
    return f"/console/calls/{quote(call, safe='')}" if isinstance(call, str) and call else None


def _bytes(content: bytes) -> dict[str, Any]:
    shown = content[:HEX_BYTES]
    rows = [f"{start:06x}  {shown[start : start + 16].hex(' ')}" for start in range(0, len(shown), 16)]
    text = _clip(content.decode("utf-8", "backslashreplace"))
    return {"text": text, "hex": "\n".join(rows), "length": len(content), "cut": len(content) > HEX_BYTES}


def _download(content: bytes, name: str, media_type: str) -> Answer:
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return Answer(content=content, media_type=media_type, headers=(("Content-Disposition", f'attachment; filename="{safe}"'),))


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consoleRecord",
        summary="A record, and the proof of it",
        tag="console",
        action="records.read",
        handler=show,
        params=ShowRecord,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/bytes",
        operation="consoleRecordBytes",
        summary="The exact bytes of a record",
        tag="console",
        action="records.read",
        handler=show_bytes,
        params=ShowBytes,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/proof",
        operation="consoleRecordProof",
        summary="The proof of a record, to check elsewhere",
        tag="console",
        action="records.prove",
        handler=download_proof,
        params=ProvedRecord,
    ),
    Endpoint(
        method="GET",
        path="/console/calls/{id}",
        operation="consoleCall",
        summary="From a call or a request to its record",
        tag="console",
        action="records.read",
        handler=find,
        params=OneStory,
    ),
)
