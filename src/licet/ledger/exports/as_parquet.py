"""Records as Parquet: the columns of `columns.py`, typed, in row groups, with a footer that shows that nothing is missing.

Rules:

1. Rows wait until a row group is full (`GROUP_ROWS` rows, or about `GROUP_BYTES` bytes): memory does not grow with the export.
2. Parquet's footer is written last and a file without it cannot be read. If anything raises, no footer is written.
3. The footer's `licet_export` says how many rows were expected and written, the logs with their roots, and a SHA-256 over everything that
   the file says: for each row group, for each column, the JSON of its name and then of its list of values. Pages have checksums.
   `verify_parquet` reads all of it again. Damage that changes nothing of what is read is not found: for that, compare the file's SHA-256.

Needs pyarrow (`licet[parquet]`), which is imported only here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken, OperatorError
from licet.ledger.exports.columns import COLUMNS, Value
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.summary import EXPORT_VERSION, Checked, Digesting, Expected, ExportSummary, Sink, TreeRoot, count_problems

GROUP_ROWS = 10_000
GROUP_BYTES = 32 * 1024 * 1024
_ROW_BYTES = 500  # what a row weighs beside its texts

_KEY = "licet_export"


class Footer(Struct, frozen=True):
    """What stands in the footer under `licet_export`, as JSON. `content_sha256` (hex) is over names and values, by rule 3."""

    version: int
    rows_expected: int
    rows_written: int
    complete: bool
    content_sha256: str
    logs: tuple[TreeRoot, ...]


def write_parquet(rows: Iterable[Exported], sink: Sink, expected: Expected) -> ExportSummary:
    """Everything is in `sink`, footer included. If `rows` or `sink` raise, so does this, and the file cannot be read.

    Raises `OperatorError` without pyarrow, `IntegrityBroken` where a record holds a number that no column can.
    """
    arrow, parquet = _pyarrow()
    out = _File(Digesting(sink))
    writer = parquet.ParquetWriter(
        arrow.PythonFile(out, "w"), _schema(arrow), compression="zstd", write_page_checksum=True, store_schema=False
    )
    content = hashlib.sha256()
    written = 0
    try:
        for group in _groups(rows):
            columns = {column.name: [_shown(column.read(row)) for row in group] for column in COLUMNS}
            writer.write_table(_table(arrow, columns, group), row_group_size=GROUP_ROWS)
            _digest(content, columns)
            written += len(group)
            del group, columns  # before the next ones are filled: one group in memory, not two
        footer = Footer(EXPORT_VERSION, expected.rows, written, written == expected.rows, content.hexdigest(), expected.logs)
        writer.add_key_value_metadata({_KEY: msgspec.json.encode(footer).decode()})
        writer.close()
    except BaseException:
        out.deaf = True  # pyarrow writes a footer whenever its writer goes away
        writer.close()
        raise
    return out.digesting.summary(expected.rows, written, written)


def verify_parquet(unverified_file: BinaryIO) -> Checked:
    """What is wrong with an export: cut anywhere, damaged, or never complete. Raises `OperatorError` without pyarrow."""
    _, parquet = _pyarrow()
    try:
        file = parquet.ParquetFile(unverified_file, page_checksum_verification=True)
        footer = msgspec.json.decode((file.metadata.metadata or {})[_KEY.encode()], type=Footer)
        content, found = hashlib.sha256(), 0
        for number in range(file.num_row_groups):
            group = file.read_row_group(number, use_threads=False)
            _digest(content, group.to_pydict())
            found += group.num_rows
    except Exception as error:  # noqa: BLE001  what pyarrow raises where a footer is damaged is any of a dozen
        return Checked(None, 0, (f"the export was cut or damaged: {type(error).__name__}",))
    damaged = () if content.hexdigest() == footer.content_sha256 else ("the rows are not those that were written",)
    return Checked(footer.rows_expected, found, damaged + count_problems(footer.rows_expected, footer.rows_written, found))


class _File:
    """A sink as a file for pyarrow, which never closes it; once `deaf`, what is written is dropped."""

    def __init__(self, digesting: Digesting) -> None:
        self.digesting = digesting
        self.deaf = False
        self.closed = False

    def write(self, data: Any) -> int:
        if not self.deaf:
            self.digesting.write(bytes(data))
        return len(data)

    def tell(self) -> int:
        return self.digesting.size_bytes

    def flush(self) -> None:
        """The sink is flushed by whoever opened it."""

    def close(self) -> None:
        self.closed = True


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        from pyarrow import parquet  # noqa: PLC0415  an extra
    except ImportError as error:
        raise OperatorError("Parquet needs pyarrow; install `licet[parquet]`") from error
    return pa, parquet


def _schema(arrow: ModuleType) -> Any:
    types = {
        "text": arrow.string(),
        "integer": arrow.int64(),
        "moment": arrow.timestamp("us", tz="UTC"),
        "list": arrow.list_(arrow.string()),
        "json": arrow.string(),
    }
    return arrow.schema([arrow.field(column.name, types[column.type]) for column in COLUMNS])


def _groups(rows: Iterable[Exported]) -> Iterator[list[Exported]]:
    """The rows in groups of which each fits into memory."""
    group: list[Exported] = []
    weight = 0
    for row in rows:
        group.append(row)
        weight += row.envelope.payload.length + _ROW_BYTES
        if len(group) == GROUP_ROWS or weight >= GROUP_BYTES:
            yield group
            group, weight = [], 0
    if group:
        yield group


def _digest(content: hashlib._Hash, columns: dict[str, list[Any]]) -> None:
    """Adds a row group to the digest of the content."""
    for name, values in columns.items():
        content.update(msgspec.json.encode(name))
        content.update(msgspec.json.encode(values))


def _table(arrow: ModuleType, columns: dict[str, list[Any]], group: list[Exported]) -> Any:
    try:
        return arrow.table(columns, schema=_schema(arrow))
    except (arrow.ArrowInvalid, OverflowError) as error:
        first, last = (f"{row.index} of log `{row.log}`" for row in (group[0], group[-1]))
        raise IntegrityBroken(f"a record from {first} to {last} cannot be exported; run `licet audit verify`") from error


def _shown(value: Value) -> str | int | object:
    return value.decode() if isinstance(value, bytes) else value
