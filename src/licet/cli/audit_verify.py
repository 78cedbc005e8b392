"""`licet audit verify`: is the log what was written? Of the store, or of anything that was handed out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from msgspec import Struct

from licet.cli import remote_acts
from licet.cli.exits import Exit
from licet.cli.faults import Fault, Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading
from licet.cli.new_file import new_file
from licet.cli.progress import Step, progress
from licet.cli.verify_answer import Answer, of_proofs, of_report, of_tiles, show
from licet.cli.verify_outside import gather
from licet.cli.wording import counted
from licet.errors import IntegrityBroken, NoteInvalid
from licet.gate.parallel import examining
from licet.ledger.examine import Examined, examine_log
from licet.ledger.export import ExportSource, verify_open_export
from licet.ledger.exports.formats import verify_file
from licet.ledger.file_kinds import FileKind, kind_of, lines_of, manifest_beside
from licet.ledger.note import Verifier
from licet.ledger.report import Problem
from licet.ledger.source import Source
from licet.ledger.tile_trust import tiled_records, verify_tile_export
from licet.ledger.verify import Chunks
from licet.ledger.verify import verify as verify_ledger
from licet.ledger.verify_kept import Kept, kept_problems, key_problems
from licet.ledger.verify_lines import read_receipts, verify_proof_lines
from licet.model import Receipt

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_BELIEVED = "no key was given, so it was believed as to its own keys; `--key` with one that is kept elsewhere shows a rewrite"


class Asked(Struct, frozen=True, kw_only=True):
    """What is to be verified (the store, where nothing else is named), and what it is held against."""

    file: Path | None
    tiles: Path | None
    proof: Path | None
    receipts: Path | None
    kept: tuple[Path, ...]
    vkey: str | None


@click.command()
@click.option("--file", type=_FILE, metavar="PATH", help="Verify an export in place of the store.")
@click.option(
    "--tiles", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="PATH", help="Verify an exported folder of tiles."
)
@click.option("--proof", type=_FILE, metavar="PATH", help="Verify proofs that were handed out.")
@click.option("--receipts", type=_FILE, metavar="PATH", help="Hold it against these receipts, one on each line.")
@click.option(
    "--checkpoint", "kept", type=_FILE, multiple=True, metavar="PATH", help="Hold its head log against a checkpoint that was kept."
)
@click.option("--key", "vkey", metavar="VKEY", help="Trust begins with this key of the ledger, as `audit verify` prints it.")
@click.pass_obj
def verify(invocation: Invocation, /, **options: Any) -> int:
    """Verify the whole audit log: every hash, payload, tree, checkpoint, request and vote.

    Ends with 8 if anything is not as it was written. What this cannot show without `--key`, `--checkpoint` or
    `--receipts`: somebody who can write the store can write it anew so that all of it fits. Anchors and witnesses of
    licet.toml are asked too.
    """
    asked = Asked(**options)
    _check(asked)
    receipts = _receipts(asked.receipts)
    if asked.proof is not None:
        answer = _of_proof(invocation, asked.proof, asked.vkey, receipts)
    elif asked.tiles is not None:
        answer = _of_tiles(invocation, asked.tiles, asked.vkey)
    elif asked.file is not None:
        answer = _of_file(invocation, asked.file, asked, receipts)
    elif invocation.server is not None:
        answer = _of_server(invocation, asked, receipts)
    else:
        answer = _of_store(invocation, asked, receipts)
    return _answered(invocation, answer)


def _check(asked: Asked) -> None:
    if sum(one is not None for one in (asked.file, asked.tiles, asked.proof)) > 1:
        step = "verify one of them after the other"
        raise Refusal(Exit.USAGE, "usage", "`--file`, `--tiles` and `--proof` are of different things", next_step=step)
    if (asked.tiles is not None and (asked.receipts or asked.kept)) or (asked.proof is not None and asked.kept):
        message = "`--receipts` is held against a store, a file or proofs, `--checkpoint` against a store or a file"
        raise Refusal(Exit.USAGE, "usage", message, next_step="leave it out")
    if asked.vkey is not None:
        try:
            Verifier.parse(asked.vkey)
        except NoteInvalid as error:
            step = "`licet audit verify` prints the keys of a ledger"
            raise Refusal(Exit.USAGE, "usage", f"`--key` is no verifier key: {error}", next_step=step) from error


def _receipts(path: Path | None) -> tuple[Receipt, ...]:
    if path is None:
        return ()
    with path.open("rb") as lines:
        try:
            return tuple(read_receipts(lines))
        except IntegrityBroken as error:
            step = "`licet audit receipt RECORD` prints receipts as they should be"
            raise Refusal(Exit.USAGE, "usage", f"`{path}`, {error}", next_step=step) from error


def _of_store(invocation: Invocation, asked: Asked, receipts: tuple[Receipt, ...]) -> Answer:
    settings = load_settings(invocation)
    key = asked.vkey or settings.witness.log
    with reading(settings) as store:
        outside, notes = gather(settings, store, asked.kept, key)
        with store.source() as source:
            total = sum(tree.size for tree in source.trees())
            with progress(invocation, "verifying", total) as step, examining(settings, total) as chunks:
                report = verify_ledger(source, chunks=_stepping(source, step, chunks), receipts=receipts)
            problems = (*kept_problems(source.head_log, outside, key), *(key_problems(report, key) if key is not None else ()))
    return of_report(report, exported=False, problems=problems, notes=tuple(notes), key=key)


def _of_server(invocation: Invocation, asked: Asked, receipts: tuple[Receipt, ...]) -> Answer:
    """All that a credential may export, fetched and verified here: that a server says of itself that it is sound is worth nothing."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "export.jsonl"
        with new_file(path) as file, remote_acts.export(invocation, "jsonl", None, payloads=True) as parts:
            file.writelines(parts)
        return _of_file(invocation, path, asked, receipts)


