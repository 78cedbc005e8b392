"""Records as OCSF events (`ocsf_event.py`), one JSON object a line. That all are there is shown by a manifest beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from licet.ledger.exports.manifest import verify_lines
from licet.ledger.exports.ocsf_event import ocsf_event
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.summary import Checked, Counting, Digesting, Expected, ExportSummary, Sink

FORMAT: Final = "ocsf"


def write_ocsf(rows: Iterable[Exported], sink: Sink, expected: Expected) -> ExportSummary:
    """Every event is in `sink`; write `manifest_of` the summary beside it. If `rows` or `sink` raise, so does this."""
    out, counting = Digesting(sink), Counting(rows)
    encoder = msgspec.json.Encoder()
    lines = 0
    for event in map(ocsf_event, counting):
        if event is not None:
            out.write(encoder.encode(event) + b"\n")
            lines += 1
    return out.summary(expected.rows, counting.count, lines)


def verify_ocsf(unverified_lines: Iterable[bytes], unverified_manifest: bytes) -> Checked:
    """What is wrong with an export and its manifest: see `verify_lines`."""
    return verify_lines(unverified_lines, unverified_manifest, FORMAT)
