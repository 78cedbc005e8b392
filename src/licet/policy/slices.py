"""Slices: which policies can speak about a call, and what of its context they read.

Rules:

1. A policy stays in the slice of a call unless its scope excludes the tool (`action == other`, or `action in [...]` with neither the tool
   nor a group of it) or every principal of the caller. A policy outside is false before any of its conditions is looked at, so it gives
   neither a reason nor an error: slice and full set are equal.
2. A scope of a form that is not known here is an error, never a match or a miss.
3. What a slice reads of the context is every path of attributes that starts at `context` anywhere in it; where `context` or a record in
   it is used whole (compared, put in a set), all of it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from cedarpy import pst

from licet.model import Principal
from licet.policy.shape import Reads

_Tree: TypeAlias = "dict[str, _Tree | None]"


def speaks_of(scope: pst.ActionConstraint, name: str, parents: frozenset[str]) -> bool:
    """Whether a policy's scope admits the action of this name, which is in these groups."""
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ActionEq(entity=pst.EntityUid(id=only)):
            return only == name
        case pst.ActionIn(entities=entities):
            return any(entity.id == name or entity.id in parents for entity in entities)
        case other:
            raise ValueError(f"unknown form of action scope: {type(other).__name__}")


def admits(scope: pst.PrincipalOrResourceConstraint, principal: Principal) -> bool:
    """Whether a policy's principal scope admits this principal, exactly as Cedar would find."""
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ScopeEq(entity=pst.EntityUid() as uid):
            return _is(uid, principal)
        case pst.ScopeIn(entity=pst.EntityUid() as uid):
            return _in(uid, principal)
        case pst.ScopeIs(entity_type=kind):
            return str(kind) == principal.kind
        case pst.ScopeIsIn(entity_type=kind, entity=pst.EntityUid() as uid):
            return str(kind) == principal.kind and _in(uid, principal)
        case other:
            raise ValueError(f"unknown form of principal scope: {type(other).__name__}")


def _is(uid: pst.EntityUid, principal: Principal) -> bool:
    return str(uid.type) == principal.kind and uid.id == principal.id


def _in(uid: pst.EntityUid, principal: Principal) -> bool:
    kind = str(uid.type)
    if kind == "Role":
        return uid.id in principal.roles
    if kind == "Group":
        return uid.id in principal.groups
    return _is(uid, principal)


def context_reads(trees: Iterable[pst.Template]) -> Reads:
    """What these policies read of the context."""
    root: _Tree = {}
    for tree in trees:
        for path, whole in attribute_reads(tree.clauses, "context"):
            # Whether an attribute is there can be told from an empty record, so nothing below it is read.
            _mark(root, ("context", *path), None if whole else {})
    return root.get("context", {})


def attribute_reads(root: Any, variable: pst.VarName) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Each longest path that starts at this variable, and whether its end is used whole or only asked for by `has`."""
    stack = [root]
    while stack:
        node = stack.pop()
        path = attribute_path(node, variable)
        if path is not None:
            yield path, True
        elif isinstance(node, pst.HasAttr) and (base := attribute_path(node.base, variable)) is not None:
            yield (*base, *node.attrs), False
        else:
            stack.extend(children(node))


def _mark(tree: _Tree, path: tuple[str, ...], leaf: _Tree | None) -> None:
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        if below is None:
            return  # all of it is read already
        tree = below
    last = path[-1]
    if leaf is None:
        tree[last] = None
    else:
        tree.setdefault(last, leaf)


def attribute_path(node: Any, variable: pst.VarName) -> tuple[str, ...] | None:
    """The attributes of `variable.a.b`, in order; None for any other expression."""
    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return tuple(reversed(names)) if node == pst.Var(variable) else None


def children(node: Any) -> Iterator[Any]:
    """The nodes right below one node, or in one tuple or mapping."""
    if isinstance(node, tuple):
        yield from node
    elif isinstance(node, dict):
        yield from node.values()
    else:
        # The fields of a dataclass, by the attribute that is meant for it: `dataclasses.fields` takes several times as long.
        yield from (getattr(node, name) for name in getattr(type(node), "__match_args__", ()))


def walk(root: Any) -> Iterator[Any]:
    """Every node below `root` and itself, in no order that matters."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))
