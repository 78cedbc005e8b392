"""A policy's conditions one by one, as they are written, and whether each holds for a request.

`when { a && b }` has the conditions `a` and `b`, `unless { a || b }` those that neither of both. A condition that only makes sense behind
the ones before it (`context has agent && context.agent ...`) is put to the engine together with those. Nothing is guessed from texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cedarpy import pst
from cedarpy._internal import PolicySet
from msgspec import Struct

from licet.model import EntityRef
from licet.policy.bundle import COMMENT, STRING, Policy

_PART = re.compile(rf"(?P<string>{STRING})|(?P<comment>{COMMENT})|(?P<word>\w+)|(?P<other>&&|\|\||.)", re.DOTALL)
_DEPTH = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_NO_ANNOTATIONS: pst.FrozenMap[str, str] = pst.FrozenMap()


class Part(Struct, frozen=True, kw_only=True):
    """A part of a policy that can be false. `alone` and `behind` (all parts up to this one) are what the engine is asked."""

    text: str
    scope: bool
    alone: pst.Template
    behind: pst.Template


def parts(policy: Policy) -> tuple[Part, ...]:
    """The parts of a permit, its action scope aside: principal, target, conditions."""
    found: list[Part] = []
    any_scope = pst.ScopeAny()
    for variable, scope in (("principal", policy.tree.principal), ("resource", policy.tree.resource)):
        if scope != any_scope:
            principal, resource = (scope, any_scope) if variable == "principal" else (any_scope, scope)
            template = pst.Template("", "permit", principal, any_scope, resource, (), _NO_ANNOTATIONS)
            found.append(Part(text=_scope_text(variable, scope), scope=True, alone=template, behind=template))
    before = ""
    for kind, text in _conditions(policy.text):
        clause = f"{kind} {{ {text}\n}}"
        before = f"{before}\n{clause}"
        shown = _one_line(text)
        found.append(
            Part(text=shown if kind == "when" else f"unless {shown}", scope=False, alone=_template(clause), behind=_template(before))
        )
    return tuple(found)


def _template(clauses: str) -> pst.Template:
    (tree,) = PolicySet.from_str(f"permit (principal, action, resource) {clauses};").to_pst().static_policies.values()
    return tree


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    """(`when` or `unless`, text) of each condition."""
    depth, kind, start = 0, "", 0
    joints: list[tuple[str, int, int]] = []
    for token in _PART.finditer(text):
        if token.lastgroup in {"string", "comment"}:
            continue
        word = token[0]
        step = _DEPTH.get(word, 0)
        if depth == 0 and word in {"when", "unless"}:
            kind = word
        elif kind and depth == 0 and step == 1:
            start, joints = token.end(), []
        elif kind and depth == 1 and step == -1:
            yield from ((kind, piece) for piece in _split(text, start, token.start(), kind, joints))
        elif kind and depth == 1 and word in {"&&", "||", "if"}:
            joints.append((word, token.start(), token.end()))
        depth += step


def _split(text: str, start: int, stop: int, kind: str, joints: list[tuple[str, int, int]]) -> Iterator[str]:
    """The body's pieces, cut at the joints if all are the one that this clause can be cut at: `&&` of a `when`, `||` of an `unless`."""
    if {joint for joint, _, _ in joints} == {"&&" if kind == "when" else "||"}:
        for _, left, right in joints:
            yield text[start:left]
            start = right
    yield text[start:stop]


def _one_line(text: str) -> str:
    """The text without comments and line ends, its strings untouched."""
    shown = "".join(
        "" if part.lastgroup == "comment" else part[0] if part.lastgroup == "string" else re.sub(r"\s", " ", part[0])
        for part in _PART.finditer(text)
    )
    return re.sub(r" {2,}", " ", shown).strip()


def _scope_text(variable: str, scope: pst.PrincipalOrResourceConstraint) -> str:
    match scope:
        case pst.ScopeEq(entity=entity):
            return f"{variable} == {_uid(entity)}"
        case pst.ScopeIn(entity=entity):
            return f"{variable} in {_uid(entity)}"
        case pst.ScopeIs(entity_type=kind):
            return f"{variable} is {kind}"
        case pst.ScopeIsIn(entity_type=kind, entity=entity):
            return f"{variable} is {kind} in {_uid(entity)}"
        case _:
            return variable


def _uid(entity: pst.EntityOrSlot) -> str:
    return str(EntityRef(str(entity.type), entity.id)) if isinstance(entity, pst.EntityUid) else str(entity)
