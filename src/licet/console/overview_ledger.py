"""How the ledger is: what is signed, who outside holds it, and what was verified when.

Rules:

1. At each look the newest checkpoint is verified: its signature, that the head log leads to its root, and that it goes on from the one
   that this process saw at the look before. That reads no record, and is never called a verification of the ledger.
2. The whole ledger is verified where somebody asks for it (server/proofs.py). What was found is told with its time, and forgotten when the
   process ends.
3. The seal in the side reads one checkpoint and what is in memory.
"""

from __future__ import annotations

import weakref
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import Struct

from licet.console.looks import ALLOW, ERROR, Look
from licet.console.wording import span
from licet.errors import IntegrityBroken, LicetError, NoteInvalid, StoreError
from licet.ledger.signing import trust_of
from licet.ledger.tiles import HashTree
from licet.server.endpoint import Asked, Serving
from licet.server.proofs import Verified

SEALED: Final = Look("sealed", "Signed")
BROKEN: Final = Look("broken", "Failed")
OPEN: Final = Look("unsealed", "Not signed yet")
_PINNED_S: Final = 30.0
"""Those outside are told every second; whoever is silent for longer does not come by itself."""


class Whole(Struct, frozen=True):
    """A verification of the whole ledger, and when it ended."""

    found: Verified
    at: datetime


class Tip(Struct, frozen=True, kw_only=True):
    """What was verified just now. `wrong` says what does not hold; `follows` is the size that the look before had seen, if any."""

    look: Look
    size: int = 0
    at: int | None = None
    behind: int = 0
    follows: int | None = None
    wrong: str = ""


class Line(Struct, frozen=True):
    """Something of ledger and witness: how it looks, a sentence, and what is small beside it."""

    look: Look
    text: str
    note: str


_seen: Final[weakref.WeakKeyDictionary[Serving, tuple[int, bytes]]] = weakref.WeakKeyDictionary()
_wholes: Final[weakref.WeakKeyDictionary[Serving, Whole]] = weakref.WeakKeyDictionary()


def keep_whole(asked: Asked, found: Verified) -> None:
    """The ledger was verified, just now."""
    _wholes[asked.serving] = Whole(found, asked.gate.now())


def whole_of(asked: Asked) -> Whole | None:
    """The last verification of the whole ledger by this process."""
    return _wholes.get(asked.serving)


def look_at_tip(asked: Asked) -> Tip:
    """The newest checkpoint, verified (rule 1)."""
    store = asked.gate.store
    newest = store.newest_checkpoint()
    head = store.head()
    if newest is None:
        return Tip(look=OPEN, behind=head.size)
    before = _seen.get(asked.serving)
    try:
        checkpoint, _ = trust_of(store, asked.gate.settings.witness.log).open(newest.note)
        tree = HashTree(store, head.size)
        leads = tree.root_at(checkpoint.size) == checkpoint.root
        goes_on = before is None or tree.root_at(before[0]) == before[1]
    except (IntegrityBroken, NoteInvalid, LookupError) as error:
        return Tip(look=BROKEN, size=newest.size, at=newest.at, wrong=str(error))
    if not leads:
        return Tip(look=BROKEN, size=newest.size, at=newest.at, wrong="the head log does not lead to the root that was signed")
    if before is not None and not goes_on:
        wrong = f"the head log does not go on from the checkpoint of {before[0]:,} that was seen before"
        return Tip(look=BROKEN, size=newest.size, at=newest.at, wrong=wrong)
    if before is None or before[0] <= checkpoint.size:
        _seen[asked.serving] = (checkpoint.size, checkpoint.root)
    follows = None if before is None else before[0]
    return Tip(look=SEALED, size=checkpoint.size, at=newest.at, behind=max(0, head.size - checkpoint.size), follows=follows)


def outside_of(asked: Asked) -> list[Line]:
    """Everybody outside who is to hold the newest checkpoint, and what happens if none of them does."""
    pins = asked.gate.ledger.pins
    wanted = asked.gate.settings.witness
    limit = span(wanted.max_age_s)
    if pins is None:
        text = "Nobody outside the ledger holds its checkpoint"
        return [
            Line(
                ERROR, text, "a cut, a rollback or a rewrite with its key would go unnoticed; name an anchor under [witness] in licet.toml"
            )
        ]
    lines = []
    problem = pins.find_problem()
    if problem is not None:
        lines.append(Line(BROKEN, problem, "calls are refused until one of them has taken a checkpoint again"))
    for one in pins.sightings():
        kind = "Anchor" if one.witness in {str(path) for path in wanted.anchors} else "Witness"
        age = span(int(one.age_s))
        if one.failure is None and one.age_s < _PINNED_S:
            lines.append(Line(ALLOW, f"{kind} {one.witness} has pinned it", f"{age} ago; calls go on for {limit} without"))
        else:
            failure = f"{one.failure}; " if one.failure else ""
            note = f"{failure}calls are refused once nobody of its kind has pinned one for {limit}"
            lines.append(Line(ERROR, f"{kind} {one.witness} has pinned nothing for {age}", note))
    return lines


def conditions_of(asked: Asked) -> list[Line]:
    """What keeps calls from being taken now, as `/readyz` knows it."""
    return [
        Line(ERROR, f"{one.name.capitalize()}: {one.problem}", "`licet doctor` says more")
        for one in asked.gate.conditions()
        if one.problem is not None and one.name != "witness"
    ]


def seal_of(asked: Asked) -> dict[str, Any] | None:
    """What the side of every page says; None for whoever may read no log, and where it cannot be told now."""
    if not asked.tenants("records.read"):
        return None
    try:
        newest = asked.gate.store.newest_checkpoint()
        pins = asked.gate.ledger.pins
        sightings = () if pins is None else pins.sightings()
    except (StoreError, LicetError):
        return None
    youngest = min((one.age_s for one in sightings if one.failure is None), default=None)
    return {
        "look": OPEN if newest is None else SEALED,
        "size": None if newest is None else newest.size,
        "pinned_at": None if youngest is None else asked.gate.now() - timedelta(seconds=youngest),
        "outside": bool(sightings),
    }
