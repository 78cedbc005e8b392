"""One file's tables as values, every error with the file and the key that is at fault."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.inspect import LiteralType, StructType, type_info

from licet.config.durations import parse_duration_s
from licet.errors import ConfigInvalid
from licet.model import JsonObject
from licet.names import quoted

FILE_LIMIT_BYTES = 4 * 1024 * 1024
"""A directory of ten thousand users takes about 1 MiB; a file past this is not a configuration."""

_T = TypeVar("_T", bound=Struct)


class Decoder:
    """Decodes parts of one file; knows its name, so that every error can say it."""

    def __init__(self, file: str) -> None:
        self._file = file

    def parse(self, content: bytes | str) -> JsonObject:
        """The file's tables. Raises `ConfigInvalid`, as everything here does."""
        if len(content) > FILE_LIMIT_BYTES:
            raise self.invalid(None, f"is larger than {FILE_LIMIT_BYTES} bytes")
        try:
            return tomllib.loads(content if isinstance(content, str) else content.decode())
        except UnicodeDecodeError as error:
            raise self.invalid(None, f"is not UTF-8 at byte {error.start}") from error
        except tomllib.TOMLDecodeError as error:
            detail = str(error)
            raise self.invalid(None, f"is not TOML: {detail[:1].lower()}{detail[1:]}") from error
        except RecursionError as error:
            raise self.invalid(None, "is nested too deeply") from error

    def table(self, table: dict[str, Any], kind: type[_T], where: str) -> Mapping[str, _T]:
        """Each entry of a table of tables as a value."""
        return MappingProxyType({name: self.struct(entry, kind, f"{where}.{name}") for name, entry in table.items()})

    def struct(self, unverified: object, kind: type[_T], where: str, *, strict: bool = True) -> _T:
        """One table as a value. Unknown keys are found here, where the nearest known one can be named."""
        known = kind.__struct_fields__
        for key in unverified if isinstance(unverified, dict) else ():
            if key not in known:
                near = get_close_matches(str(key), known, n=1)
                hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(sorted(known))}" if known else ""
                raise self.invalid(_join(where, key), f"is not a known key{hint}")
        try:
            return msgspec.convert(unverified, kind, strict=strict, dec_hook=_decode)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            missing = re.fullmatch(r"Object missing required field `(.+)`", message)
            if missing:
                raise self.invalid(_join(where, missing[1]), "is required") from error
            key = path.rstrip("`").removeprefix(".")
            raise self.invalid(_join(where, key), _spoken(message) + _choices(kind, key)) from error

    def duration_s(self, text: str, key: str) -> int:
        """Seconds of a duration such as `15m`."""
        seconds = parse_duration_s(text)
        if seconds is None:
            raise self.invalid(key, f"is `{text}`, which is not a duration such as `90s`, `15m`, `2h` or `1d`")
        return seconds

    def path(self, text: str, key: str) -> str:
        """The text, if it can be a path."""
        if not text or "\0" in text:
            raise self.invalid(key, "is not a path")
        return text

    def invalid(self, key: str | None, what: str) -> ConfigInvalid:
        """What to raise about a key, or about the file."""
        subject = f"{quoted(key)} in `{self._file}`" if key else f"`{self._file}`"
        return ConfigInvalid(f"{subject} {what}", file=self._file, key=key)


def _decode(kind: type, unverified: object) -> object:
    """What msgspec has no type for."""
    if kind is Path and isinstance(unverified, str) and unverified and "\0" not in unverified:
        return Path(unverified)
    raise ValueError("expected a path")


def _join(where: str, key: object) -> str:
    """A dotted key; a part of it may be missing."""
    separator = "" if not where or not key or str(key).startswith("[") else "."
    return f"{where}{separator}{key}"


def _choices(kind: type, key: str) -> str:
    """What the field may be, where it is one of a few words."""
    told = type_info(kind)
    for field in told.fields if isinstance(told, StructType) else ():
        if field.encode_name == key and isinstance(field.type, LiteralType):
            return f"; known: {', '.join(f'`{value}`' for value in field.type.values)}"
    return ""


_WORDS = {"array": "a list", "object": "a table", "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _spoken(message: str) -> str:
    """A message of the decoder, in the words of somebody who writes TOML."""
    words = re.sub(r"`(\w+)( \| null)?`", lambda match: _WORDS.get(match[1], match[1]), message)
    return f"does not fit: {words[:1].lower()}{words[1:]}"
