"""Secret parameters of Python functions: `Secret`, and pydantic's own secret types.

Rules:

1. `Annotated[str, Secret()]` says nothing but that no record may hold the value: the function gets an ordinary text.
2. `pydantic.SecretStr` and its kin write themselves as asterisks. Arguments hold what is in them, since the tool must be given it.
3. A refusal never quotes a secret, nor what is inside one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pydantic
from msgspec import Struct

from licet.catalog.secret_paths import Path, is_hidden
from licet.catalog.strict import pointer
from licet.errors import ArgumentsRefused

_BOXES = (pydantic.Secret, pydantic.SecretStr, pydantic.SecretBytes)


class Secret(Struct, frozen=True):
    """Marks a parameter, or a field of a model, whose value no record may hold: `token: Annotated[str, Secret()]`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The schema of the type, with `"writeOnly": true`, by which JSON Schema says the same."""
        return {**handler(core_schema), "writeOnly": True}


def is_secret_mark(metadata: Any) -> bool:
    """Whether this part of an `Annotated` is `Secret()`, or `Secret` without brackets."""
    return metadata is Secret or isinstance(metadata, Secret)


def opened(written: Any, value: Any, secrets: Collection[Path], place: tuple[str | int, ...] = ()) -> Any:
    """A value as `written` in JSON, with what is in the secret boxes of the Python `value` in place of their asterisks.

    Raises ArgumentsRefused for a box where the tool has no secret: it would be recorded.
    """
    if isinstance(value, _BOXES):
        if not is_hidden(secrets, place):
            raise ArgumentsRefused("not_stable", f"a secret type stands where no secret is known (at `{pointer(place)}`)", pointer(place))
        inside = value.get_secret_value()
        return inside.decode() if isinstance(inside, bytes) else inside
    if isinstance(written, dict) and isinstance(value, dict) and len(written) == len(value):
        pairs = zip(written.items(), value.values(), strict=True)
        return {name: opened(inner, mine, secrets, (*place, name)) for (name, inner), mine in pairs}
    if isinstance(written, list) and isinstance(value, list | tuple) and len(written) == len(value):
        both = zip(written, value, strict=True)
        return [opened(inner, mine, secrets, (*place, index)) for index, (inner, mine) in enumerate(both)]
    return written
