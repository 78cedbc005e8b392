"""Parquet: typed, streamed, unreadable when cut."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ArrowInvalid, parquet

from licet.errors import IntegrityBroken, OperatorError
from licet.ledger.exports import as_parquet
from licet.ledger.exports.as_parquet import GROUP_ROWS, Footer, verify_parquet, write_parquet
from licet.ledger.exports.columns import COLUMNS, NAMES
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.summary import Checked, ExportSummary, TreeRoot
from licet.ledger.record import OutcomeEntry, Payload, PayloadEntry
from tests.ledger.exports.sample_rows import AT_US, bare_row, expected, many, row


class Full:
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.data = b""
        self._room = room

    def write(self, data: bytes, /) -> None:
        if len(self.data) + len(data) > self._room:
            raise OSError(28, "no space left on device")
        self.data += data


def written(*rows: Exported) -> bytes:
    sink = io.BytesIO()
    write_parquet(rows, sink, expected(len(rows)))
    return sink.getvalue()


def checked(data: bytes) -> Checked:
    return verify_parquet(io.BytesIO(data))


def read(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return found


def test_a_record_comes_back_with_its_types() -> None:
    first, second = read(written(row(), bare_row(1)))
    assert tuple(first) == NAMES
    assert (first["index"], first["policies"], first["user"]) == (0, ["billing-adjust"], "alice")
    assert first["at"] == datetime(2025, 11, 22, 9, 0, 0, 123457, tzinfo=UTC)
    assert first["arguments"] == '{"amount_cents":2500,"customer_id":"C-412"}'
    assert (second["index"], second["agent"], second["payload_absent"]) == (1, None, "erased")


def test_every_column_has_the_type_it_is_listed_with() -> None:
    schema = parquet.read_schema(io.BytesIO(written(row())))
    names = {"text": "string", "json": "string", "integer": "int64", "moment": "timestamp[us, tz=UTC]", "list": "list<element: string>"}
    assert {field.name: str(field.type) for field in schema} == {column.name: names[column.type] for column in COLUMNS}


def test_an_erased_record_shows_pseudonyms_and_no_contents() -> None:
    (found,) = read(written(row(payload=None, absent="erased")))
    assert (found["payload_absent"], found["user"], found["targets"][0]) == ("erased", "a1" * 16, "Customer::" + "6f1c" * 8)
    assert {found[name] for name in ("reason", "arguments", "result", "effects", "detail", "principals")} == {None}


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(0, 2**63 - 1), st.integers(0, 2**52)), max_size=5))
def test_every_text_number_and_moment_comes_back(cells: list[tuple[str, str, int, int]]) -> None:
    rows = [
        row(index, payload=Payload(reason=reason, message=message), at=at, outcome=OutcomeEntry(status="ok", duration_us=duration))
        for index, (reason, message, duration, at) in enumerate(cells)
    ]
    found = [(one["reason"], one["message"], one["duration_us"], one["at"].timestamp()) for one in read(written(*rows))]
    assert found == [(reason, message, duration, pytest.approx(at / 1e6)) for reason, message, duration, at in cells]


@pytest.mark.parametrize("text", ["=1+1", "a\nb", 'say "x"', "a\0b", "\u202etxt.exe", "\ufeff", "🦆", ""])
def test_hostile_text_comes_back_as_it_is(text: str) -> None:
    data = written(row(payload=Payload(reason=text)))
    assert (read(data)[0]["reason"], checked(data).ok) == (text, True)


def test_the_footer_says_counts_and_roots() -> None:
    footer = msgspec.json.decode(parquet.read_metadata(io.BytesIO(written(row()))).metadata[b"licet_export"], type=Footer)
    assert (footer.rows_expected, footer.rows_written, footer.complete) == (1, 1, True)
    assert footer.logs == (TreeRoot("acme", 1, "0" * 64), TreeRoot("operator", 0, "1" * 64))


def test_an_export_cut_at_any_byte_cannot_be_read() -> None:
    data = written(row(), bare_row(1))
    for at in range(len(data)):
        assert checked(data[:at]).problems[0].startswith("the export was cut or damaged")
    assert checked(data) == Checked(2, 2)
    with pytest.raises(ArrowInvalid):
        read(data[:-1])


def test_damage_that_is_not_found_changes_nothing_that_is_read() -> None:
    data = written(row(), bare_row(1))
    content = read(data)
    for at in range(3, len(data), 23):  # every byte takes half a minute
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        assert not checked(damaged).ok or read(damaged) == content


def test_damage_to_a_page_is_found() -> None:
    data = written(row(payload=Payload(reason="incompressible 8f14e45fceea167a5a36dedd4bea2543")))
    at = data.index(b"8f14e45f")
    assert checked(data[:at] + b"x" + data[at + 1 :]).problems == ("the export was cut or damaged: OSError",)


def test_an_export_that_ended_early_says_so() -> None:
    sink = io.BytesIO()
    summary = write_parquet([row()], sink, expected(2))
    assert (summary.complete, summary.rows_written) == (False, 1)
    assert checked(sink.getvalue()).problems == ("the export ended early: 1 of 2 rows were written",)


def test_a_summary_says_what_the_file_is() -> None:
    sink = io.BytesIO()
    summary = write_parquet([row()], sink, expected(1))
    assert summary == ExportSummary(1, 1, hashlib.sha256(sink.getvalue()).hexdigest(), True, 1)


def test_another_parquet_file_is_no_export() -> None:
    sink = io.BytesIO()
    parquet.write_table(parquet.read_table(io.BytesIO(written(row()))).select(["log"]).replace_schema_metadata(), sink)
    assert checked(sink.getvalue()).problems == ("the export was cut or damaged: KeyError",)


def test_no_rows_are_a_complete_export() -> None:
    assert checked(written()) == Checked(0, 0)
    assert tuple(parquet.read_schema(io.BytesIO(written())).names) == NAMES


def test_an_error_while_rows_are_read_leaves_no_footer() -> None:
    def rows() -> Iterator[Exported]:
        yield from many(GROUP_ROWS + 1)
        raise IntegrityBroken("a record cannot be read")

    sink = io.BytesIO()
    with pytest.raises(IntegrityBroken, match="a record cannot be read"):
        write_parquet(rows(), sink, expected(GROUP_ROWS + 1))
    assert not checked(sink.getvalue()).ok
    with pytest.raises(ArrowInvalid):
        read(sink.getvalue())


def test_a_full_disk_leaves_no_footer_wherever_it_is_full() -> None:
    data = written(row())
    for room in range(0, len(data), 97):
        sink = Full(room)
        with pytest.raises(OSError, match="no space left"):
            write_parquet([row()], sink, expected(1))
        assert not checked(sink.data).ok


def test_a_number_that_no_column_holds_is_refused() -> None:
    with pytest.raises(IntegrityBroken, match="a record from 7 of log `acme` to 7 of log `acme` cannot be exported"):
        write_parquet([row(7, payload=None, outcome=OutcomeEntry(status="ok", duration_us=2**63))], io.BytesIO(), expected(1))
    with pytest.raises(IntegrityBroken, match="record 7 of log `acme` was made at no moment"):
        write_parquet([row(7, at=AT_US * 10**6)], io.BytesIO(), expected(1))


@pytest.mark.heavy
def test_200_000_rows_wait_in_groups_of_bounded_size() -> None:
    written_at: list[int] = []
    sink = Full(2**40)

    def watched() -> Iterator[Exported]:
        one = bare_row()
        for _ in range(200_000):
            written_at.append(len(sink.data))
            yield one

    write_parquet(watched(), sink, expected(200_000))
    groups = parquet.ParquetFile(io.BytesIO(sink.data)).metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [GROUP_ROWS] * 20
    waited = max(written_at.count(size) for size in set(written_at))
    assert waited <= GROUP_ROWS + 1
    assert checked(sink.data) == Checked(200_000, 200_000)


def test_large_payloads_make_smaller_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_parquet, "GROUP_BYTES", 10_000)
    large = row(payload=None, outcome=None)
    large = msgspec.structs.replace(large, envelope=msgspec.structs.replace(large.envelope, payload=PayloadEntry("c" * 64, 4_000)))
    metadata = parquet.ParquetFile(io.BytesIO(written(*[large] * 9))).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [3, 3, 3]


@pytest.mark.parametrize("name", ["pyarrow", "pyarrow.parquet"])
def test_without_pyarrow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "pyarrow.parquet":
        monkeypatch.delattr("pyarrow.parquet")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OperatorError, match=r"install `licet\[parquet\]`"):
        write_parquet([], io.BytesIO(), expected(0))
    with pytest.raises(OperatorError, match=r"install `licet\[parquet\]`"):
        verify_parquet(io.BytesIO())
