"""Comparisons of `context.local` with what no clock shows: a forbid on weekday 0, hour 25 or `24.12.2026` would never fire.

Looked at are the parts of the local time compared with a literal, or sought in a set of literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from cedarpy import pst

from licet.policy.slices import attribute_path, walk

_RANGES = {("local", "weekday"): (1, 7), ("local", "hour"): (0, 23), ("local", "minute"): (0, 59)}
_DATE = ("local", "date")
_EQUALS = frozenset({"eq", "not_eq"})
_ORDERS = frozenset({"less", "less_eq", "greater", "greater_eq"})


def impossible_times(clauses: tuple[pst.Clause, ...]) -> Iterator[str]:
    """A problem for each comparison that comes out the same at every time of every day."""
    for node in walk(clauses):
        if not isinstance(node, pst.BinaryOp):
            continue
        for path, literal in _compared(node):
            yield from _problem(node.op, path, literal)


def _compared(node: pst.BinaryOp) -> Iterator[tuple[tuple[str, ...], pst.Expr]]:
    """Each path of the context with a literal that it is compared with."""
    if node.op in _EQUALS | _ORDERS:
        for one, other in ((node.left, node.right), (node.right, node.left)):
            path = attribute_path(one, "context")
            if path is not None:
                yield path, other
    elif node.op == "contains" and isinstance(node.left, pst.Set):
        path = attribute_path(node.right, "context")
        if path is not None:
            yield from ((path, element) for element in node.left.elements)


def _problem(op: str, path: tuple[str, ...], literal: pst.Expr) -> Iterator[str]:
    name = ".".join(("context", *path))
    if path in _RANGES and isinstance(literal, pst.LongLit):
        low, high = _RANGES[path]
        # `hour < 24` and `weekday > 0` are always so, and yet how people write an end that they mean.
        beyond = 1 if op in _ORDERS else 0
        if not low - beyond <= literal.value <= high + beyond:
            yield f"it compares `{name}` with {literal.value}, and that is from {low} to {high}"
    elif path == _DATE and isinstance(literal, pst.StringLit) and not _is_date(literal.value):
        yield f"it compares `{name}` with `{literal.value}`, which is no date such as `2026-11-22`"


def _is_date(text: str) -> bool:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
