"""Parquet: typed, streamed, unreadable when cut."""

from __future__ import annotations

import io

from pyarrow import parquet

from licet.ledger.exports.as_parquet import verify_parquet, write_parquet
from licet.ledger.exports.columns import NAMES
from licet.ledger.exports.rows import Exported
from tests.ledger.exports.sample_rows import bare_row, expected, row


def written(*rows: Exported) -> bytes:
    sink = io.BytesIO()
    write_parquet(rows, sink, expected(len(rows)))
    return sink.getvalue()


def test_a_record_comes_back_with_its_types() -> None:
    table = parquet.read_table(io.BytesIO(written(row(), bare_row(1))))
    assert tuple(table.column_names) == NAMES
    first, second = table.to_pylist()
    assert (first["index"], first["policies"], first["user"], first["at"].isoformat()) == (
        0,
        ["billing-adjust"],
        "alice",
        "2025-11-22T09:00:00.123457+00:00",
    )
    assert (second["index"], second["agent"], second["payload_absent"]) == (1, None, "erased")


def test_an_export_cut_at_any_byte_is_found() -> None:
    data = written(row())
    missed = [at for at in range(0, len(data), 7) if verify_parquet(io.BytesIO(data[:at])).ok]
    assert missed == []
    assert verify_parquet(io.BytesIO(data)).problems == ()
