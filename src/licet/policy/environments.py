"""What policies say in one environment: their conditions on `context.environment`, decided without a call.

Rules:

1. What is said to hold, or not to, does so for every call there. Whatever reads anything else is left open.
2. Conditions are looked at from left to right, as Cedar does. An error anywhere denies the call (policy/engine.py, rule 2), so nothing is
   decided behind what may raise one.
3. `resource.environment` is the target's own and not the gate's: it is left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cedarpy import pst

from licet.policy.bundle import Policy
from licet.policy.slices import attribute_path, walk

_ENVIRONMENT: Final = ("environment",)
_COMPARES: Final = frozenset({"eq", "not_eq", "less", "less_eq", "greater", "greater_eq", "and", "or", "not", "in"})
_SAFE: Final = _COMPARES | {"contains", "contains_all", "contains_any", "is_empty", "has_tag"}
"""Operators that never end in an error in what was validated."""


class Speaking:
    """Which policies speak in this environment. Not for several threads at once."""

    def __init__(self, environment: str) -> None:
        self.environment: Final = environment
        self._known: dict[str, tuple[bool | None, bool]] = {}

    def of(self, policy: Policy) -> bool | None:
        """Whether its conditions hold of every call (True), of none (False), or of some (None). Its scope is not looked at."""
        return self._look(policy)[0]

    def may_raise(self, policy: Policy) -> bool:
        """Whether some call may be denied for an error in its conditions."""
        return self._look(policy)[1]

    def _look(self, policy: Policy) -> tuple[bool | None, bool]:
        if policy.id not in self._known:
            self._known[policy.id] = _all_of(_clause(clause, self.environment) for clause in policy.tree.clauses)
        return self._known[policy.id]


def environments_of(policies: Iterable[Policy]) -> set[str]:
    """Every environment that these name."""
    return {name for policy in policies for node in walk(policy.tree.clauses) for name in _named(node)}


def _clause(clause: pst.Clause, environment: str) -> tuple[bool | None, bool]:
    """What it is, and whether it may raise an error."""
    if isinstance(clause, pst.When):
        return _all_of((_decide(one, environment), may_raise(one)) for one in _parts(clause.expr, "and"))
    return _all_of((_decide(pst.UnaryOp("not", one), environment), may_raise(one)) for one in _parts(clause.expr, "or"))


def _all_of(parts: Iterable[tuple[bool | None, bool]]) -> tuple[bool | None, bool]:
    """Whether all hold, and whether one may raise an error before that is known (rule 2)."""
    is_open = raises = False
    for found, may in parts:
        if found is False:
            return (None if raises else False), raises
        is_open |= found is None
        raises |= found is None and may
    return (None if is_open else True), raises


def may_raise(expr: pst.Expr) -> bool:
    """Whether it does anything that ends in an error for some values: arithmetic, what is made of texts, tags that may not be there."""
    return any(isinstance(node, pst.BinaryOp | pst.UnaryOp) and node.op not in _SAFE for node in walk(expr))


def _parts(expr: pst.Expr, op: pst.BinaryOpName) -> Iterator[pst.Expr]:
    if isinstance(expr, pst.BinaryOp) and expr.op == op:
        yield from _parts(expr.left, op)
        yield from _parts(expr.right, op)
    else:
        yield expr


def _decide(expr: pst.Expr, environment: str) -> bool | None:
    """What it is for every call of this environment; None for what depends, or may raise an error."""
    match expr:
        case pst.BoolLit(value=value):
            return value
        case pst.UnaryOp(op="not", arg=arg):
            found = _decide(arg, environment)
            return None if found is None else not found
        case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
            found = _decide(left, environment)
            return found if found is None or found is (op == "or") else _decide(right, environment)
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            found = _decide(cond, environment)
            return None if found is None else _decide(then if found else other, environment)
        case pst.BinaryOp(op=op):
            named = {*_named(expr)}
            return None if not named else (environment in named) is (op != "not_eq")
        case _:
            return None


def _named(node: object) -> Iterator[str]:
    """The environments with which this node compares that of the call."""
    match node:
        case pst.BinaryOp(op="eq" | "not_eq", left=one, right=other):
            for path, literal in ((one, other), (other, one)):
                if attribute_path(path, "context") == _ENVIRONMENT and isinstance(literal, pst.StringLit):
                    yield literal.value
        case pst.BinaryOp(op="contains", left=pst.Set(elements=elements), right=right):
            names = [one.value for one in elements if isinstance(one, pst.StringLit)]
            if attribute_path(right, "context") == _ENVIRONMENT and len(names) == len(elements):
                yield from names
        case _:
            return
