"""The manifest beside an export whose lines must all be of one kind (OCSF, OpenTelemetry): what a last line says in the other formats.

A tool that imports such a file takes each line for an event, and refuses or miscounts one that is none. So what shows that the file is
complete lies beside it, in `<file>.manifest.json`. It is written after the file, whole: an export without a manifest was cut.

    {"licet_export":1,"format":"ocsf","rows_expected":2,"rows_written":2,"lines":2,"sha256":hex,"complete":true,"logs":[...]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from licet.ledger.exports.summary import EXPORT_VERSION, Checked, Expected, ExportSummary, TreeRoot, count_problems
from licet.ledger.record import UNREADABLE

SUFFIX = ".manifest.json"


class Manifest(Struct, frozen=True):
    """What an export must be. `rows_*` count records, `lines` what came of them, `sha256` is that of the whole file."""

    licet_export: int
    format: str
    rows_expected: int
    rows_written: int
    lines: int
    sha256: str
    complete: bool
    logs: tuple[TreeRoot, ...]


def manifest_of(summary: ExportSummary, expected: Expected, name: str) -> bytes:
    """The manifest (JSON, one line) of an export in the format `name`, to be written beside it."""
    said = (summary.rows_expected, summary.rows_written, summary.lines, summary.sha256, summary.complete)
    return msgspec.json.encode(Manifest(EXPORT_VERSION, name, *said, expected.logs)) + b"\n"


def verify_lines(unverified_lines: Iterable[bytes], unverified_manifest: bytes, name: str) -> Checked:
    """What is wrong with an export in the format `name`: cut anywhere, damaged, longer than it was, or never complete.

    Takes a file opened for bytes, and the manifest that was written beside it.
    """
    digest, found = hashlib.sha256(), 0
    for line in unverified_lines:
        digest.update(line)
        found += 1
    try:
        manifest = msgspec.json.decode(unverified_manifest, type=Manifest)
    except UNREADABLE:
        return Checked(None, found, ("the export was cut: its manifest is missing or cannot be read",))
    if (manifest.licet_export, manifest.format) != (EXPORT_VERSION, name):
        return Checked(None, found, (f"the manifest is not that of an export of version {EXPORT_VERSION} in the format `{name}`",))
    problems = count_problems(manifest.rows_expected, manifest.rows_written, manifest.rows_written)
    if found != manifest.lines:
        problems += (f"{found} lines are there, {manifest.lines} were written",)
    if digest.hexdigest() != manifest.sha256:
        problems += ("the lines are not those that were written",)
    return Checked(manifest.rows_expected, found, problems)
