"""What all formats have in common: complete or seen not to be, read once, one row at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from licet.errors import IntegrityBroken, OperatorError
from licet.ledger.exports.formats import FORMATS, Format, get_format, verify_file
from licet.ledger.exports.manifest import manifest_of
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.summary import Checked
from tests.ledger.exports.sample_rows import bare_row, expected, many, row

each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def exported(form: Format, rows: list[Exported], promised: int | None = None) -> Checked:
    sink = io.BytesIO()
    said = expected(len(rows) if promised is None else promised)
    summary = form.write(iter(rows), sink, said)
    sink.seek(0)
    return verify_file(form.name, sink, manifest_of(summary, said, form.name))


@each_format
def test_an_export_is_complete(form: Format) -> None:
    assert exported(form, [row(0, "denial"), row(1, "denial", payload=None, absent="erased"), row(2, "denial", payload=None)]) == Checked(
        3, 3
    )
    assert exported(form, []) == Checked(0, 0)
    assert exported(form, [bare_row()]).ok


@each_format
@pytest.mark.parametrize(
    ("promised", "said"), [(5, "the export ended early: 2 of 5 rows were written"), (1, "2 rows were written, 1 were expected")]
)
def test_another_number_of_rows_than_was_promised_is_found(form: Format, promised: int, said: str) -> None:
    assert exported(form, [row(0, "denial"), row(1, "denial")], promised).problems == (said,)


@each_format
def test_rows_are_read_once_and_not_kept(form: Format) -> None:
    alive, most = 0, 0

    class Watched(Exported, frozen=True, weakref=True):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def rows() -> Iterator[Exported]:
        nonlocal alive, most
        for one in many(20_000):
            alive, most = alive + 1, max(most, alive + 1)
            yield Watched(log=one.log, index=one.index, leaf=one.leaf, envelope=one.envelope, absent="erased")

    summary = form.write(rows(), io.BytesIO(), expected(20_000))
    assert (summary.rows_written, summary.complete, alive) == (20_000, True, 0)
    assert most <= (10_001 if form.name == "parquet" else 3)


@each_format
def test_an_error_while_rows_are_read_comes_through(form: Format) -> None:
    def rows() -> Iterator[Exported]:
        yield row()
        raise IntegrityBroken("a record cannot be read")

    sink = io.BytesIO()
    with pytest.raises(IntegrityBroken, match="a record cannot be read"):
        form.write(rows(), sink, expected(2))
    sink.seek(0)
    assert not verify_file(form.name, sink).ok


@each_format
def test_a_full_disk_comes_through(form: Format) -> None:
    class Full:
        def write(self, _: bytes, /) -> None:
            raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space left on device"):
        form.write([row()], Full(), expected(1))


@each_format
def test_a_sink_that_takes_a_part_comes_through(form: Format) -> None:
    class Short:
        def write(self, data: bytes, /) -> int:
            return len(data) - 1

    with pytest.raises(OSError, match="took only a part"):
        form.write([row()], Short(), expected(1))


@each_format
def test_the_same_rows_give_the_same_bytes(form: Format) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    assert form.write([row(), bare_row(1)], first, expected(2)) == form.write([row(), bare_row(1)], second, expected(2))
    assert first.getvalue() == second.getvalue()


def test_a_manifest_of_another_format_or_version_is_refused() -> None:
    sink = io.BytesIO()
    manifest = manifest_of(get_format("ocsf").write([], sink, expected(0)), expected(0), "ocsf")
    said = ("the manifest is not that of an export of version 1 in the format `otlp`",)
    assert verify_file("otlp", io.BytesIO(), manifest).problems == said
    assert verify_file("otlp", io.BytesIO(), manifest.replace(b"ocsf", b"otlp")).problems == ()
    assert not verify_file("ocsf", io.BytesIO(), manifest.replace(b'"licet_export":1', b'"licet_export":2')).ok


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_manifest_is_found(manifest: bytes) -> None:
    assert verify_file("ocsf", io.BytesIO(), manifest).problems == ("the export was cut: its manifest is missing or cannot be read",)


def test_another_format_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match="there is no format `xml`; there are `csv`, `parquet`, `ocsf`, `otlp`"):
        get_format("xml")
