"""What a file is that somebody wants verified, by what it says at its beginning. Nothing of it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken

FileKind: TypeAlias = Literal["jsonl", "proof", "csv", "parquet", "ocsf", "otlp"]
MANIFEST_SUFFIX = ".manifest.json"
LINE_LIMIT_BYTES = 256 << 20
"""No record is as long as this, payload and escapes included. A file without line ends is not read into memory whole."""
_LOOKED_AT_BYTES = 4_096
_MANIFEST_LIMIT_BYTES = 16 << 20


class _Manifest(Struct):
    format: str


_BEGINNINGS: tuple[tuple[bytes, FileKind], ...] = (
    (b"PAR1", "parquet"),
    (b"log,index,leaf,", "csv"),
    (b'{"licet_export":', "jsonl"),
    (b'{"licet_proof":', "proof"),
    (b'{"licet_consistency":', "proof"),
    (b'{"resourceSpans":', "otlp"),
)


def kind_of(path: Path) -> FileKind:
    """What this file is. A manifest beside it says so first. Raises `IntegrityBroken` where nothing that Licet writes begins so."""
    said = _said_by_manifest(path)
    if said in {"ocsf", "otlp"}:
        return said
    with path.open("rb") as file:
        first = file.read(_LOOKED_AT_BYTES)
    found = next((kind for beginning, kind in _BEGINNINGS if first.startswith(beginning)), None)
    if found is not None:
        return found
    if b'"class_uid":' in first:
        return "ocsf"
    raise IntegrityBroken(f"`{path}` begins as nothing that Licet exports: it is something else, or its beginning is gone")


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, without their ends. Raises `IntegrityBroken` at one that is longer than any of ours."""
    while line := file.readline(LINE_LIMIT_BYTES):
        if len(line) == LINE_LIMIT_BYTES:
            raise IntegrityBroken(f"a line is longer than {LINE_LIMIT_BYTES} bytes, as none of ours is")
        yield line.rstrip(b"\n")


def manifest_beside(path: Path) -> bytes:
    """The bytes of the manifest of this file; none where there is none."""
    beside = path.with_name(path.name + MANIFEST_SUFFIX)
    try:
        if not beside.is_file():
            return b""
        with beside.open("rb") as file:
            return file.read(_MANIFEST_LIMIT_BYTES)
    except OSError:
        return b""


def _said_by_manifest(path: Path) -> Literal["ocsf", "otlp"] | None:
    try:
        said = msgspec.json.decode(manifest_beside(path), type=_Manifest).format
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return "ocsf" if said == "ocsf" else "otlp" if said == "otlp" else None
