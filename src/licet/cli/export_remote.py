"""`licet audit export` of a server: what it streams is written as it comes, and held here against what it says of itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import BinaryIO

from licet.cli import remote_acts
from licet.cli.exits import Exit
from licet.cli.export_wanted import JSONL, TILES, Exported, Wanted
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.new_file import new_file, told
from licet.errors import IntegrityBroken
from licet.ledger.export import ExportSource
from licet.ledger.exports.formats import verify_file
from licet.ledger.file_kinds import lines_of

_MANIFEST = b'{"licet_export":'
"""How the line begins that a server puts behind an export which cannot say itself that it is whole."""


def fetch_export(invocation: Invocation, wanted: Wanted) -> Exported:
    """What was written. Raises `Refusal`, `ServerError`, and `IntegrityBroken` where it is not whole: then there is no file."""
    if wanted.form == TILES:
        step = "`--format jsonl`, or export tiles where the ledger is"
        raise Refusal(Exit.USAGE, "usage", "a server exports no folder of tiles", next_step=step)
    with remote_acts.export(invocation, wanted.form, wanted.tenant, payloads=wanted.payloads) as parts:
        if wanted.path is None:
            with told("stdout"):
                sys.stdout.buffer.writelines(parts)
                sys.stdout.buffer.flush()
            return Exported(file="", format=wanted.form, records=0, size_bytes=0)
        return _to_file(wanted, parts)


def _to_file(wanted: Wanted, parts: Iterable[bytes]) -> Exported:
    assert wanted.path is not None
    with new_file(wanted.path) as file:
        for part in parts:
            file.write(part)
        manifest = _cut_manifest(file, wanted) if wanted.manifest is not None else None
        file.flush()
        records, size_bytes = _count(wanted, manifest), file.seek(0, 2)
    if wanted.manifest is not None and manifest is not None:
        with new_file(wanted.manifest) as beside:
            beside.write(manifest)
    named = None if wanted.manifest is None else str(wanted.manifest)
    return Exported(file=str(wanted.path), format=wanted.form, records=records, size_bytes=size_bytes, manifest=named)


def _cut_manifest(file: BinaryIO, wanted: Wanted) -> bytes:
    """The last line, which goes into a file of its own. Raises `IntegrityBroken` where it is none: the export was cut."""
    assert wanted.path is not None
    file.flush()
    with wanted.path.open("rb") as whole:
        last = place = 0
        line = b""
        for line in whole:
            last, place = place, place + len(line)
    if not line.startswith(_MANIFEST) or not line.endswith(b"\n"):
        raise IntegrityBroken("the export ends without what shows that it is whole")
    file.seek(last)
    file.truncate()
    return line


def _count(wanted: Wanted, manifest: bytes | None) -> int:
    """How many records there are, each looked at. Raises `IntegrityBroken` where it is not whole."""
    assert wanted.path is not None
    with wanted.path.open("rb") as file:
        if wanted.form == JSONL:
            return sum(tree.size for tree in ExportSource(lines_of(file)).trees())
        checked = verify_file(wanted.form, file, manifest or b"")
    if checked.problems:
        raise IntegrityBroken(f"the export is not whole: {checked.problems[0]}")
    return checked.rows_found
