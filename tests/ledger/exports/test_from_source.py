"""A whole store, exported in every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pyarrow import parquet

from licet.errors import IntegrityBroken
from licet.ledger.exports.formats import FORMATS, Format, get_format, verify_file
from licet.ledger.exports.from_source import expected_of, rows_of
from licet.ledger.exports.manifest import manifest_of
from licet.ledger.exports.summary import Checked
from licet.ledger.record import Head
from licet.ledger.source import HeadLog, Opening, Projections, Row, TreeState, opened_rows
from licet.ledger.verify import verify
from licet.store.sqlite import SqliteStore
from tests.ledger.exports.ocsf_schema import violations
from tests.store.samples import KEYS, now, small_ledger


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS)
    small_ledger(store)
    yield store
    store.close()


@pytest.mark.parametrize("payloads", [True, False])
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_store_is_exported_whole(store: SqliteStore, form: Format, payloads: bool) -> None:  # noqa: FBT001
    sink = io.BytesIO()
    with store.source() as source:
        expected = expected_of(source)
        summary = form.write(rows_of(source, payloads=payloads), sink, expected)
    assert (summary.rows_expected, summary.rows_written, summary.complete) == (12, 12, True)
    sink.seek(0)
    assert verify_file(form.name, sink, manifest_of(summary, expected, form.name)) == Checked(12, summary.lines)


def test_expected_are_the_records_and_roots_that_verify_finds(store: SqliteStore) -> None:
    with store.source() as source:
        expected, report = expected_of(source), verify(source)
    assert [(log.log, log.size, log.root) for log in expected.logs] == [(log.log, log.size, log.root) for log in report.logs]
    assert expected.rows == report.records


def test_rows_come_by_log_and_index_and_with_what_was_asked_for(store: SqliteStore) -> None:
    with store.source() as source:
        full, bare = list(rows_of(source, payloads=True)), list(rows_of(source, payloads=False))
    assert [(row.log, row.index) for row in full] == [*[("acme", index) for index in range(11)], ("operator", 0)]
    assert {row.absent for row in full} == {None}
    assert {(row.payload, row.absent) for row in bare} == {(None, "not_asked")}
    assert [row.envelope for row in full] == [row.envelope for row in bare]


def test_spans_of_a_store_join_intents_with_their_outcomes(store: SqliteStore) -> None:
    sink = io.BytesIO()
    with store.source() as source:
        get_format("otlp").write(rows_of(source, payloads=True), sink, expected_of(source))
    names = [
        [span["name"] for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]] for line in sink.getvalue().splitlines()
    ]
    assert [len(line) for line in names if line[0].startswith("execute_tool")] == [2, 2, 2, 2]  # three writes and a merged read
    assert [line[0] for line in names if len(line) == 1].count("licet.outcome unknown") == 1  # the late one


@pytest.mark.parametrize("payloads", [True, False])
def test_people_and_contents_are_in_an_export_only_with_payloads(store: SqliteStore, payloads: bool) -> None:  # noqa: FBT001
    for form in FORMATS:
        sink = io.BytesIO()
        with store.source() as source:
            form.write(rows_of(source, payloads=payloads), sink, expected_of(source))
        shown = str(parquet.read_table(sink).to_pylist()) if form.name == "parquet" else sink.getvalue().decode()
        found = {word for word in ("alice", "dana", "omar", "amount_cents") if word in shown}
        if not payloads:
            assert found == set(), form.name
        elif form.name == "otlp":
            assert "alice" in found
        else:
            assert found == {"alice", "dana", "omar", "amount_cents"}, form.name


@pytest.mark.parametrize("payloads", [True, False])
def test_every_event_of_a_store_is_one_that_the_class_allows(store: SqliteStore, payloads: bool) -> None:  # noqa: FBT001
    sink = io.BytesIO()
    with store.source() as source:
        summary = get_format("ocsf").write(rows_of(source, payloads=payloads), sink, expected_of(source))
    events = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert len(events) == summary.lines == 11  # all but the policy
    assert [problem for event in events for problem in violations(event)] == []


class Changed:
    """A source of one log, of which record 3 was changed: its row, or how its payload opens."""

    projections: Projections | None = None
    head_log: HeadLog | None = None

    def __init__(self, store: SqliteStore, *, envelope: bytes | None = None, opening: Opening | None = None) -> None:
        with store.source() as source:
            self._trees = source.trees()[:1]
            found = list(opened_rows(source, "acme"))
        self._rows: list[Row] = [(*row[:6], opened) for row, opened in found]
        if opening is not None:
            self._rows[3] = (*self._rows[3][:6], opening)
        if envelope is not None:
            self._rows[3] = (*self._rows[3][:4], envelope, *self._rows[3][5:])

    def trees(self) -> Sequence[TreeState]:
        return self._trees

    def rows(self, log: str, start: int = 0, stop: int | None = None) -> Iterator[Sequence[Row]]:
        assert log == "acme"
        yield self._rows[start:stop]

    def open(self, head: Head, body: Opening) -> Opening:
        assert head.log == "acme"
        return body

    def fits(self, pseudonym: str, ref: str) -> bool:
        return bool(pseudonym and ref)

    def blind(self, log: str, label: str, text: str) -> str | None:
        del log, label, text
        return None


@pytest.mark.parametrize("why", ["erased", "locked", "damaged"])
def test_a_payload_that_cannot_be_opened_says_why(store: SqliteStore, why: str) -> None:
    source = Changed(store, opening=(None, None, why))
    rows = list(rows_of(source, payloads=True))
    assert [(row.index, row.absent) for row in rows if row.payload is None] == [(3, why)]
    sink = io.BytesIO()
    get_format("csv").write(rows, sink, expected_of(source))
    assert list(csv.DictReader(io.StringIO(sink.getvalue().decode(), newline="")))[3]["payload_absent"] == why


def test_a_payload_that_is_gone_without_a_reason_is_refused(store: SqliteStore) -> None:
    with pytest.raises(IntegrityBroken, match="record 3 of log `acme` has no payload, and nothing says why"):
        list(rows_of(Changed(store, opening=(None, None, "")), payloads=True))


@pytest.mark.parametrize("payloads", [True, False])
def test_a_record_that_was_changed_is_not_exported(store: SqliteStore, payloads: bool) -> None:  # noqa: FBT001
    with pytest.raises(IntegrityBroken, match="record 3 of log `acme` is not what its leaf hash is of"):
        list(rows_of(Changed(store, envelope=b"{}"), payloads=payloads))
