"""Is an exported folder of tiles (ledger/tile_export.py) the ledger of a key? It works alone and offline, like ledger/verify.py.

1. `trust.json` can be read, and its keys follow from the key that was brought along
2. the head log's tiles are whole, under a checkpoint signed by a key that may sign at its size
3. every log's tiles are whole, under a checkpoint of its own, signed by one of those keys
4. every log has the root that the newest entry of the head log gives it at that size, and no log of the head log is missing
5. there is nothing else in the folder

Without the head log (an export of one log) 2 and 4 say nothing: a key has signed what is there, and nobody shows that it does not go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct

from licet.errors import IntegrityBroken
from licet.ledger.checkpoint import HeadEntry, decode_head_entry, origin_of_log
from licet.ledger.note import Verifier
from licet.ledger.report import SHOWN_LIMIT, Problem
from licet.ledger.rotation import Trust, verify_rotation
from licet.ledger.tile_folder import TileFolder, read_tiles
from licet.ledger.tile_verify import TilesReport, verify_tiles
from licet.ledger.tiles import HashTree

TRUST_VERSION = 1
TRUST = "trust.json"
HEAD = "head"
LOGS = "logs"


class TrustedKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A key that has signed, and the note by which the one before it handed over."""

    vkey: str
    endorsement: str | None


class TiledLog(Struct, frozen=True, forbid_unknown_fields=True):
    """A log, its folder below the export, and the key that signs its checkpoint there."""

    log: str
    folder: str
    vkey: str


class TrustFile(Struct, frozen=True, forbid_unknown_fields=True):
    """`trust.json`. `head` is None where one log alone was exported."""

    licet_trust: int
    origin: str
    keys: tuple[TrustedKey, ...]
    head: str | None
    logs: tuple[TiledLog, ...]


class TiledReport(Struct, frozen=True):
    """What was found: each log with its size and root (hex), the size of the head log (None without one), and every problem."""

    origin: str
    keys: tuple[str, ...]
    logs: tuple[tuple[str, int, str], ...]
    head_size: int | None
    problem_count: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return self.problem_count == 0

    @property
    def records(self) -> int:
        """How many records there are."""
        return sum(size for _, size, _ in self.logs)


def folder_of(log: str) -> str:
    """How the folder of a log is called."""
    return quote(log, safe="") if log.strip(".") else log.replace(".", "%2E")


def key_of_log(origin: str, log: str, key: Verifier) -> Verifier:
    """The key of the head log `origin`, under the name by which it signs a log's own checkpoints."""
    return Verifier(origin_of_log(origin, log), key.public_key)


def read_trust(path: Path) -> TrustFile:
    """What `trust.json` in this folder says, believed by nobody. Raises `IntegrityBroken` where it cannot be read."""
    try:
        found = msgspec.json.decode((path / TRUST).read_bytes(), type=TrustFile)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityBroken(f"`{path / TRUST}` is missing or cannot be read: {error}") from error
    if found.licet_trust != TRUST_VERSION:
        raise IntegrityBroken(f"`{path / TRUST}` has version {found.licet_trust}, this is for version {TRUST_VERSION}")
    return found


def tiled_records(path: Path) -> int:
    """How many records the checkpoints in this folder say there are, as far as they can be read; verified by nobody."""
    count = 0
    with suppress(IntegrityBroken):
        for tiled in read_trust(path).logs:
            count += read_tiles(path / LOGS / folder_of(tiled.log)).size
    return count


def verify_tile_export(path: Path, vkey: str | None, progress: Callable[[int], None] = lambda _records: None) -> TiledReport:
    """What is wrong with an exported folder. Trust begins with `vkey`; without it the folder is believed as to its own keys.

    `progress` is told how many records more have been read. Raises `IntegrityBroken` where `trust.json` cannot be read, or its keys do not
    follow from the one that was given.
    """
    unverified = read_trust(path)
    trust = _trust(unverified, vkey)  # 1
    check = _Check(path, trust, progress)
    newest = check.head() if unverified.head is not None else None
    logs = [report for tiled in unverified.logs if (report := check.log(tiled.log, newest)) is not None]
    if unverified.head is None and len(unverified.logs) != 1:
        check.add(None, HEAD, "it is missing: only an export of one log has none")
    for log in sorted(set(newest or ()) - {tiled.log for tiled in unverified.logs}):
        check.add(log, f"{LOGS}/{folder_of(log)}", "it is missing: the head log knows this log")  # 4
    check.others(unverified)
    found = tuple(check.problems)
    return TiledReport(trust.origin, tuple([span.key.vkey for span in trust.spans]), tuple(logs), check.head_size, len(found), found)


