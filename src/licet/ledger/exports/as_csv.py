"""Records as CSV (RFC 4180): UTF-8, CRLF, one header line, the columns of `columns.py`, and a last row that shows that nothing is missing.

    log,index,leaf,...
    acme,0,6f1c...,...
    #end,rows_expected=1,rows_written=1,complete=true,"logs=[...]",sha256=hex,,,...

Rules:

1. No cell can be taken for a formula. A cell that begins with `= + - @ #`, tab, CR, LF, a full-width `= + - @` or `'` gets one `'` before
   it. So a cell that begins with `'` was changed, and without that `'` it is what it was.
2. No cell hides or turns text round. A cell with control characters (but tab, CR and LF), directional marks or invisible line ends is
   written as `'` and a JSON string with all of them escaped: a cell that begins with `'"` is JSON after its `'`.
3. A missing value is an empty cell, an empty text is `'`. Moments are RFC 3339 in UTC, lists and JSON are JSON. `plain_cell` undoes 1 to 3.
4. The last row begins with `#end`, as no other can. Its SHA-256 is over everything before `sha256=`. All rows have equally many cells.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from licet.ledger.exports.columns import COLUMNS, NAMES, Value
from licet.ledger.exports.rows import Exported, rfc3339
from licet.ledger.exports.summary import Checked, Digesting, Expected, ExportSummary, Sink, count_problems

_BEGINS_FORMULA = tuple("=+-@#'\t\r\n\uff1d\uff0b\uff0d\uff20")
_HIDES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_QUOTED = re.compile(r'[",\r\n]')
_TRAILER = re.compile(
    rb'#end,rows_expected=(\d+),rows_written=(\d+),complete=(true|false),("logs=\[.*\]"|logs=\[\]),sha256=([0-9a-f]{64})(,*)\r\n'
)
_PADDING = len(NAMES) - 6  # what the last row lacks of a full one
_encode = msgspec.json.encode


def write_csv(rows: Iterable[Exported], sink: Sink, expected: Expected) -> ExportSummary:
    """Everything is in `sink`, last row included. If `rows` or `sink` raise, so does this, and there is no last row."""
    out = Digesting(sink)
    out.write(_line(NAMES))
    written = 0
    for row in rows:
        out.write(_line([written_cell(column.read(row)) for column in COLUMNS]))
        written += 1
    complete = "true" if written == expected.rows else "false"
    logs = f"logs={_encode(expected.logs).decode()}"
    start = ("#end", f"rows_expected={expected.rows}", f"rows_written={written}", f"complete={complete}", logs, "")
    out.write(_line(start)[:-2])
    out.write(b"sha256=" + out.sha256.encode() + b"," * _PADDING + b"\r\n")
    return out.summary(expected.rows, written, written)


def verify_csv(unverified_lines: Iterable[bytes]) -> Checked:
    """What is wrong with an export: cut anywhere, damaged, longer than it was, or never complete. Takes a file opened for bytes."""
    digest = hashlib.sha256()
    held = b""
    quotes, ends = 0, 0
    for line in unverified_lines:
        digest.update(held)
        quotes += held.count(b'"')
        ends += bool(held) and quotes % 2 == 0
        held = line
    return _checked(held, digest, max(ends - 1, 0))  # the first is the header


def written_cell(value: Value) -> str:
    """The value as a cell, by rules 1 to 3, before RFC 4180 quotes it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value)
    text = value if isinstance(value, str) else value.decode() if isinstance(value, bytes) else _encode(value).decode()
    if not text.isprintable() and _HIDES.search(text):  # what can be printed hides nothing, and is told so faster
        return "'" + json.dumps(text)  # escapes everything that is not ASCII
    return "'" + text if text == "" or text.startswith(_BEGINS_FORMULA) else text


def plain_cell(cell: str) -> str | None:
    """The text that a cell stands for: `written_cell` undone. None for a missing value."""
    if cell == "":
        return None
    if cell.startswith("'\""):
        return str(json.loads(cell[1:]))
    return cell.removeprefix("'")


def _line(cells: Iterable[str]) -> bytes:
    quoted = ['"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell for cell in cells]
    return (",".join(quoted) + "\r\n").encode()


def _checked(last: bytes, digest: hashlib._Hash, found: int) -> Checked:
    trailer = _TRAILER.fullmatch(last)
    if trailer is None or len(trailer[6]) != _PADDING:
        return Checked(None, found, ("the export was cut: its last row is missing or damaged",))
    digest.update(last[: trailer.start(5) - len(b"sha256=")])
    expected, written = int(trailer[1]), int(trailer[2])
    damaged = () if digest.hexdigest().encode() == trailer[5] else ("the rows are not those that were written",)
    return Checked(expected, found, damaged + count_problems(expected, written, found))
