"""CSV: what is written can be read back, opens in no spreadsheet as a formula, and shows when anything is missing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import IntegrityBroken
from licet.ledger.exports.as_csv import plain_cell, verify_csv, write_csv, written_cell
from licet.ledger.exports.columns import COLUMNS, NAMES
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.summary import Checked, Expected, ExportSummary, TreeRoot
from licet.ledger.record import Payload
from tests.ledger.exports.sample_rows import AT_US, bare_row, expected, many, row


def written(*rows: Exported) -> bytes:
    sink = io.BytesIO()
    write_csv(rows, sink, expected(len(rows)))
    return sink.getvalue()


def read(data: bytes) -> list[dict[str, str]]:
    """As any program reads it, without the last row."""
    *records, end = csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True)
    assert end["log"] == "#end"
    return records


def problems(data: bytes) -> tuple[str, ...]:
    return verify_csv(io.BytesIO(data)).problems


def test_every_column_of_a_record_is_there() -> None:
    (found,) = read(written(row()))
    assert tuple(found) == NAMES
    assert [name for name, cell in found.items() if cell == ""] == ["service", "payload_absent"]
    assert found["at"] == "2025-11-22T09:00:00.123457Z"
    assert (found["user"], found["user_recorded"]) == ("alice", "a1" * 16)
    assert msgspec.json.decode(found["targets"]) == ['Customer::"C-412"', "Tenant::acme"]
    assert msgspec.json.decode(found["targets_recorded"]) == ["Customer::" + "6f1c" * 8, "Tenant::acme"]
    assert (found["voters"], found["voters_recorded"]) == ('["dana"]', '["' + "d4" * 16 + '"]')
    assert found["arguments"] == '{"amount_cents":2500,"customer_id":"C-412"}'


def test_a_record_without_payload_says_why_and_shows_pseudonyms() -> None:
    (found,) = read(written(row(payload=None, absent="erased")))
    assert (found["payload_absent"], found["user"], found["reason"], found["arguments"]) == ("erased", "a1" * 16, "", "")


def test_a_record_with_hardly_anything_can_be_exported() -> None:
    (found,) = read(written(bare_row()))
    assert {name for name, cell in found.items() if cell} == {
        *("log", "index", "leaf", "kind", "id", "at", "boot", "environment", "commitment", "payload_bytes", "payload_absent"),
        *("targets", "targets_recorded", "redactions"),  # empty lists
    }


def test_no_rows_are_a_complete_export() -> None:
    assert read(written()) == []
    assert problems(written()) == ()


def test_a_summary_says_what_the_file_is() -> None:
    sink = io.BytesIO()
    summary = write_csv([row()], sink, expected(2))
    assert summary == ExportSummary(2, 1, hashlib.sha256(sink.getvalue()).hexdigest(), False, 1)
    assert problems(sink.getvalue()) == ("the export ended early: 1 of 2 rows were written",)


def test_an_export_cut_at_any_byte_is_found() -> None:
    data = written(row(), bare_row(1))
    missed = [at for at in range(len(data)) if not problems(data[:at])]
    assert missed == []
    assert problems(data) == ()


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "'x", "#end", "\uff1dx", "'\"x", "", "\0", "a\0b", "\u202ex"]
)
def test_a_dangerous_text_is_defused_and_can_be_read_back(cell: str) -> None:
    assert written_cell(cell).startswith("'")
    assert plain_cell(written_cell(cell)) == cell
    (found,) = read(written(row(payload=Payload(reason=cell))))
    assert plain_cell(found["reason"]) == cell
    assert problems(written(row(payload=Payload(reason=cell)))) == ()


@given(st.text())
def test_every_text_comes_back(text: str) -> None:
    (found,) = read(written(row(payload=Payload(reason=text, message=text))))
    assert (plain_cell(found["reason"]), plain_cell(found["message"])) == (text, text)


def test_rows_are_written_one_at_a_time() -> None:
    sink = io.BytesIO()
    sizes = []

    def watched() -> Iterator[Exported]:
        for one in many(200):
            sizes.append(sink.tell())
            yield one

    write_csv(watched(), sink, expected(200))
    assert all(earlier < later for earlier, later in pairwise(sizes))


def test_types_of_cells_are_those_of_the_columns() -> None:
    kinds = {"text": str, "integer": int, "moment": datetime, "list": tuple, "json": bytes}
    values = {column.name: column.read(row()) for column in COLUMNS}
    wrong = [
        column.name for column in COLUMNS if values[column.name] is not None and not isinstance(values[column.name], kinds[column.type])
    ]
    assert wrong == []


def test_damage_to_any_byte_is_found() -> None:
    data = written(row(), bare_row(1))
    missed = [at for at in range(len(data)) if not problems(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])]
    assert missed == []


def test_a_missing_row_another_row_and_swapped_rows_are_found() -> None:
    data = written(row(), bare_row(1))
    header, first, second, end = data.splitlines(keepends=True)
    assert problems(header + first + end) == ("the rows are not those that were written", "1 rows are there, 2 were written")
    assert problems(header + first + first + second + end) == (
        "the rows are not those that were written",
        "3 rows are there, 2 were written",
    )
    assert problems(header + second + first + end) == ("the rows are not those that were written",)
    assert problems(data + first) == ("the export was cut: its last row is missing or damaged",)


def test_rows_with_line_ends_in_cells_are_counted_as_rows() -> None:
    data = written(*[row(index, payload=Payload(reason='a\r\n"b"\r\n#end,\r\nc')) for index in range(5)])
    assert verify_csv(io.BytesIO(data)) == Checked(5, 5)


def test_a_record_that_looks_like_the_end_is_not_taken_for_it() -> None:
    likely = msgspec.structs.replace(row(), log="#end")
    data = written(likely)
    assert data.count(b"\r\n#end,") == 1
    assert (read(data)[0]["log"], problems(data)) == ("'#end", ())


def test_a_log_with_commas_and_quotes_in_its_name_is_in_the_last_row() -> None:
    sink = io.BytesIO()
    write_csv([], sink, Expected(0, (TreeRoot('a,"b"=é', 0, "0" * 64),)))
    (_, end) = csv.reader(io.StringIO(sink.getvalue().decode(), newline=""), strict=True)
    assert msgspec.json.decode(end[4].removeprefix("logs=")) == [{"log": 'a,"b"=é', "size": 0, "root": "0" * 64}]
    assert problems(sink.getvalue()) == ()


def test_every_line_has_as_many_cells() -> None:
    rows = list(csv.reader(io.StringIO(written(row(), bare_row(1)).decode(), newline=""), strict=True))
    assert {len(cells) for cells in rows} == {len(NAMES)}


def test_an_error_while_rows_are_read_leaves_no_last_row() -> None:
    def rows() -> Iterator[Exported]:
        yield row()
        raise IntegrityBroken("a record cannot be read")

    sink = io.BytesIO()
    with pytest.raises(IntegrityBroken):
        write_csv(rows(), sink, expected(2))
    assert problems(sink.getvalue()) == ("the export was cut: its last row is missing or damaged",)


def test_a_moment_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(IntegrityBroken, match="record 3 of log `acme` was made at no moment: `1763802000123457000000`"):
        written(row(3, at=AT_US * 10**6))


@given(st.text(st.sampled_from("'\"=#,\r\n\0\u202e\\aé🦆"), max_size=8))
def test_no_cell_begins_like_a_formula_or_hides_anything(text: str) -> None:
    cell = written_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "#", "\t", "\r", "\n"))
    assert not {"\0", "\u202e"} & set(cell)
    assert plain_cell(cell) == text


@given(st.one_of(st.integers(), st.lists(st.text()), st.datetimes(timezones=st.just(UTC)), st.none()))
def test_other_values_can_be_read_back(value: Any) -> None:
    cell = plain_cell(written_cell(tuple(value) if isinstance(value, list) else value))
    if value is None:
        assert cell is None
    elif isinstance(value, datetime):
        assert datetime.fromisoformat(cell or "") == value
    else:
        assert json.loads(cell or "") == value
