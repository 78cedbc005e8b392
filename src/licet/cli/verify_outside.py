"""What is kept outside the store, asked and changed by nothing: anchors and witnesses of licet.toml, and checkpoints that are given.

Everything here is read before the store is: a ledger that goes on meanwhile is then ahead of it, never behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from licet.config import Settings
from licet.errors import ConfigInvalid, NoteInvalid, StoreError
from licet.ledger.note import NOTE_LIMIT_BYTES
from licet.ledger.signing import trust_of
from licet.ledger.verify_kept import Kept
from licet.store.contract import Store
from licet.witness.client import Refused, Seen, SeenNothing, Witness


def gather(settings: Settings, store: Store, given: Sequence[Path], vkey: str | None) -> tuple[list[Kept], list[str]]:
    """Every checkpoint that somebody outside holds, and sentences about those who could not be asked."""
    kept = [Kept(f"`{path}`", _read(path)) for path in given]
    notes: list[str] = []
    for path in settings.witness.anchors:
        try:
            if path.is_file():
                kept.append(Kept(f"anchor `{path}`", _read(path)))
            else:
                notes.append(f"anchor `{path}` holds nothing yet")
        except OSError as error:
            notes.append(f"anchor `{path}` cannot be read: {error.strerror}")
    for found in _witnesses(settings, store, vkey):
        if isinstance(found, Kept):
            kept.append(found)
        else:
            notes.append(found)
    return kept, notes


def _witnesses(settings: Settings, store: Store, vkey: str | None) -> Iterator[Kept | str]:
    if not settings.witness.servers:
        return
    try:
        trust = trust_of(store, vkey)
    except (NoteInvalid, LookupError, StoreError) as error:
        yield f"no witness was asked: {error}"
        return
    for server in settings.witness.servers:
        try:
            witness = Witness(server.url, server.vkey, monitoring_url=server.monitoring_url)
        except ConfigInvalid as error:
            yield str(error)
            continue
        match witness.get_latest(trust):
            case Seen(_, note):
                yield Kept(f"witness `{witness.name}`", note)
            case SeenNothing():
                yield f"witness `{witness.name}` has seen nothing of this ledger yet"
            case Refused(_, message):
                yield f"witness `{witness.name}` shows no checkpoint: {message}"
            case unreachable:
                yield f"witness `{witness.name}` cannot be asked: {getattr(unreachable, 'message', 'no answer')}"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(NOTE_LIMIT_BYTES + 1)
