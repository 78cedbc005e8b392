"""What is wrong with a value that its schema refuses, in words for whoever sent it.

A message quotes at most a few characters of the value and never lists what a schema allows at length; its JSON Pointer leads to the
culprit, or to where a missing argument should be. A secret is never quoted: the message is recorded.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jsonschema_rs

from licet.catalog import strict
from licet.catalog.secret_paths import Path, is_hidden, may_hold
from licet.errors import ArgumentsRefused

MESSAGE_LIMIT = 400


def find_problem(compiled: jsonschema_rs.Draft202012Validator, value: Any, secrets: Collection[Path] = ()) -> ArgumentsRefused | None:
    """The first thing that is wrong with `value`; None if it is valid. Codes: `missing`, `unknown_argument`, `wrong_type`, `invalid`."""
    error = _first_error(compiled, value)
    if error is None:
        return None
    place = list(error.instance_path)
    # A choice is described by what is wrong inside of it, which may be the secret.
    if is_hidden(secrets, place) or (error.kind.name in {"anyOf", "oneOf"} and may_hold(secrets, place)):
        return unquoted(strict.pointer(place))
    code, message, path = _described(error)
    pointer = strict.pointer(path)
    return ArgumentsRefused(code, f"{message} (at `{_shortened(pointer)}`)"[:MESSAGE_LIMIT], pointer)


def _first_error(compiled: jsonschema_rs.Draft202012Validator, value: Any) -> jsonschema_rs.ValidationError | None:
    """What `validate` stops at: `iter_errors` would look for all that is wrong with a list of thousands before it tells of one."""
    try:
        compiled.validate(value)
    except jsonschema_rs.ValidationError as error:
        return error
    return None


def unquoted(pointer: str) -> ArgumentsRefused:
    """The refusal of a secret value, or of one that holds secrets: where it stands, and nothing of what it is."""
    return ArgumentsRefused("invalid", f"a secret value is not what the tool's schema asks for (at `{_shortened(pointer)}`)", pointer)


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
