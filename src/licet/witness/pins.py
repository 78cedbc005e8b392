"""Everybody outside the store who holds its newest checkpoint: asked at the start, told of every new one.

Rules:

1. At the start nothing is written before every anchor, and every witness that answers, has said what it holds. A store that is behind one
   of them, or whose history differs, is not opened for writing.
2. A witness that does not answer is shown, and calls go on until none has cosigned within the stated age; then they are refused until one
   does. Anchors are counted likewise, and apart: one of each kind must have taken a checkpoint.
3. One who finds while the store runs that it was set back or rewritten ends the calls at once, until somebody has looked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from licet.errors import IntegrityBroken, LicetError, NoteInvalid
from licet.ledger.merkle import Tree
from licet.ledger.note import add_signatures
from licet.ledger.rotation import Trust
from licet.ledger.tiles import HashTree
from licet.store.contract import HeadState, Store, StoredCheckpoint
from licet.witness.anchor import Anchor
from licet.witness.client import Answer, Behind, Cosigned, Seen, Witness
from licet.witness.guard import Fine, Pin, Sighting, Watch, check_start, judge_answer

_LOOKED_BACK = 1_000
"""Entries of the head log behind the newest checkpoint in which a cosignature is looked for."""

_log = logging.getLogger("licet.witness")


class Pins:
    """The anchors and witnesses of one store.

    `keep` is given a checkpoint's size and its note with the cosignatures that were gathered. `clock` counts seconds and never goes back;
    `now_s` are seconds since 1970, which cosignatures speak of: how old the last one is counts on over a restart.
    """

    def __init__(
        self,
        store: Store,
        trust: Callable[[], Trust],
        anchors: Sequence[Path],
        witnesses: Sequence[Witness],
        *,
        max_age_s: float,
        keep: Callable[[int, bytes], None],
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._trust = trust
        self._anchors = anchors
        self._witnesses = witnesses
        self._keep = keep
        self._broken: str | None = None
        # Two watches: an anchor beside the store must not hide a witness that has gone silent.
        files, servers = [str(path) for path in anchors], [witness.name for witness in witnesses]
        self._files = Watch(files, max_age_s=max_age_s, clock=clock, needed=min(1, len(files)))
        ages = {name: now_s() - seen for name, seen in self._last_cosigned().items()}
        self._servers = Watch(servers, max_age_s=max_age_s, clock=clock, needed=min(1, len(servers)), seen_s=ages)

    def check(self) -> None:
        """The store has all that is pinned. Raises `IntegrityBroken`, which says what to do, and `AnchorUnusable`."""
        self._check_key()
        head, newest, pins = self._store.head(), self._store.newest_checkpoint(), []
        for path in self._anchors:
            pinned = Anchor(path, self._trust()).read()
            if pinned is None and newest is not None:
                _log.warning("licet: anchor `%s` is not there: it begins with what the store has now", path)
            elif pinned is not None:
                pins.append(Pin(f"anchor `{path}`", pinned.checkpoint.size, pinned.checkpoint.root))
        tree = HashTree(self._store, head.size)
        if tree.root_at(head.size) != _root_of(head):  # else true tiles could stand in for rewritten entries
            raise IntegrityBroken(
                "the tiles of the head log do not lead to its root, so that what an anchor or a witness knows cannot be found in it: "
                "keep this store as evidence, and run `licet audit verify`"
            )
        found = check_start(head.size, tree.root_at, pins)
        if not isinstance(found, Fine):
            raise IntegrityBroken(found.message)
        for witness in self._witnesses:
            self._check_witness(witness, newest, head.size, tree)
            if self._broken is not None:
                raise IntegrityBroken(self._broken)

    def _check_witness(self, witness: Witness, newest: StoredCheckpoint | None, size: int, tree: HashTree) -> None:
        """What the witness says to the newest checkpoint; and to more of the head log than that, if it knows more.

        The rows of the last checkpoints may have been taken out, so that an older one is submitted, against which the witness has nothing.
        """
        if newest is not None and not isinstance(self._ask(witness, newest.note), Behind):
            return
        seen = witness.get_latest(self._trust())
        if not isinstance(seen, Seen):
            return
        name = f"witness `{witness.name}`"
        if newest is None:
            self._broken = f"{name} has seen {seen.checkpoint.size} entries of the head log, and the store has no checkpoint"
            return
        found = check_start(size, tree.root_at, [Pin(name, seen.checkpoint.size, seen.checkpoint.root)])
        if not isinstance(found, Fine):
            self._broken = found.message

    def _last_cosigned(self) -> dict[str, int]:
        """When each witness last cosigned, by what is kept (seconds since 1970); of who never did, nothing."""
        found: dict[str, int] = {}
        keys = [witness.verifier for witness in self._witnesses]
        newest = self._store.newest_checkpoint() if keys else None
        start = 0 if newest is None else max(0, newest.size - _LOOKED_BACK)
        for kept in self._store.checkpoints(from_size=start, limit=_LOOKED_BACK + 1) if newest is not None else ():
            try:
                _, note = self._trust().open(kept.note, keys)
            except NoteInvalid:
                continue  # said by `_check_key`, or by verification
            found |= {signature.name: signature.timestamp_s for signature in note.signatures if signature.timestamp_s is not None}
        return found

    def _check_key(self) -> None:
        """The pinned key of the log leads to the one that signs now: else another ledger lies here, and nobody outside would take it."""
        signs = self._store.signing_keys()[-1].vkey
        try:
            leads = self._trust().current.vkey == signs
        except NoteInvalid:
            leads = False
        if not leads:
            raise IntegrityBroken(
                f"`log` under `[witness]` does not lead to `{signs}`, which signs this ledger: another ledger lies in its place, or the "
                "key is not its own. keep this store as evidence; if it began anew with your knowledge, write the key that signs it there"
            )

    def publish(self, note: bytes) -> None:
        """Every anchor and witness has been told of this checkpoint; what they add to it is kept. It may be one that they know."""
        checkpoint, _ = self._trust().open(note)
        for path in self._anchors:
            try:
                Anchor(path, self._trust()).pin(note, self._prove)
                self._files.cosigned(str(path))
            except IntegrityBroken as error:
                self._broken = str(error)
                _log.error("licet: %s", error)
            except LicetError as error:
                self._fail(self._files, str(path), str(error))
        lines = [line for witness in self._witnesses for line in self._submit(witness, note)]
        cosigned = add_signatures(note, lines)
        if cosigned != note:
            self._keep(checkpoint.size, cosigned)

    def find_problem(self) -> str | None:
        """Why nothing may be written now; None as long as it may."""
        return self._broken or self._files.find_problem() or self._servers.find_problem()

    def sightings(self) -> tuple[Sighting, ...]:
        """Each anchor and witness, and how long ago it last took a checkpoint."""
        return self._files.sightings() + self._servers.sightings()

    def _submit(self, witness: Witness, note: bytes) -> Sequence[bytes]:
        answer = self._ask(witness, note)
        return answer.lines if isinstance(answer, Cosigned) else ()

    def _ask(self, witness: Witness, note: bytes) -> Answer:
        answer = witness.submit(note, self._prove)
        judged = judge_answer(f"witness `{witness.name}`", self._store.head().size, answer)
        if judged is not None:
            self._broken = judged.message
            _log.error("licet: %s", judged.message)
        if isinstance(answer, Cosigned):
            self._servers.cosigned(witness.name)
        else:
            self._fail(self._servers, witness.name, getattr(answer, "message", type(answer).__name__))
        return answer

    def _fail(self, watch: Watch, name: str, message: str) -> None:
        _log.warning("licet: `%s` did not take the newest checkpoint: %s", name, message)
        watch.failed(name, message)

    def _prove(self, old: int, new: int) -> tuple[bytes, ...]:
        size = self._store.head().size
        if not 0 <= old <= new <= size:
            raise LookupError(f"the head log has {size} entries")
        return HashTree(self._store, new).consistency_proof(old, new)


def _root_of(head: HeadState) -> bytes | None:
    """The root that the stored state of the head log has; None where the state contradicts itself."""
    try:
        return Tree(head.size, head.compact_range).root()
    except ValueError:
        return None
