"""What a file is that somebody wants verified, by what it says at its beginning. Nothing of it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken

FileKind: TypeAlias = Literal["jsonl", "proof", "csv", "parquet", "ocsf", "otlp"]
MANIFEST_SUFFIX = ".manifest.json"
_LOOKED_AT_BYTES = 1 << 20
_MANIFEST_LIMIT_BYTES = 16 << 20


class _Manifest(Struct):
    format: str


class _Line(Struct):
    licet_export: int | None = None
    licet_proof: int | None = None
    licet_consistency: int | None = None
    class_uid: int | None = None
    resource_spans: msgspec.Raw | None = msgspec.field(name="resourceSpans", default=None)


def kind_of(path: Path) -> FileKind:
    """What this file is. A manifest beside it says so first. Raises `IntegrityBroken` where nothing that Licet writes begins so."""
    said = _said_by_manifest(path)
    if said in {"ocsf", "otlp"}:
        return said
    with path.open("rb") as file:
        first = file.read(_LOOKED_AT_BYTES)
    if first.startswith(b"PAR1"):
        return "parquet"
    if first.startswith(b"log,index,leaf,"):
        return "csv"
    try:
        line = msgspec.json.decode(first.partition(b"\n")[0], type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        line = _Line()
    if line.licet_proof is not None or line.licet_consistency is not None:
        return "proof"
    if line.licet_export is not None or b'"licet_export":' in first[:200]:
        return "jsonl"
    if line.class_uid is not None or line.resource_spans is not None:
        return "ocsf" if line.resource_spans is None else "otlp"
    raise IntegrityBroken(f"`{path}` begins as nothing that Licet exports: it is something else, or its beginning is gone")


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
