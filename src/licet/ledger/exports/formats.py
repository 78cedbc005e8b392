"""Every format of export by its name, all of them written and checked in one way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, Final, Protocol

from msgspec import Struct

from licet.errors import OperatorError
from licet.ledger.exports.as_csv import verify_csv, write_csv
from licet.ledger.exports.as_ocsf import write_ocsf
from licet.ledger.exports.as_otlp import write_otlp
from licet.ledger.exports.as_parquet import verify_parquet, write_parquet
from licet.ledger.exports.manifest import verify_lines
from licet.ledger.exports.rows import Exported
from licet.ledger.exports.summary import Checked, Expected, ExportSummary, Sink
from licet.names import quoted


class Write(Protocol):
    """Writes rows to a sink, and says what was written. What it raises leaves an export that is seen to be incomplete."""

    def __call__(self, rows: Iterable[Exported], sink: Sink, expected: Expected) -> ExportSummary:
        """Everything is in `sink`."""
        ...


class Check(Protocol):
    """Reads an export that says itself whether it is complete."""

    def __call__(self, unverified_file: BinaryIO, /) -> Checked:
        """What is wrong with it."""
        ...


class Format(Struct, frozen=True):
    """A format: how a file of it ends, how it is written, and how it is checked; without `verify` a manifest is needed beside the file."""

    name: str
    suffix: str
    write: Write
    verify: Check | None = None


FORMATS: Final = (
    Format("csv", ".csv", write_csv, verify_csv),
    Format("parquet", ".parquet", write_parquet, verify_parquet),
    Format("ocsf", ".ocsf.jsonl", write_ocsf),
    Format("otlp", ".otlp.jsonl", write_otlp),
)


def get_format(name: str) -> Format:
    """The format of this name. Raises `OperatorError`, which lists them, for another."""
    for one in FORMATS:
        if one.name == name:
            return one
    raise OperatorError(f"there is no format {quoted(name)}; there are {', '.join(f'`{one.name}`' for one in FORMATS)}")


def verify_file(name: str, unverified_file: BinaryIO, unverified_manifest: bytes = b"") -> Checked:
    """What is wrong with an export in the format `name`. The manifest is needed for the formats whose files do not say it themselves."""
    verify = get_format(name).verify
    return verify_lines(unverified_file, unverified_manifest, name) if verify is None else verify(unverified_file)
