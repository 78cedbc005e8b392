"""The auditor's own program: `python -m licet.ledger.verify FILE [--key VKEY]`, on a bundle, on proofs or on a folder of tiles.

It needs no licet.toml, no store, no network and no key of the ledger's payloads. It ends with 0 where nothing is wrong, 8 where something
is, and 2 where it was called wrongly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from licet.errors import IntegrityBroken
from licet.ledger.export import verify_export
from licet.ledger.file_kinds import kind_of, lines_of
from licet.ledger.prove import ConsistencyReport
from licet.ledger.report import Problem
from licet.ledger.tile_trust import verify_tile_export
from licet.ledger.verify_kept import key_problems
from licet.ledger.verify_lines import verify_proof_lines
from licet.names import visible

OK, USAGE, BROKEN = 0, 2, 8
_WARNING = "no key was given, so its own keys were believed: somebody who writes all of it anew is not seen"


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what the arguments name; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m licet.ledger.verify", description="Verify what a ledger handed out, offline.")
    parser.add_argument("file", type=Path, help="an export as JSON Lines, proofs, or a folder of tiles")
    parser.add_argument("--key", metavar="VKEY", help="trust begins with this key of the ledger, kept elsewhere")
    given = parser.parse_args(arguments)
    try:
        facts, problems, count = _verified(given.file, given.key)
    except IntegrityBroken as error:
        facts, problems, count = (), (str(error),), 1
    except (OSError, _NeedsKey) as error:
        sys.stderr.write(f"error: {visible(str(error))}\n")
        return USAGE
    for line in (f"broken, problems found: {count}" if count else "intact", *facts, *[f"- {problem}" for problem in problems]):
        sys.stdout.write(f"{visible(line)}\n")
    if given.key is None:
        sys.stderr.write(f"{_WARNING}\n")
    return BROKEN if count else OK


class _NeedsKey(Exception):
    pass


def _verified(path: Path, vkey: str | None) -> tuple[Sequence[str], Iterable[object], int]:
    """Facts, problems, and how many of these there are."""
    if path.is_dir():
        tiled = verify_tile_export(path, vkey)
        return [f"{log}: {size} records, root {root}" for log, size, root in tiled.logs], tiled.problems, tiled.problem_count
    kind = kind_of(path)
    if kind == "proof":
        return _proofs(path, vkey)
    if kind != "jsonl":
        raise _NeedsKey(f"an export as {kind} carries nothing that is signed; ask for one as JSON Lines")
    with path.open("rb") as lines:
        report = verify_export(lines_of(lines))
    facts = [f"{log.log}: {log.size} records, {log.signed} of them signed, root {log.root}" for log in report.logs]
    facts += [f"payloads: {report.erased} erased, {report.locked} not in the file"] if report.erased or report.locked else []
    if report.head is not None:
        facts += [f"head log: {report.head.size} entries, {report.head.signed} of them signed, {report.head.withheld} not shown"]
        facts += [f"signed by {key}" for key in report.head.keys]
    problems: tuple[Problem, ...] = () if vkey is None else key_problems(report, vkey)
    return facts, (*problems, *report.problems), report.problem_count + len(problems)


def _proofs(path: Path, vkey: str | None) -> tuple[Sequence[str], Iterable[object], int]:
    if vkey is None:
        raise _NeedsKey("a proof is verified with a key of its ledger: give `--key VKEY`")
    with path.open("rb") as lines:
        proved, problems = verify_proof_lines(lines, vkey)
    facts = [
        f"the log of size {one.second.size} goes on from what it was at size {one.first.size}"
        if isinstance(one, ConsistencyReport)
        else f"{one.log}:{one.index} is in the log, leaf {one.leaf}"
        for one in proved
    ]
    return facts, problems, len(problems)
