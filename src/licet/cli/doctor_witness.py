"""What `licet doctor` looks at outside the store: is everything signed, and who else holds what was signed?

Anchors are read and witnesses are asked what they have seen; nothing is sent to them, so none of them cosigns anything because of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from licet.cli.finding import Finding
from licet.cli.loading import reading, utc_now
from licet.cli.wording import counted, moment, span
from licet.config import Settings, WitnessServer
from licet.errors import AnchorUnusable, ConfigInvalid, IntegrityBroken, NoteInvalid, StoreError
from licet.gate.opening import has_ledger
from licet.ledger.record import microseconds
from licet.ledger.rotation import Trust
from licet.ledger.signing import checkpoint_of, trust_of
from licet.ledger.tiles import HashTree
from licet.store.contract import Store, StoredCheckpoint
from licet.witness.anchor import Anchor
from licet.witness.client import Refused, Seen, SeenNothing, Witness
from licet.witness.guard import Fine, Pin, check_start

LATE_S = 30.0
"""A process signs every second and tells those outside at once; what is older than this does not come by itself."""
_DO_NOT_ACCEPT = "stop what writes, keep the file as it is, and run `licet audit verify`: docs/witness.md says what to do"
_REFUSED = "after `max_age` without one that can be written, calls are refused"
_SILENT = "see what the application's log says of it; after `max_age` calls are refused"


def witness_findings(settings: Settings) -> Iterator[Finding]:
    """Whether all that is recorded is signed, and everybody outside who should hold the newest checkpoint has it."""
    wanted = settings.witness
    if not wanted.anchors and not wanted.servers:
        message = "nobody outside the ledger holds its checkpoint: a cut, a rollback or a rewrite with its key would go unnoticed"
        yield Finding("warn", "witness", message, "name a file on another disk: `anchor` under `[witness]` in licet.toml")
    for path in wanted.anchors:
        yield from _place_of(path, settings.beside)
    if not has_ledger(settings):
        return
    try:
        with reading(settings) as store:
            newest = store.newest_checkpoint()
            yield _signed(store, newest)
            if newest is not None:
                trust = _trusted(store, wanted.log)
                for path in wanted.anchors:
                    yield _anchor(store, newest, trust, path)
                for server in wanted.servers:
                    yield _server(store, newest, trust, server)
    except NoteInvalid as error:
        yield Finding("fail", "witness", f"`log` under `[witness]` is no key of this ledger: {error}", "take it from `licet keys show`")
    except IntegrityBroken as error:
        yield Finding("fail", "signed", str(error), _DO_NOT_ACCEPT)
    except StoreError:
        return  # said where the store is looked at


def _trusted(store: Store, pinned: str | None) -> Trust:
    """The keys of the ledger. Raises `NoteInvalid` where the pinned one does not lead to the one that signs now."""
    trust, signs = trust_of(store, pinned), store.signing_keys()[-1].vkey
    if trust.current.vkey != signs:
        raise NoteInvalid(f"no endorsement leads from it to `{signs}`, which signs now")
    return trust


def _place_of(anchor: Path, store: Path) -> Iterator[Finding]:
    if not anchor.parent.is_dir():
        message = f"there is no folder `{anchor.parent}`, so nothing can be pinned in it"
        yield Finding("fail", "anchor", message, f"make it, or mount what it should lie on; {_REFUSED}")
    elif store.parent.is_dir() and _device(anchor) == _device(store):
        message = f"`{anchor}` lies on the same disk as the ledger: both are restored, and rewritten, together"
        yield Finding("warn", "anchor", message, "name a file on another disk, best of another machine")


def _device(path: Path) -> int:
    return os.stat(path if path.exists() else path.parent).st_dev  # noqa: PTH116 - of a folder that need not be resolved


def _signed(store: Store, newest: StoredCheckpoint | None) -> Finding:
    """Raises `IntegrityBroken` where the head log cannot be what was signed."""
    head = store.head()
    if HashTree(store, head.size).root_at(head.size) != checkpoint_of(head).root:
        raise IntegrityBroken("the entries of the head log do not lead to its root")
    if newest is None:
        level, message = ("warn", "nothing was signed yet") if any(log.size for log in store.logs()) else ("ok", "nothing is recorded yet")
    elif not head.grown and head.checkpoint == head.size:
        level, message = "ok", f"everything is under the checkpoint of {moment(newest.at)}, {counted(newest.size, 'entry', 'entries')}"
    else:
        age_s = _age_s(newest.at)
        level = "warn" if age_s > LATE_S else "ok"
        message = f"records since {moment(newest.at)} ({span(age_s)} ago) are under no signed checkpoint"
    if level == "ok":
        return Finding("ok", "signed", message)
    return Finding("warn", "signed", message, "whatever opens the ledger next signs it; if a process runs, its log says why it does not")


def _anchor(store: Store, newest: StoredCheckpoint, trust: Trust, path: Path) -> Finding:
    try:
        pinned = Anchor(path, trust).read()
    except AnchorUnusable as error:
        return Finding("fail", "anchor", str(error), "make it readable; until then nothing that writes can start")
    except IntegrityBroken as error:
        return Finding("fail", "anchor", str(error), _DO_NOT_ACCEPT)
    if pinned is None:
        message = f"`{path}` is not there: it begins with whatever the ledger has at the next start"
        return Finding("warn", "anchor", message, "if it was there before, find out who removed it, and put it back")
    return _held(store, newest, "anchor", str(path), Pin(f"anchor `{path}`", pinned.checkpoint.size, pinned.checkpoint.root))


def _server(store: Store, newest: StoredCheckpoint, trust: Trust, server: WitnessServer) -> Finding:
    try:
        witness = Witness(server.url, server.vkey, monitoring_url=server.monitoring_url)
    except ConfigInvalid as error:
        return Finding("fail", "witness", str(error), "mend `[[witness.servers]]` in licet.toml")
    seen = witness.get_latest(trust)
    if isinstance(seen, Seen):
        pin = Pin(f"witness `{witness.name}`", seen.checkpoint.size, seen.checkpoint.root)
        return _held(store, newest, "witness", witness.name, pin)
    last_s = _last_cosigned_s(store, newest, trust, witness)
    cosigned = "has cosigned nothing lately" if last_s is None else f"last cosigned at {moment(last_s * 1_000_000)}"
    if isinstance(seen, SeenNothing):
        if last_s is not None and microseconds(utc_now()) - last_s * 1_000_000 < LATE_S * 1_000_000:
            return Finding("ok", "witness", f"`{witness.name}` {cosigned}; it does not show what it has seen")
        return Finding("warn", "witness", f"`{witness.name}` shows nothing of this ledger, and {cosigned}", _SILENT)
    why = f"answers {seen.status}: {seen.message}" if isinstance(seen, Refused) else f"cannot be reached: {seen.message}"
    return Finding("warn", "witness", f"`{witness.name}` {why}; it {cosigned}", _SILENT)


def _held(store: Store, newest: StoredCheckpoint, about: str, name: str, pin: Pin) -> Finding:
    """What it means that somebody holds this."""
    head = store.head()
    found = check_start(head.size, HashTree(store, head.size).root_at, [pin])
    if not isinstance(found, Fine):
        return Finding("fail", about, found.message, _DO_NOT_ACCEPT)
    missed = store.checkpoints(from_size=pin.size + 1)
    if not missed:
        return Finding("ok", about, f"`{name}` holds the newest checkpoint, {counted(pin.size, 'entry', 'entries')}")
    behind = f"`{name}` is {counted(newest.size - pin.size, 'entry', 'entries')} of the head log behind, since {moment(missed[0].at)}"
    if _age_s(missed[0].at) < LATE_S:
        return Finding("ok", about, behind)
    return Finding("warn", about, behind, f"{_SILENT}; what is recorded now is held by nobody else")


def _last_cosigned_s(store: Store, newest: StoredCheckpoint, trust: Trust, witness: Witness) -> int | None:
    """When the witness last cosigned one of the newest checkpoints that the store has (seconds since 1970)."""
    times = []
    for checkpoint in store.checkpoints(from_size=max(0, newest.size - 256), limit=256):
        try:
            _, note = trust.open(checkpoint.note, [witness.verifier])
        except NoteInvalid:
            continue  # `licet audit verify` says so
        times += [one.timestamp_s for one in note.signatures if one.name == witness.name and one.timestamp_s]
    return max(times, default=None)


def _age_s(at_us: int) -> float:
    return (microseconds(utc_now()) - at_us) / 1_000_000
