"""What `licet doctor` looks at in the store. It reads a little of each log; `licet audit verify` reads everything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from licet.cli.finding import Finding
from licet.cli.loading import reading
from licet.cli.wording import counted, size
from licet.config import Settings
from licet.errors import IntegrityBroken, NotAStore, StoreError
from licet.gate.opening import has_ledger
from licet.ledger.record import commitment, decode_envelope
from licet.store.contract import LogState, OpenIntent, Store
from licet.store.opening import not_durable, place_of

LOOKED_AT = 100
"""Records at the end of each log: where a crash or a clumsy hand would have left its mark."""
LONG_LOG_BYTES = 256 * 1024 * 1024
"""A write-ahead log is copied into the database at 16 MiB; one far past that is held up by a reader that never ends."""
FREE_WARN_BYTES = 1024 * 1024 * 1024
FREE_FAIL_BYTES = 64 * 1024 * 1024

_WAL_BYTES = slice(18, 20)
"""Where a SQLite file says that it has a write-ahead log (both bytes 2), in its first 100 bytes."""


def store_findings(settings: Settings) -> Iterator[Finding]:
    """Whether it is there, sound at its ends, durable, with room to grow; and who has it open."""
    if not has_ledger(settings):
        place = settings.store.partition("?")[0].removeprefix("sqlite:")
        yield Finding("warn", "store", f"there is no ledger at `{place}` yet", "an application makes it at its first call")
        yield from _server(settings) if settings.in_postgres else _disk(settings.store_path.parent)
        return
    try:
        with reading(settings) as store:
            yield from _ends(store)
            yield from _boots(store)
            yield from _unsettled(store)
    except NotAStore as error:
        yield Finding("fail", "store", str(error), "move it away, or name another `store` in licet.toml")
        return
    except StoreError as error:
        yield Finding("fail", "store", str(error), "see who else uses it, and whether you may read it")
        return
    if settings.in_postgres:
        yield from _server(settings)
    else:
        yield from _journal(settings.store_path)
        yield from _disk(settings.store_path.parent)


def _ends(store: Store) -> Iterator[Finding]:
    states = store.logs()
    broken = [problem for state in states for problem in _problems(store, state)]
    for problem in broken:
        yield Finding("fail", "integrity", problem, "keep the file as it is, and run `licet audit verify`")
    if not broken:
        records = counted(sum(state.size for state in states), "record")
        message = f"{records} in {counted(len(states), 'log')}; the last {LOOKED_AT} of each are as they were written"
        yield Finding("ok", "integrity", message)


def _problems(store: Store, state: LogState) -> Iterator[str]:
    """What is wrong with the end of a log."""
    expected = state.size
    try:
        for record in store.records(state.log, start=max(0, state.size - LOOKED_AT), newest_first=True):
            expected -= 1
            if record.index != expected:
                yield f"log `{state.log}` has record {record.index} where {expected} should be"
                return
            entry = decode_envelope(record.envelope).payload
            if record.closed == "damaged":
                yield f"the payload of record {record.index} in log `{state.log}` is not what was sealed"
            if record.salt is None or record.payload is None:
                continue  # erased, which `verify` judges, or there is no key to open it
            if commitment(record.salt, record.payload) != entry.commitment:
                yield f"the payload of record {record.index} in log `{state.log}` is not what its envelope commits to"
    except IntegrityBroken as error:
        yield f"record {expected} of log `{state.log}`: {error}"
        return
    if expected != max(0, state.size - LOOKED_AT):
        yield f"log `{state.log}` ends before record {expected}"


def _boots(store: Store) -> Iterator[Finding]:
    boots = [boot for boot in store.boots() if boot.state == "running"]
    living = {boot.id for boot in boots if boot.lives}
    gone = [boot for boot in boots if not boot.lives]
    yield Finding("ok", "processes", f"{counted(len(living), 'process', 'processes')} with a lease on the ledger now")
    if gone:
        message = f"{counted(len(gone), 'process', 'processes')} ended without closing the ledger"
        yield Finding("warn", "processes", message, "nothing to do: the next gate that opens records what they left open as unknown")
    yield from _open_calls(store.open_calls(), living)


def _open_calls(calls: tuple[OpenIntent, ...], living: set[str]) -> Iterator[Finding]:
    orphans = [call for call in calls if call.boot not in living]
    yield Finding("ok", "open calls", f"{counted(len(calls) - len(orphans), 'call')} running now")
    if orphans:
        message = f"{counted(len(orphans), 'call')} begun by a process that is gone, such as `{orphans[0].call}`"
        yield Finding("warn", "open calls", message, "open a gate: each becomes `unknown`; then `licet audit unknown`")


def _unsettled(store: Store) -> Iterator[Finding]:
    calls = store.unsettled_calls()
    if calls:
        message = f"{counted(len(calls), 'call')} of which nobody saw the end, such as `{calls[0].call}`"
        yield Finding("warn", "unknown calls", message, "`licet audit unknown` lists them; ask their probes, or settle them by hand")
    else:
        yield Finding("ok", "unknown calls", "the end of every call is known")


def _server(settings: Settings) -> Iterator[Finding]:
    """Whether the server keeps what it has acknowledged, and whether the way to it is safe."""
    try:
        off = not_durable(place_of(settings))
    except StoreError:
        return  # said where the ledger is opened
    for name in off:
        message = f"PostgreSQL runs with `{name} = off`: a power cut takes calls and approvals that were acknowledged, or the whole ledger"
        yield Finding("fail", "database", message, f"set `{name} = on` in postgresql.conf, and restart it")
    if not off:
        yield Finding("ok", "database", "it flushes what it acknowledges")
    url = urlsplit(settings.store)
    mode = dict(parse_qsl(url.query)).get("sslmode", "prefer")
    if url.hostname not in {None, "localhost", "127.0.0.1", "::1"} and mode not in {"verify-ca", "verify-full"}:
        message = f"the way to `{url.hostname}` is `sslmode={mode}`: whoever is on it can answer in the server's place"
        yield Finding(
            "warn", "database", message, "add `?sslmode=verify-full` to `store`, and `sslrootcert` where its certificate is your own"
        )


def _journal(path: Path) -> Iterator[Finding]:
    with path.open("rb") as file:
        head = file.read(100)
    if head[_WAL_BYTES] != b"\x02\x02":
        yield Finding("fail", "journal", f"`{path}` has no write-ahead log", "open it with a gate once, which turns it on")
        return
    log = path.with_name(f"{path.name}-wal")
    size_bytes = log.stat().st_size if log.exists() else 0
    if size_bytes > LONG_LOG_BYTES:
        yield Finding("warn", "journal", f"the write-ahead log is {size(size_bytes)} long", "end whatever reads the file without end")
    else:
        yield Finding("ok", "journal", f"write-ahead log in place, {size(size_bytes)}")


def _disk(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding("fail", "disk", f"there is no folder `{folder}` for the ledger", "make it, or name another `store` in licet.toml")
        return
    free = shutil.disk_usage(folder).free
    message = f"{size(free)} free in `{folder}`"
    if free < FREE_WARN_BYTES:
        step = "make room: when the disk is full, every call is refused"
        yield Finding("fail" if free < FREE_FAIL_BYTES else "warn", "disk", message, step)
    else:
        yield Finding("ok", "disk", message)
