"""`licet audit prove`, `receipt` and `checkpoint`: what somebody outside can hold the log to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from msgspec import Raw, Struct

from licet.cli import remote_acts
from licet.cli.access import record_access, recording
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading
from licet.cli.new_file import new_file, refuse_existing
from licet.cli.output import Output
from licet.cli.records import UNREADABLE_BECAUSE, find_records
from licet.cli.wording import size
from licet.config import Settings
from licet.errors import StoreError
from licet.gate.opening import OpenLedger, in_memory, index_path
from licet.ledger.checkpoint import Checkpoint
from licet.ledger.note import text_of
from licet.ledger.proving import NotCovered, Tiles, newest_checkpoint, prove_continuation, prove_record
from licet.ledger.record import leaf_hash
from licet.model import Receipt
from licet.store.contract import StoredRecord
from licet.store.index import Index

_OUTPUT = click.option(
    "--output", "-o", "path", type=click.Path(path_type=Path), metavar="PATH", help="A new file, readable by you alone; by default stdout."
)


class Proofs(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: the proofs, and the file that they were written to, if there is one."""

    file: str | None
    proofs: tuple[Raw, ...]


class Signed(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`: the newest checkpoint, what it says, and the proof that was asked for."""

    origin: str
    size: int
    root: str
    note: str
    file: str | None
    proof: Raw | None = None


@click.command()
@click.argument("reference", metavar="RECORD")
@_OUTPUT
@click.option("--with-payload", is_flag=True, help="Put the payload into the proof, in clear, and its salt.")
@click.pass_obj
def prove(invocation: Invocation, /, reference: str, path: Path | None, with_payload: bool) -> int:  # noqa: FBT001 - click's
    """Prove that a record is in the log, as a signed checkpoint says.

    RECORD is LOG:INDEX, the id of a record, or that of a call: then each of its records is proved. A proof is a line of
    JSON that shows everything by itself; who verifies it needs one key of this ledger, and no access to it. That it was
    made is recorded first.
    """
    if path is not None:
        refuse_existing(path)
    if invocation.server is not None:
        proofs: Sequence[bytes] = remote_acts.proofs(invocation, reference, with_payload=with_payload)
    else:
        proofs = _prove_here(invocation, reference, path, with_payload=with_payload)
    return _hand_out(
        invocation,
        path,
        b"".join(proofs),
        Proofs(file=None if path is None else str(path), proofs=tuple([Raw(one.rstrip(b"\n")) for one in proofs])),
    )


def _prove_here(invocation: Invocation, reference: str, path: Path | None, *, with_payload: bool) -> list[bytes]:
    """The proofs of the ledger at hand; that they were made is recorded."""
    settings = load_settings(invocation)
    with recording(settings) as ledger:
        records = find_records(ledger.store, reference)
        if with_payload:
            _check_open(records)
        logs = {record.log for record in records}
        options = {"reference": reference, "output": None if path is None else str(path)}
        record_access(
            ledger,
            settings,
            "audit prove",
            options,
            tenant=logs.pop() if len(logs) == 1 else None,
            shown=len(records),
            payloads=with_payload,
        )
        return _prove(invocation, ledger, settings, records, with_payload=with_payload)


@click.command()
@click.argument("reference", metavar="RECORD")
@_OUTPUT
@click.pass_obj
def receipt(invocation: Invocation, /, reference: str, path: Path | None) -> int:
    """Print the receipts of a record, or of all records of a call, as `audit verify --receipts` takes them.

    A receipt is what the application got when the record was made: log, index and leaf hash. It says nothing of what the
    record holds, so that it was printed is not recorded.
    """
    if path is not None:
        refuse_existing(path)
    if invocation.server is not None:
        receipts = remote_acts.receipts(invocation, reference)
    else:
        with reading(load_settings(invocation)) as store:
            records = find_records(store, reference)
        receipts = [Receipt(record.log, record.index, leaf_hash(record.envelope).hex()) for record in records]
    lines = b"".join([msgspec.json.encode(one) + b"\n" for one in receipts])
    return _hand_out(invocation, path, lines, {"file": None if path is None else str(path), "receipts": receipts})


@click.command()
@click.option(
    "--prove-from",
    "kept",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PATH",
    help="Print a proof that the log continues this checkpoint, in place of the newest one.",
)
@_OUTPUT
@click.pass_obj
def checkpoint(invocation: Invocation, /, kept: Path | None, path: Path | None) -> int:
    """Print the newest signed checkpoint: a C2SP note that fixes every record up to now.

    Keep it where this ledger cannot be changed from: `audit verify --checkpoint` holds the log against it.
    """
    if path is not None:
        refuse_existing(path)
    if invocation.server is not None:
        note = remote_acts.checkpoint(invocation)
        proof = None if kept is None else remote_acts.prove_continuation(invocation, kept.read_bytes())
    else:
        with reading(load_settings(invocation)) as store, _told():
            note = newest_checkpoint(store).note
            proof = None if kept is None else prove_continuation(store, kept.read_bytes())
    said = Checkpoint.parse(text_of(note))
    signed = Signed(
        origin=said.origin,
        size=said.size,
        root=said.root.hex(),
        note=note.decode(),
        file=None if path is None else str(path),
        proof=None if proof is None else Raw(proof.rstrip(b"\n")),
    )
    return _hand_out(invocation, path, note if proof is None else proof, signed)


def _check_open(records: Sequence[StoredRecord]) -> None:
    for record in records:
        if record.payload is None:
            message = f"the payload of {record.log}:{record.index} cannot be read: {UNREADABLE_BECAUSE[record.closed]}"
            raise Refusal(Exit.ERROR, "payload_closed", message, next_step="the record itself can be proved without `--with-payload`")


def _prove(
    invocation: Invocation, ledger: OpenLedger, settings: Settings, records: Sequence[StoredRecord], *, with_payload: bool
) -> list[bytes]:
    try:
        ledger.notary.turn()
    except StoreError as error:  # an older checkpoint may cover them
        invocation.hint(f"no new checkpoint could be signed: {error}")
    with _tiles(settings) as tiles, ledger.store.source() as source, _told():
        return [prove_record(ledger.store, source, record, tiles=tiles, with_payload=with_payload) for record in records]


@contextmanager
def _tiles(settings: Settings) -> Iterator[Tiles | None]:
    """The tiles of the search index, where there is one that can be read."""
    try:
        index = None if in_memory(settings) else Index.open(index_path(settings), text=settings.search.text, read_only=True)
    except StoreError:
        index = None
    try:
        yield index
    finally:
        if index is not None:
            index.close()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except NotCovered as error:
        step = "a process that writes to the ledger signs every second; try again then"
        raise Refusal(Exit.ERROR, "not_covered", str(error), next_step=step) from error


def _hand_out(invocation: Invocation, path: Path | None, content: bytes, data: object) -> int:
    """To a file of its own, or as it is to stdout; with `--json` it is in the envelope too."""
    if path is not None:
        with new_file(path) as file:
            file.write(content)
    if path is None and not invocation.as_json:
        click.echo(content, nl=False)
        return int(Exit.OK)
    return invocation.answer(data, lambda output: _show(output, content, path))


def _show(output: Output, content: bytes, path: Path | None) -> None:
    output.mark("ok", "written", f"{size(len(content))} to {path}")
