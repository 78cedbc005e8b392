"""What a policy's scope admits: the actions, principal kinds and target types it can be about, and which attributes those have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from cedarpy import pst

from licet.policy.schema import PRINCIPALS, Action, Vocabulary
from licet.policy.shape import EntityShape, RecordShape, Shape
from licet.policy.slices import attribute_path, attribute_reads, walk
from licet.policy.views import Path

LISTED = 3
"""Tools that one problem names before it counts the rest."""


class Scope:
    """The calls that one policy can be about: `actions` are those that its action scope admits."""

    def __init__(self, tree: pst.Template, vocabulary: Vocabulary, actions: tuple[Action, ...]) -> None:
        self._clauses = tree.clauses
        self._vocabulary = vocabulary
        self.actions = actions
        self.kinds = tuple(kind for kind in PRINCIPALS if _admits(tree.principal, kind))
        self.types = tuple(sorted({name for action in self.actions for name in action.types if _admits(tree.resource, name)}))

    def absent_attributes(self) -> Iterator[str]:
        """A problem for each `has` that is false for every call in scope."""
        for node in walk(self._clauses):
            if isinstance(node, pst.HasAttr):
                for variable in ("principal", "resource", "context"):
                    path = attribute_path(node.base, variable)
                    if path is not None:
                        yield from self._absent(variable, path, node.attrs)

    def unseen_fields(self) -> Iterator[str]:
        """A problem for each use of a field that policies cannot see in some tool or target type in scope."""
        inputs = [(f"`{action.name}`", {("input", *path): why for path, why in action.left_out.items()}) for action in self.actions]
        yield from self._unseen("context", [entry for entry in inputs if entry[1]])
        left_out = self._vocabulary.type_left_out
        yield from self._unseen("resource", [(f"`{name}`", left_out[name]) for name in self.types if left_out.get(name)])

    def _absent(self, variable: pst.VarName, path: Path, attributes: Path) -> Iterator[str]:
        shapes = self._roots(variable)
        for name in path:
            shapes = self._below(shapes, name)
        for name in attributes:
            # Where the way there is missing too, validation has said so.
            if shapes and not (shapes := self._below(shapes, name)):
                yield f"nothing in scope has the attribute `{name}` that it looks for in `{'.'.join((variable, *path))}`"

    def _roots(self, variable: pst.VarName) -> list[Shape]:
        if variable == "context":
            return [action.context for action in self.actions]
        return [EntityShape(name) for name in (self.kinds if variable == "principal" else self.types)]

    def _below(self, shapes: Iterable[Shape], name: str) -> list[Shape]:
        records = [self._vocabulary.attributes_of(shape.type) if isinstance(shape, EntityShape) else shape for shape in shapes]
        return [record.fields[name].shape for record in records if isinstance(record, RecordShape) and name in record.fields]

    def _unseen(self, variable: pst.VarName, left_out: list[tuple[str, dict[Path, str]]]) -> Iterator[str]:
        if not left_out:
            return
        for path, whole in attribute_reads(self._clauses, variable):
            found: dict[str, list[str]] = {}
            for where, fields in left_out:
                for field, why in fields.items():
                    if path[: len(field)] == field or (whole and field[: len(path)] == path):
                        found.setdefault(f"`{'.'.join((variable, *field))}`, which policies cannot see: {why}", []).append(where)
            for problem, places in found.items():
                more = f" and {len(places) - LISTED} more" if len(places) > LISTED else ""
                yield f"it uses {problem} (in {', '.join(places[:LISTED])}{more})"


def _admits(scope: pst.PrincipalOrResourceConstraint, kind: str) -> bool:
    """Whether an entity of this type can be in scope; `in` admits its own type and what can be a member."""
    match scope:
        case pst.ScopeEq(entity=pst.EntityUid(type=only)) | pst.ScopeIs(entity_type=only) | pst.ScopeIsIn(entity_type=only):
            return str(only) == kind
        case pst.ScopeIn(entity=pst.EntityUid(type=above)):
            members: Collection[str] = {"Role": PRINCIPALS, "Group": ("User",)}.get(str(above), ())
            return str(above) == kind or kind in members
        case _:
            return True
