"""Results of frameworks' tools as JSON, for records; and recorded results as text, for models."""

from __future__ import annotations

import json
import math
from itertools import islice
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from licet.gate.text import readable

DEPTH_LIMIT: Final = 64
VALUES_LIMIT: Final = 512 * 1024
"""Of one result: more have no record anyway (each takes two bytes of JSON), and one that holds itself would have no end."""


def plain(value: Any) -> Any:
    """The value as JSON. What has no JSON form stands in it as the name of its type: the record says that there was something."""
    return _Plain().part(value, 0)


def text_of(value: Any) -> str:
    """A recorded value as a tool's text: text as it is, anything else as JSON."""
    return readable(value) if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


class _Plain:
    """One value on its way to JSON."""

    def __init__(self) -> None:
        self._left = VALUES_LIMIT

    def part(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if depth > DEPTH_LIMIT or self._left < 0:
            return _named(value)
        try:
            return self._read(value, depth)
        except Exception:  # noqa: BLE001 - a value's own code may raise anything, and the tool has run
            return _named(value)

    def _read(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | str | int | float):
            return _scalar(value)
        if isinstance(value, dict):
            return {_key(key): self.part(inner, depth + 1) for key, inner in islice(value.items(), self._left + 1)}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.part(inner, depth + 1) for inner in islice(value, self._left + 1)]
        return self.part(value.model_dump(mode="json") if isinstance(value, BaseModel) else msgspec.to_builtins(value), depth + 1)


def _scalar(value: str | float | None) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, int):
        str(value := int.__int__(value))  # raises where there are more digits than anybody would read back
        return value
    return float.__float__(value) if math.isfinite(value) else _named(value)


def _key(key: Any) -> str:
    return readable(key if isinstance(key, str) else str(key))


def _named(value: Any) -> dict[str, str]:
    return {"not_json": type(value).__name__}
