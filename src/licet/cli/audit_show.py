"""`licet audit show`: everything that is known of one call, as a story and then as facts."""

from __future__ import annotations

from collections.abc import Iterable

import click
import msgspec
from msgspec import Struct

from licet.cli.audit_search import Line, line_of
from licet.cli.invocation import Invocation
from licet.cli.output import Output, pretty
from licet.cli.record_source import records_of
from licet.cli.records import UNREADABLE_BECAUSE, Entry, read_entry, tell
from licet.cli.wording import clock, listed, moment
from licet.ledger.record import leaf_hash
from licet.model import DecidingPolicy, Effect, JsonObject, Principal, Target


class Story(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: every record of the call and of the requests that it opened or used, in order of time."""

    call: str | None
    records: tuple[Line, ...]


@click.command()
@click.argument("reference", metavar="CALL|REQUEST|LOG:INDEX")
@click.pass_obj
def show(invocation: Invocation, /, reference: str) -> int:
    """Show the whole story of a call: what was asked, decided, voted, done and changed.

    The call is named by its id, by that of its request, or by the place of any of its records. That it was shown is recorded first.
    """
    with records_of(invocation) as source:
        found = source.story(reference)
    call, records = found.call, found.records
    entries = [read_entry(record) for record in records]
    story = Story(call=call, records=tuple(line_of(record, entry) for record, entry in zip(records, entries, strict=True)))
    hashes = {entry.place: leaf_hash(record.envelope).hex() for record, entry in zip(records, entries, strict=True)}
    step = f"`licet why {call}` explains the decision" if any(entry.envelope.decision for entry in entries) else None
    return invocation.answer(story, lambda output: _show(output, call, entries, hashes), next_step=step)


_CLOSING = ("outcome", "recovery", "call", "denial", "hold", "intent")
"""Kinds of records, the one that says most about how a call ended first."""


def _show(output: Output, call: str | None, entries: list[Entry], hashes: dict[str, str]) -> None:
    mine = [entry for entry in entries if entry.envelope.call == call] or entries
    ended = min(mine, key=lambda entry: (_rank(entry), -entry.envelope.at))
    told = tell(ended)
    output.mark(told.mark, told.word, told.act)
    output.heading(f"What happened (UTC, {moment(entries[0].envelope.at)[:10]})")
    before = None
    for entry in entries:
        told = tell(entry)
        sentence = "the same again" if told == before else told.sentence
        output.mark(told.mark, told.word, sentence, below=f"{clock(entry.envelope.at)}  {entry.place}")
        before = told
    decided = next((entry for entry in mine if entry.envelope.decision is not None), None)
    output.heading("What is known")
    output.facts(_facts(decided or ended, mine))
    output.heading("Records and their leaf hashes")
    output.facts([(entry.place, hashes[entry.place]) for entry in entries])


def _rank(entry: Entry) -> int:
    kind = entry.envelope.kind
    return _CLOSING.index(kind) if kind in _CLOSING else len(_CLOSING)


def _facts(decided: Entry, mine: list[Entry]) -> list[tuple[str, str]]:
    payload = decided.payload
    facts: list[tuple[str, str]] = []
    if decided.closed:
        facts.append((decided.closed, f"the payload cannot be read, {UNREADABLE_BECAUSE[decided.closed]}; what is left is the envelope"))
    effects = [effect for entry in mine for effect in entry.payload.effects]
    if effects:
        facts.append(("changes", "\n".join(map(_effect, effects))))
    facts += [fact for entry in mine if isinstance(entry.detail.get("effects"), dict) for fact in _compared(entry.detail["effects"])]
    if bytes(payload.preview):
        preview = msgspec.json.decode(payload.preview, type=tuple[Effect, ...])
        facts.append(("preview", "\n".join(map(_effect, preview)) or "no change"))
    if bytes(payload.arguments):
        facts.append(("arguments", pretty(msgspec.json.decode(payload.arguments))))
    facts += [("unread", pretty(decided.detail["unread_arguments"]))] if "unread_arguments" in decided.detail else []
    facts += [("result", pretty(msgspec.json.decode(entry.payload.result))) for entry in mine if bytes(entry.payload.result)]
    if payload.reason:
        facts.append(("claim", f'"{payload.reason}" (written by the caller; it grants nothing)'))
    facts += [("target", _target(target)) for target in payload.targets]
    facts += [("principal", _principal(principal)) for principal in payload.principals]
    facts += [("credential", payload.credential)] if payload.credential is not None else []
    facts += [("policy", text) for text in _policies(payload.policies)]
    return [*facts, *_ids(decided)]


def _ids(entry: Entry) -> list[tuple[str, str]]:
    envelope = entry.envelope
    facts = [("undoes", str(entry.detail["undoes"]))] if "undoes" in entry.detail else []
    facts += [("in", envelope.environment)] + ([("call", str(envelope.call))] if envelope.call is not None else [])
    if envelope.actor is not None and envelope.actor.session is not None:
        facts.append(("session", envelope.actor.session))
    if envelope.approval is not None:
        facts.append(("request", envelope.approval.request))
    if envelope.key is not None:
        facts.append(("key", envelope.key))
    if envelope.trace is not None:
        facts.append(("trace", pretty(envelope.trace)))
    if envelope.tool is not None and envelope.tool.definition is not None:
        facts.append(("tool", f"{envelope.tool.name} ({envelope.tool.access}), definition {envelope.tool.definition}"))
    if envelope.decision is not None and envelope.decision.bundle is not None:
        facts.append(("decided by", f"{envelope.decision.decided_by}, under {envelope.decision.bundle}"))
    if entry.payload.context:
        facts.append(("context", pretty(_context(entry.payload.context))))
    return [*facts, ("boot", envelope.boot)]


def _context(context: JsonObject) -> JsonObject:
    """Times in it are microseconds; people read them otherwise."""
    return {name: moment(value) if name == "now" and isinstance(value, int) else value for name, value in context.items()}


def _compared(said: JsonObject) -> list[tuple[str, str]]:
    """How the reported effects compare with those that were approved, and how many there are beside those that are shown."""
    facts = []
    if said.get("unreported"):
        facts.append(("unreported", "people approved changes, and the tool reported none"))
    elif "as_previewed" in said:
        how = {True: "the changes are those that were approved", False: "the changes are not those that were approved"}
        facts.append(("compared", how.get(said["as_previewed"], "whether the changes are those that were approved cannot be said")))
    for name, word in (("missing", "not done"), ("unexpected", "not asked")):
        effects = msgspec.convert(said.get(name) or [], tuple[Effect, ...])
        if effects and not said.get("unreported"):
            more = said.get(f"{name}_in_all", len(effects)) - len(effects)
            facts.append((word, "\n".join([*map(_effect, effects), *([f"and {more} more"] if more else [])])))
    if "kept" in said:
        facts.append(("reported", f"{said.get('reported')} changes, of which the log keeps {said['kept']}"))
    return facts


def _effect(effect: Effect) -> str:
    before = pretty(effect.before) if effect.has_before else "(not known)"
    return f"{effect.target} {effect.field}: {before} -> {pretty(effect.after)}"


def _target(target: Target) -> str:
    attributes = f" {pretty(target.attributes)}" if target.attributes else ""
    return f"{target.ref} of {target.tenant}, in {target.environment}{attributes}"


def _principal(principal: Principal) -> str:
    roles = f", roles {', '.join(principal.roles)}" if principal.roles else ", no role"
    groups = f", groups {', '.join(principal.groups)}" if principal.groups else ""
    given = f", of these by the credential {', '.join(principal.given)}" if principal.given else ""
    return f"{principal.ref} of {principal.tenant}{roles}{given}{groups}"


def _policies(policies: Iterable[DecidingPolicy]) -> list[str]:
    """Each deciding policy once, with the principals for whom it did."""
    found: dict[str, list[str]] = {}
    for policy in policies:
        reason = f": {policy.reason}" if policy.reason else ""
        found.setdefault(f"{policy.effect} `{policy.id}` ({policy.file}:{policy.line}){reason}", []).append(policy.principal)
    return [f"{policy}\nfor {listed(list(dict.fromkeys(principals)))}" for policy, principals in found.items()]
