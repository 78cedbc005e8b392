"""What is wrong with a value that its schema refuses, in words for whoever sent it.

A message quotes at most a few characters of the value and never lists what a schema allows at length; its JSON Pointer leads to the
culprit, or to where a missing argument should be.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from licet.catalog import strict
from licet.errors import ArgumentsRefused

MESSAGE_LIMIT = 400


def find_problem(compiled: jsonschema_rs.Draft202012Validator, value: Any) -> ArgumentsRefused | None:
    """The first thing that is wrong with `value`; None if it is valid. Codes: `missing`, `unknown_argument`, `wrong_type`, `invalid`."""
    if compiled.is_valid(value):
        return None
    code, message, path = _described(next(iter(compiled.iter_errors(value))))
    pointer = strict.pointer(path)
    return ArgumentsRefused(code, f"{message} (at `{_shortened(pointer)}`)"[:MESSAGE_LIMIT], pointer)


def _described(error: jsonschema_rs.ValidationError) -> tuple[str, str, list[Any]]:
    kind: Any = error.kind
    path: list[Any] = list(error.instance_path)
    shown = strict.shown(error.instance)
    if kind.name == "required":
        return "missing", f"the argument {strict.shown(kind.property)} is missing", [*path, kind.property]
    if kind.name == "additionalProperties":
        return "unknown_argument", f"there is no argument {strict.shown(kind.unexpected[0])}", [*path, kind.unexpected[0]]
    if kind.name == "type":
        return "wrong_type", f"{shown} is not of type {' or '.join(kind.types)}", path
    if kind.name in {"anyOf", "oneOf"} and getattr(kind, "context", None):
        return _described_choice(error, [branch[0] for branch in kind.context if branch])
    return "invalid", f"{shown} is refused: {error.message[:200]}", path


def _described_choice(error: jsonschema_rs.ValidationError, firsts: list[Any]) -> tuple[str, str, list[Any]]:
    """The branch that was meant is the one whose type fits; where none does, all their types."""
    path = list(error.instance_path)
    meant = [first for first in firsts if first.kind.name != "type" or list(first.instance_path) != path]
    if len(meant) == 1:
        return _described(meant[0])
    types = [name for first in firsts if first not in meant for name in first.kind.types]
    if meant or not types:
        return "invalid", f"{strict.shown(error.instance)} is none of the allowed forms", path
    return "wrong_type", f"{strict.shown(error.instance)} is not of type {' or '.join(types)}", path


def _shortened(pointer: str) -> str:
    return pointer if 0 < len(pointer) <= 100 else f"{pointer[:100]}..." if pointer else "/"  # noqa: PLR2004 - a line of a terminal
