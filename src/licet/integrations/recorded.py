"""Results of frameworks' tools as JSON, for records; and recorded results as text, for models."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from pydantic import BaseModel

DEPTH_LIMIT: Final = 64


def plain(value: Any) -> Any:
    """The value as JSON. What has no JSON form stands in it as the name of its type: the record says that there was something."""
    return _plain(value, 0)


def text_of(value: Any) -> str:
    """A recorded value as a tool's text: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


def _plain(value: Any, depth: int) -> Any:
    if depth > DEPTH_LIMIT:
        return _named(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth + 1) for inner in value]
    return _converted(value)


def _converted(value: Any) -> Any:
    try:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if isinstance(value, float):
            return json.loads(json.dumps(value, allow_nan=False))
        return msgspec.to_builtins(value)
    except Exception:  # noqa: BLE001 - a value's own code may raise anything, and the tool has run
        return _named(value)


def _named(value: Any) -> dict[str, str]:
    return {"not_json": type(value).__name__}
