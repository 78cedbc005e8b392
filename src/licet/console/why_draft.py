"""A permit for exactly the call that was denied, as a draft for whoever keeps the policies.

Rules:

1. A draft permits nothing but the denied call: this very agent (or service) for this very user, this tool, this target of this tenant, in
   this environment, with these arguments. Where the view of policies does not hold all of that, there is no draft: only a wider one
   could be written. Session, trace and time are no part of a call, here as in an approval's key.
2. Texts stand in it as Cedar strings, every character that could end one escaped. No text of anybody stands in a comment.
3. It is drafted only where it loads beside every policy in force, by the bundle's own validation.
4. It adds a permit and changes nothing else, so it never softens a forbid. Nothing applies it: files are the one source of truth.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from licet.catalog.spec import Catalog
from licet.errors import PolicyInvalid
from licet.identity.directory import Directory
from licet.model import Decision, EntityRef, Principal, Target
from licet.policy.bundle import Bundle, Policy
from licet.policy.engine import Engine, Question
from licet.policy.evaluation import LINKS
from licet.policy.explain import Explanation, explain
from licet.policy.shape import DecimalShape, RecordShape, Scalar, SetShape, Shape
from licet.policy.views import OTHERS, view_of

PAIRS: Final = 10
"""Permits of one draft: each principal on each target that nothing permits needs its own."""
NEW_FILE: Final = "policies/access.cedar"
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED: Final = frozenset(
    {
        "true",
        "false",
        "if",
        "then",
        "else",
        "in",
        "is",
        "like",
        "has",
        "__cedar",
        "permit",
        "forbid",
        "when",
        "unless",
        "principal",
        "action",
        "resource",
        "context",
    }
)
_decode_texts = msgspec.json.Decoder(dict[str, str]).decode


class NoDraft(Exception):
    """Why there is none, as a sentence."""


class Ground(Struct, frozen=True, kw_only=True):
    """What is in force, and what a bundle is validated against."""

    engine: Engine
    catalog: Catalog
    directory: Directory
    meters: tuple[str, ...] = ()


class Draft(Struct, frozen=True, kw_only=True):
    """The permits, where they go, as a unified diff of that file, and what would be decided with them."""

    text: str
    file: str
    line: int
    diff: str
    decision: Decision
    engine: Engine


def draft_of(ground: Ground, question: Question, place: str) -> Draft:
    """The draft that permits this question and no other, under the policies of now. `place` names the record. Raises `NoDraft`."""
    explained = explain(ground.engine, question)
    _refuse_settled(explained)
    pairs = [(one.principal, one.target) for one in explained.unpermitted]
    if not pairs or len(pairs) > PAIRS:
        raise NoDraft("it acts on more targets than can be written down one by one" if pairs else "the policies could not be evaluated")
    nearest = next((one.nearest for one in explained.unpermitted if one.nearest is not None), None)
    bundle = ground.engine.bundle
    names = {policy.id for policy in bundle.policies}
    texts = [
        permit_text(question, principal, target, _name(names, place, number), place)
        for number, (principal, target) in enumerate(_found(question, pairs), 1)
    ]
    text = "\n\n".join(texts)
    beside = None if nearest is None else bundle.get_policy(nearest.policy)
    files = _decode_texts(bundle.content)
    file, old, new, line = _inserted(files, beside, text)
    engine = _loaded(ground, {**files, file: new})
    diff = "".join(difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{file}", f"b/{file}"))
    return Draft(text=text, file=file, line=line, diff=diff, decision=engine.decide(question), engine=engine)


def _refuse_settled(explained: Explanation) -> None:
    decision = explained.decision
    if decision.verdict != "deny":
        word = "allowed" if decision.verdict == "allow" else "held for people"
        raise NoDraft(f"the policies of now have changed: the same call would be {word}")
    if decision.code != "no_permit":
        raise NoDraft(f"under the policies of now it is something else that denies it: {decision.message}")


def _name(taken: set[str], place: str, number: int) -> str:
    """An id that no policy has."""
    base = re.sub(r"[^a-z0-9]+", "-", f"access-{place}".lower()).strip("-")[:100]
    name = f"{base}-{number}"
    while name in taken:
        name += "-again"
    taken.add(name)
    return name


def _found(question: Question, pairs: list[tuple[str, str]]) -> Iterator[tuple[Principal, Target]]:
    """The principals and targets of these names."""
    for principal in question.principals:
        for target in question.targets:
            if (str(principal.ref), str(target.ref)) in pairs:
                yield principal, target


def permit_text(question: Question, principal: Principal, target: Target, name: str, place: str) -> str:
    """One permit (rule 1). Raises `NoDraft`."""
    conditions = [
        f"resource.tenant == {entity(EntityRef('Tenant', target.tenant))}",
        f"context.environment == {string(question.environment)}",
        *_links(question, principal),
        *_of_input(question),
    ]
    joined = " &&\n  ".join(conditions)
    return (
        f"@id({string(name)})\n"
        f"@description({string(f'the one call that was denied in record {place}')})\n"
        f"permit (\n  principal == {entity(principal.ref)},\n  action == {entity(EntityRef('Action', question.tool.name))},\n"
        f"  resource == {entity(target.ref)}\n)\nwhen {{\n  {joined}\n}};"
    )


def _links(question: Question, principal: Principal) -> Iterator[str]:
    """The rest of the caller, as this principal sees it: whoever else uses the same agent, or is used by it, is not meant."""
    others = {other.kind: other for other in question.principals if other is not principal}
    if not others:
        yield "!(context has on_behalf_of)"
    for kind, other in others.items():  # a user has an agent or a service beside it, and each of those a user
        name = LINKS[kind]
        yield f"context has {name} && context.{name} == {entity(other.ref)}"


def _of_input(question: Question) -> Iterator[str]:
    view = view_of(question.tool.input_schema, defaults_filled=True)
    for path, reason in view.left_out.items():
        if _is_given(question.input, path):
            shown = ".".join(part for part in path if part != OTHERS) or "its arguments"
            raise NoDraft(f"policies cannot see all of `{shown}` ({reason}), so a permit for this call alone cannot be written")
    yield from _of_record("context.input", view.shape, question.input)


def _is_given(value: Any, path: tuple[str, ...]) -> bool:
    """Whether the call has something at a path that policies do not see."""
    for place, part in enumerate(path):
        if part == OTHERS:
            return bool(value) if place == len(path) - 1 else True
        if not isinstance(value, dict) or value.get(part) is None:
            return False
        value = value[part]
    return True


def _of_record(at: str, shape: RecordShape, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        raise NoDraft("an argument is not what policies take it for")
    for name, field in shape.fields.items():
        given = value.get(name)
        if not field.required:
            has = f"{at} has {_key(name)}"
            if given is None:
                yield f"!({has})"
                continue
            yield has
        yield from _equal(_member(at, name), field.shape, given)


def _equal(at: str, shape: Shape, value: Any) -> Iterator[str]:
    if isinstance(shape, RecordShape):
        yield from _of_record(at, shape, value)
    elif isinstance(shape, SetShape):
        members = sorted({_literal(shape.element, one) for one in value}) if isinstance(value, list) else []
        yield f"{at} == [{', '.join(members)}]" if members else f"{at}.isEmpty()"
    else:
        yield f"{at} == {_literal(shape, value)}"


def _literal(shape: Shape, value: Any) -> str:
    if not isinstance(shape, Scalar | DecimalShape):
        raise NoDraft("a list of it holds what no policy can name one by one")
    try:
        encoded = shape.encode(value)
    except ValueError as error:
        raise NoDraft(f"an argument {error}") from error
    if isinstance(shape, DecimalShape):
        return f"decimal({string(encoded)})"
    if isinstance(encoded, bool):
        return "true" if encoded else "false"
    return string(encoded) if isinstance(encoded, str) else str(encoded)


def _key(name: str) -> str:
    return name if _is_word(name) else string(name)


def _member(at: str, name: str) -> str:
    return f"{at}.{name}" if _is_word(name) else f"{at}[{string(name)}]"


def _is_word(name: str) -> bool:
    return _WORD.fullmatch(name) is not None and name not in _RESERVED


def entity(ref: EntityRef) -> str:
    """A literal entity in Cedar."""
    return f"{ref.type}::{string(ref.id)}"


def string(text: str) -> str:
    """A literal string in Cedar (rule 2)."""
    return '"' + "".join(_character(one) for one in text) + '"'


def _character(one: str) -> str:
    if one in {'"', "\\"}:
        return f"\\{one}"
    # Letters that cannot be seen, or that turn the line round, would show the owner another policy than the one that loads.
    return one if one.isascii() and one.isprintable() else f"\\u{{{ord(one):x}}}"


def _inserted(files: dict[str, str], beside: Policy | None, text: str) -> tuple[str, str, str, int]:
    """The file, its text before and after, and the line on which the draft begins: behind the nearest permit, or in a file of its own."""
    if beside is None or beside.file not in files:
        old = files.get(NEW_FILE, "")
        start = f"{old.rstrip()}\n\n" if old.strip() else ""
        return NEW_FILE, old, f"{start}{text}\n", start.count("\n") + 1
    old = files[beside.file]
    begins = _offset(old, beside.line)
    end = old.index(beside.text, begins) + len(beside.text)
    behind, newline, rest = old[end:].partition("\n")
    if behind.strip() and not behind.lstrip().startswith("//"):  # another policy begins on that line
        head = f"{old.rstrip()}\n\n"
        return beside.file, old, f"{head}{text}\n", head.count("\n") + 1
    head = f"{old[:end]}{behind}\n\n"
    return beside.file, old, f"{head}{text}\n{rest if newline else ''}", head.count("\n") + 1


def _offset(text: str, line: int) -> int:
    """Where a line begins, lines being counted as the bundle counts them."""
    place = 0
    for _ in range(line - 1):
        place = text.index("\n", place) + 1
    return place


def _loaded(ground: Ground, files: dict[str, str]) -> Engine:
    """Rule 3. Raises `NoDraft`."""
    try:
        return Engine.load(Bundle.from_texts(files), ground.catalog, ground.directory, meters=ground.meters)
    except PolicyInvalid as error:
        raise NoDraft(f"what could be drafted does not load beside the policies of now: {error.problems[0]}") from error
