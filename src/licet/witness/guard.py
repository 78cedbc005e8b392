"""What the pins of anchors and witnesses say about a store: at the start, and while it runs.

Rules:

1. A store that is behind a pin, or has another root at its size, must not write: records are missing, or were changed.
2. A contradiction weighs more than a lack, and every pin is asked: the worst is said.
3. A witness that cannot be reached stops nobody until a stated age; from then on, calls are refused until it answers again.

Everything here is a function of plain facts; who calls reads files, asks witnesses, and refuses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from licet.witness import client

_RESTORE = "restore a newer copy of the store; or accept the loss, under a new origin, with `licet db restore --accept-loss`"
_EVIDENCE = "keep this store as evidence, run `licet audit verify`, and restore a copy that continues what was pinned"


class Pin(Struct, frozen=True):
    """Somebody outside the store knows its head log at `size`; `root` is None where only the size was told. `source` is for messages."""

    source: str
    size: int
    root: bytes | None = None


class Fine(Struct, frozen=True):
    """The store has all that is pinned, unchanged. `pinned_size` is the largest size that somebody has pinned, 0 if nobody has."""

    pinned_size: int


class Behind(Struct, frozen=True):
    """Records are missing: `pin` knows a larger head log than the store has."""

    pin: Pin
    size: int
    message: str


class Rewritten(Struct, frozen=True):
    """Records were changed: the store's head log at the size of `pin` has another root."""

    pin: Pin
    message: str


def check_start(size: int, root_at: Callable[[int], bytes], pins: Iterable[Pin]) -> Fine | Behind | Rewritten:
    """Whether a store whose head log has this size and these roots may write.

    `root_at` is asked for sizes of pins that are not larger than the store. Behind tells of the largest pin.
    """
    by_size = sorted(pins, key=lambda pin: pin.size)
    for pin in by_size:
        if pin.size <= size and pin.root is not None and root_at(pin.size) != pin.root:
            return Rewritten(
                pin, f"{pin.source} has pinned another history: the store's head log has a different root at size {pin.size}. {_EVIDENCE}"
            )
    if not by_size or by_size[-1].size <= size:
        return Fine(by_size[-1].size if by_size else 0)
    largest = by_size[-1]
    return Behind(
        largest,
        size,
        f"{largest.source} has pinned {largest.size} entries of the head log, and the store has {size}: records are missing. {_RESTORE}",
    )


def judge_answer(source: str, size: int, answer: client.Answer) -> Behind | Rewritten | None:
    """What a witness's answer says against the store, whose head log has this size now; None where it says nothing.

    The size is that of now, not that of the checkpoint sent: another process may have been quicker with a larger one.
    """
    match answer:
        case client.Behind(witness_size):
            found = check_start(size, lambda _: b"", [Pin(source, witness_size)])
            return found if isinstance(found, Behind) else None
        case client.Refused(422, message):
            return Rewritten(
                Pin(source, size), f"{source} does not accept that the head log continues what it has seen ({message}). {_EVIDENCE}"
            )
        case _:
            return None


class Sighting(Struct, frozen=True):
    """How long ago a witness last cosigned (or was first waited for), and what it has said since, if it failed."""

    witness: str
    age_s: float
    failure: str | None = None


class Watch:
    """Remembers when each witness last cosigned. `clock` counts seconds and never goes back.

    Calls must be refused when fewer than `needed` witnesses have cosigned within `max_age_s`. `seen_s` says how old a witness's last
    cosignature was when this began, so that restarting does not begin the wait anew; one that is missing there counts from now.
    """

    def __init__(
        self,
        witnesses: Sequence[str],
        *,
        max_age_s: float,
        clock: Callable[[], float],
        needed: int = 1,
        seen_s: Mapping[str, float] | None = None,
    ) -> None:
        if not 0 <= needed <= len(set(witnesses)):
            raise ValueError(f"{needed} witnesses are needed, and there are {len(set(witnesses))}")
        now, ages = clock(), seen_s or {}
        self._clock = clock
        self._max_age_s = max_age_s
        self._needed = needed
        self._lock = threading.Lock()
        self._last = {witness: now - max(ages.get(witness, 0.0), 0.0) for witness in witnesses}
        self._failures: dict[str, str] = {}

    def cosigned(self, witness: str) -> None:
        """The witness has just cosigned. Raises `KeyError` for one that is not watched."""
        with self._lock:
            if witness not in self._last:
                raise KeyError(witness)
            self._last[witness] = self._clock()
            self._failures.pop(witness, None)

    def failed(self, witness: str, message: str) -> None:
        """The witness has not cosigned; the message is shown as long as it does not. Raises `KeyError` for one that is not watched."""
        with self._lock:
            if witness not in self._last:
                raise KeyError(witness)
            self._failures[witness] = message

    def sightings(self) -> tuple[Sighting, ...]:
        """Each witness, in the order given."""
        now = self._clock()
        with self._lock:
            return tuple(Sighting(witness, now - last, self._failures.get(witness)) for witness, last in self._last.items())

    def find_problem(self) -> str | None:
        """Why calls must be refused, as a sentence; None as long as they need not be."""
        sightings = self.sightings()
        late = [sighting for sighting in sightings if sighting.age_s > self._max_age_s]
        if len(sightings) - len(late) >= self._needed:
            return None
        told = "; ".join(f"`{each.witness}` for {each.age_s:.0f} s{f' ({each.failure})' if each.failure else ''}" for each in late)
        return f"the log is not witnessed: no cosignature within {self._max_age_s:g} s from {told}"
