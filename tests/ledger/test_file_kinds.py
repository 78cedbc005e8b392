"""What a file is said to be by its beginning, whatever follows."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from licet.errors import IntegrityBroken
from licet.ledger import file_kinds
from licet.ledger.file_kinds import kind_of, lines_of, manifest_beside


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"PAR1\x00\xff", "parquet"),
        (b"log,index,leaf,kind\r\n", "csv"),
        (b'{"licet_export":9', "jsonl"),
        (b'{"licet_proof":1}', "proof"),
        (b'{"licet_consistency":1}', "proof"),
        (b'{"resourceSpans":[]}', "otlp"),
        (b'{"metadata":{},"class_uid":6003}', "ocsf"),
    ],
)
def test_a_file_is_what_it_begins_as(tmp_path: Path, beginning: bytes, kind: str) -> None:
    (tmp_path / "out").write_bytes(beginning)
    assert kind_of(tmp_path / "out") == kind


@pytest.mark.parametrize("beginning", [b"", b"\n", b"{}", b"\xff\xfe", b" log,index,leaf,", b'{"licet":1}'])
def test_what_begins_as_nothing_of_ours_is_refused(tmp_path: Path, beginning: bytes) -> None:
    (tmp_path / "out").write_bytes(beginning)
    with pytest.raises(IntegrityBroken, match="begins as nothing that Licet exports"):
        kind_of(tmp_path / "out")


def test_a_manifest_beside_it_says_what_an_empty_file_is(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    (tmp_path / "out.manifest.json").write_text('{"format":"otlp"}')
    assert kind_of(tmp_path / "out") == "otlp"
    for other in ('{"format":"csv"}', "what", "{}", ""):
        (tmp_path / "out.manifest.json").write_text(other)
        with pytest.raises(IntegrityBroken):
            kind_of(tmp_path / "out")


def test_a_folder_in_place_of_a_manifest_is_none(tmp_path: Path) -> None:
    (tmp_path / "out.manifest.json").mkdir()
    assert manifest_beside(tmp_path / "out") == b""


def test_a_line_that_does_not_end_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_kinds, "LINE_LIMIT_BYTES", 10)
    assert list(lines_of(io.BytesIO(b"123456789"))) == [b"123456789"]
    assert list(lines_of(io.BytesIO(b"12345678\n\nx"))) == [b"12345678", b"", b"x"]
    with pytest.raises(IntegrityBroken, match="a line is longer than 10 bytes"):
        list(lines_of(io.BytesIO(b"x" * 11)))
