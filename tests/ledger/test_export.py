"""An export is complete, exact, and shows when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from licet.errors import IntegrityBroken
from licet.ledger.export import export_lines, verify_export
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.store.sqlite import SqliteStore
from tests.store.samples import KEYS, now, record, small_ledger, written


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "licet.db", now=now, keys=KEYS)
    small_ledger(store)
    yield store
    store.close()


@pytest.fixture
def lines(store: SqliteStore) -> list[bytes]:
    return exported(store)


def exported(store: SqliteStore) -> list[bytes]:
    with store.source() as source:
        return list(export_lines(source))


def found(lines: list[bytes]) -> list[str]:
    return [str(problem) for problem in verify_export(lines).problems]


def test_an_export_verifies_without_the_store_and_has_its_roots(store: SqliteStore, lines: list[bytes]) -> None:
    report = verify_export(lines)
    with store.source() as source:
        original = verify(source)
    assert report.ok
    assert (report.logs, report.records) == (original.logs, original.records)
    assert not report.checked_projections


def test_header_and_trailer_say_how_much_there_is(lines: list[bytes]) -> None:
    header, trailer = msgspec.json.decode(lines[0]), msgspec.json.decode(lines[-1])
    assert (header["licet_export"], header["records"], len(lines)) == (1, 12, 14)
    assert trailer == {"end": True, "records": 12, "logs": header["logs"]}
    assert [log["log"] for log in header["logs"]] == ["acme", "operator"]


def test_a_line_holds_the_exact_bytes(store: SqliteStore, lines: list[bytes]) -> None:
    stored, line = store.get_record("acme", 0), msgspec.json.decode(lines[1])
    assert (line["log"], line["index"], line["kind"], line["call"]) == ("acme", 0, "intent", stored.call)
    assert (line["envelope"].encode(), line["payload"].encode(), bytes.fromhex(line["salt"])) == (
        stored.envelope,
        stored.payload,
        stored.salt,
    )


def test_no_line_holds_a_line_end(lines: list[bytes]) -> None:
    assert not [line for line in lines if b"\n" in line or b"\r" in line]


def test_an_empty_ledger_can_be_exported(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "empty.db", now=now, keys=KEYS)
    lines = exported(store)
    store.close()
    assert len(lines) == 2
    assert verify_export(lines).ok


def test_many_records_are_exported_and_verified_in_chunks(store: SqliteStore) -> None:
    written(store, *[Filing((record("gap"),)) for _ in range(1100)])
    assert verify_export(exported(store)).records == 1112
    assert found(exported(store)) == []


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_cut_export_is_found(lines: list[bytes], cut: int) -> None:
    assert any("the export was cut" in problem or "trailer" in problem for problem in found(lines[:cut]))


@pytest.mark.parametrize("line", range(1, 13))
def test_a_missing_line_is_found(lines: list[bytes], line: int) -> None:
    assert any("index" in problem or "size" in problem for problem in found(lines[:line] + lines[line + 1 :]))


@pytest.mark.parametrize("line", range(1, 11))
def test_swapped_lines_are_found(lines: list[bytes], line: int) -> None:
    swapped = [*lines[:line], lines[line + 1], lines[line], *lines[line + 2 :]]
    assert found(swapped)


def test_every_flipped_byte_of_a_record_line_is_found(lines: list[bytes]) -> None:
    line = lines[1]
    flipped = (line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :] for at in range(len(line)))
    missed = [at for at, changed in enumerate(flipped) if not found([lines[0], changed, *lines[2:]])]
    assert missed == []


def test_a_line_after_the_trailer_is_found(lines: list[bytes]) -> None:
    assert found([*lines, lines[1]]) == ["ledger, lines: something follows the trailer"]


def test_a_record_of_no_log_is_found(lines: list[bytes]) -> None:
    stray = lines[1].replace(b'"log":"acme"', b'"log":"zeta"', 1)
    assert any(
        "a record belongs to no log, or is not in its place: found `zeta 0`" in problem
        for problem in found([*lines[:-1], stray, lines[-1]])
    )


def test_a_trailer_that_says_something_else_is_found(lines: list[bytes]) -> None:
    trailer = msgspec.json.decode(lines[-1])
    trailer["logs"][0]["root"] = "0" * 64
    assert any(
        "trailer: records are not those that were exported" in problem for problem in found([*lines[:-1], msgspec.json.encode(trailer)])
    )


@pytest.mark.parametrize(
    "first", [b"", b"{}", b"[]", b'{"licet_export":0,"records":0,"logs":[]}', b'{"licet_export":2,"records":0,"logs":[]}', b"\xff"]
)
def test_what_is_no_export_is_refused(first: bytes) -> None:
    with pytest.raises(IntegrityBroken, match="the first line is not the header of an export of version 1"):
        verify_export([first])
    with pytest.raises(IntegrityBroken, match="the first line is not the header"):
        verify_export([])


def test_a_ledger_that_is_not_text_any_more_cannot_be_exported(store: SqliteStore) -> None:
    assert store._writer is not None
    store._writer.execute("UPDATE records SET envelope = x'ff' WHERE place = 1 << 40")
    with pytest.raises(IntegrityBroken, match="record 0 of log `acme` is not text and cannot be exported; run `licet audit verify`"):
        exported(store)


def test_an_export_without_the_key_has_every_envelope_and_says_that_payloads_are_locked(store: SqliteStore, tmp_path: Path) -> None:
    reader = SqliteStore.open(tmp_path / "licet.db", now=now, keys=None, read_only=True)
    lines = exported(reader)
    reader.close()
    line = msgspec.json.decode(lines[1])
    assert (line["salt"], line["payload"], line["closed"]) == (None, None, "locked")
    assert line["envelope"].encode() == store.get_record("acme", 0).envelope
    report = verify_export(lines)
    with store.source() as source:
        assert (report.ok, report.locked, report.logs) == (True, 12, verify(source).logs)


@pytest.mark.parametrize(
    ("column", "message"), [("zeroblob(40)", "not those that were sealed"), ("NULL", "nothing says that it was erased")]
)
def test_a_payload_that_was_damaged_is_exported_as_such_and_found_there(store: SqliteStore, column: str, message: str) -> None:
    assert store._writer is not None
    store._writer.execute(f"UPDATE payloads SET sealed = {column} WHERE place = 1 << 40")
    (problem,) = found(exported(store))
    assert problem.startswith("log `acme`, record 0, payload: ")
    assert message in problem


def test_a_payload_that_was_taken_out_of_an_export_is_found(lines: list[bytes]) -> None:
    line = msgspec.json.decode(lines[1])
    for closed in ("", "erased", "damaged", "nonsense"):
        changed = msgspec.json.encode({**line, "salt": None, "payload": None, "closed": closed})
        assert found([lines[0], changed, *lines[2:]]), closed