def _of_file(invocation: Invocation, path: Path, asked: Asked, receipts: tuple[Receipt, ...]) -> Answer:
    kind, vkey = kind_of(path), asked.vkey
    if kind == "proof":
        return _of_proof(invocation, path, vkey, receipts)
    if kind != "jsonl":
        return _of_rows(path, kind, held=bool(vkey or asked.receipts or asked.kept))
    outside = [Kept(f"`{one}`", one.read_bytes()) for one in asked.kept]
    with path.open("rb") as lines:
        source = ExportSource(lines_of(lines))
        with progress(invocation, "verifying", sum(tree.size for tree in source.trees())) as step:
            report = verify_open_export(source, receipts=receipts, chunks=_stepping(source, step))
    problems = (*kept_problems(source.head_log, outside, vkey), *(key_problems(report, vkey) if vkey is not None else ()))
    return of_report(report, exported=True, problems=problems, notes=(), key=vkey)


def _of_rows(path: Path, kind: FileKind, *, held: bool) -> Answer:
    """An export for other tools: complete or not, and no more than that."""
    if held:
        message = f"an export as {kind} carries nothing that is signed; nothing can be held against it"
        raise Refusal(
            Exit.USAGE, "usage", message, next_step="export as jsonl or tiles, or leave `--key`, `--receipts`, `--checkpoint` out"
        )
    with path.open("rb") as file:
        checked = verify_file(kind, file, manifest_beside(path))
    problems = tuple([Problem(None, None, "file", "", "", problem) for problem in checked.problems])
    rows = "line" if kind in {"ocsf", "otlp"} else "record"
    return Answer(
        summary=f"{counted(checked.rows_found, rows)}: complete and undamaged, as far as the file itself says; it carries nothing signed",
        problem_count=len(problems),
        problems=problems,
        notes=(),
        key="",
        data={"format": kind, "rows_expected": checked.rows_expected, "rows_found": checked.rows_found},
    )


def _of_tiles(invocation: Invocation, path: Path, vkey: str | None) -> Answer:
    with progress(invocation, "verifying", tiled_records(path)) as step:
        report = verify_tile_export(path, vkey, step)
    return of_tiles(report, key=vkey)


def _of_proof(invocation: Invocation, path: Path, vkey: str | None, receipts: tuple[Receipt, ...]) -> Answer:
    key = vkey
    if key is None:
        with reading(load_settings(invocation)) as store:
            keys = store.signing_keys()
        if not keys:
            raise Refusal(
                Exit.ERROR, "not_signed", "nothing in this ledger is signed", next_step="give the key of the proof's, `--key VKEY`"
            )
        key = keys[0].vkey
        invocation.hint("no key was given, so the store was believed as to its keys")
    with path.open("rb") as lines:
        return of_proofs(*verify_proof_lines(lines, key, receipts), key=key)


def _stepping(source: Source, step: Step, workers: Chunks | None = None) -> Chunks:
    """Who examines the rows, here or in processes of their own, with a step of the bar for each part."""

    def stepped(examined: Iterable[Examined]) -> Iterator[Examined]:
        for chunk in examined:
            yield chunk
            step(chunk.count)

    return lambda state: stepped(examine_log(source, state.log) if workers is None else workers(state))


def _answered(invocation: Invocation, answer: Answer) -> int:
    fault = None
    if answer.problem_count:
        fault = Fault(
            exit=Exit.INTEGRITY_BROKEN,
            code="integrity_broken",
            message=f"{counted(answer.problem_count, 'problem')} found: it is not what was written",
            next="keep the file as it is, stop what writes to it, and compare with a backup or an export",
        )
    ended = invocation.answer(answer.as_json, lambda output: show(output, answer), fault=fault)
    for note in (*answer.notes, *((_BELIEVED,) if answer.key is None else ())):
        invocation.hint(note)
    return ended