def _trust(unverified: TrustFile, vkey: str | None) -> Trust:
    if not unverified.keys:
        raise IntegrityBroken(f"`{TRUST}` names no key: nothing in it is signed")
    key = Verifier.parse(vkey or unverified.keys[0].vkey)
    return verify_rotation(key.name, key.vkey, [known.endorsement.encode() for known in unverified.keys if known.endorsement is not None])


class _Check:
    def __init__(self, path: Path, trust: Trust, progress: Callable[[int], None]) -> None:
        self.problems: list[Problem] = []
        self.head_size: int | None = None
        self._path = path
        self._trust = trust
        self._progress = progress

    def head(self) -> dict[str, HeadEntry]:
        """2: the newest entry of each log."""
        keys = [span.key for span in self._trust.spans]
        report = self._verify(HEAD, None, self._trust.origin, keys, lambda _: None)
        if report is None:
            return {}
        self.head_size = report.size
        files = read_tiles(self._path / HEAD)
        found: dict[str, HeadEntry] = {}
        try:
            self._trust.open(files.find_checkpoint() or b"")
            for entry in map(decode_head_entry, files.entries(0, files.size)):
                found[entry.log] = entry
        except IntegrityBroken as error:
            self.add(None, HEAD, str(error))
        return found

    def log(self, log: str, newest: dict[str, HeadEntry] | None) -> tuple[str, int, str] | None:
        """3 and 4."""
        folder, reached = f"{LOGS}/{folder_of(log)}", 0

        def step(so_far: int) -> None:
            nonlocal reached
            self._progress(so_far - reached)
            reached = so_far

        keys = [key_of_log(self._trust.origin, log, span.key) for span in self._trust.spans]
        report = self._verify(folder, log, origin_of_log(self._trust.origin, log), keys, step)
        if report is None:
            return None
        if newest is not None:
            self._compare(log, folder, report, newest.get(log))
        return log, report.size, report.root

    def others(self, unverified: TrustFile) -> None:
        """5."""
        known = {TRUST, LOGS, *((HEAD,) if unverified.head is not None else ())}
        folders = {folder_of(tiled.log) for tiled in unverified.logs}
        for name in sorted(_names(self._path) - known):
            self.add(None, name, "it is no part of the export")
        for name in sorted(_names(self._path / LOGS) - folders):
            self.add(None, f"{LOGS}/{name}", "it is no part of the export")

    def add(self, log: str | None, field: str, message: str, expected: object = "", found: object = "") -> None:
        """One more problem."""
        self.problems.append(Problem(log, None, field, str(expected)[:SHOWN_LIMIT], str(found)[:SHOWN_LIMIT], message))

    def _verify(
        self, folder: str, log: str | None, origin: str, keys: list[Verifier], progress: Callable[[int], None]
    ) -> TilesReport | None:
        try:
            report = verify_tiles(self._path / folder, origin, keys, progress=progress)
        except IntegrityBroken as error:
            self.add(log, folder, str(error))
            return None
        for problem in report.problems:
            self.add(log, f"{folder}/{problem.field}", problem.message, problem.expected, problem.found)
        return report

    def _compare(self, log: str, folder: str, report: TilesReport, entry: HeadEntry | None) -> None:
        """4 for one log."""
        if entry is None:
            self.add(log, folder, "the head log knows no such log")
        elif entry.size > report.size:
            self.add(log, folder, "records were cut off: the head log knows more", entry.size, report.size)
        elif report.ok:
            root = HashTree(TileFolder(self._path / folder, report.size), report.size).root_at(entry.size).hex()
            if root != entry.root:
                self.add(log, folder, f"the first {entry.size} records are not those of the head log", entry.root, root)


def _names(folder: Path) -> set[str]:
    return set(_listed(folder))


def _listed(folder: Path) -> Iterator[str]:
    try:
        yield from (entry.name for entry in folder.iterdir())
    except OSError as error:
        raise IntegrityBroken(f"`{folder}` cannot be read: {error.strerror}") from error
