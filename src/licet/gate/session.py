"""Facts about a run of an agent that policies can use: its labels, its calls and its meters.

Rules:

1. Facts are set by the host program and by the gate, never by what a model writes.
2. A caller that names no session shares one with itself, so leaving the session out resets nothing. Nor does another credential.
3. Two calls that both saw the same meter do not both pass: the second one finds that the meter has moved and is decided again.
4. A meter never goes down: a negative amount adds nothing to it. Only a call that was counted and is decided again before it began is
   taken back, so that it does not stand in its own way.
5. They live in this process. What a decision saw is in its record.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from msgspec import Struct

from licet.model import Caller

SESSIONS_KEPT = 100_000
"""The sessions used longest ago are forgotten beyond this, to bound memory (about 300 bytes each)."""

SessionKey = tuple[Caller, str | None]


class SessionFacts(Struct, frozen=True):
    """A session as one decision sees it. `revision` moves whenever a label or a meter does."""

    labels: tuple[str, ...] = ()
    calls: int = 0
    meters: dict[str, int] = {}
    revision: int = 0


class Sessions:
    """The sessions of this process; safe to use from any thread."""

    def __init__(self, meters: tuple[str, ...] = (), begin: SessionFacts | None = None) -> None:
        """`meters` stand at 0 unless `begin`, what every session begins with, says otherwise."""
        begin = begin or SessionFacts()
        self._none = SessionFacts(begin.labels, begin.calls, dict.fromkeys(meters, 0) | begin.meters)
        self._lock = threading.Lock()
        self._facts: OrderedDict[SessionKey, SessionFacts] = OrderedDict()

    def facts(self, caller: Caller, session: str | None) -> SessionFacts:
        """What is known of this session now."""
        return self._facts.get((caller.whoever_shows, session), self._none)

    def count(self, caller: Caller, session: str | None, seen: SessionFacts, metered: dict[str, int] | None = None) -> bool:
        """Count a call that is about to run, and add to its meters. False, and nothing counted, if the meters have moved since `seen`."""
        caller = caller.whoever_shows
        with self._lock:
            now = self._facts.get((caller, session), self._none)
            if metered and now.revision != seen.revision:
                return False
            meters = now.meters
            if metered:
                meters = meters | {name: meters.get(name, 0) + amount for name, amount in metered.items()}
            self._put((caller, session), SessionFacts(now.labels, now.calls + 1, meters, now.revision + bool(metered)))
            return True

    def take_back(self, caller: Caller, session: str | None, metered: dict[str, int] | None = None) -> None:
        """What `count` has counted of a call is taken back: its intent did not land, and it is counted anew."""
        caller = caller.whoever_shows
        with self._lock:
            now = self._facts.get((caller, session))
            if now is None:
                return  # forgotten meanwhile, and what was counted with it
            meters = {name: max(value - (metered or {}).get(name, 0), 0) for name, value in now.meters.items()}
            self._put((caller, session), SessionFacts(now.labels, max(now.calls - 1, 0), meters, now.revision + bool(metered)))

    def label(self, caller: Caller, session: str | None, label: str) -> None:
        """Put a label on a session. Labels are never taken off."""
        caller = caller.whoever_shows
        with self._lock:
            now = self._facts.get((caller, session), self._none)
            labels = tuple(sorted({*now.labels, label}))
            self._put((caller, session), SessionFacts(labels, now.calls, now.meters, now.revision + 1))

    def _put(self, key: SessionKey, facts: SessionFacts) -> None:
        self._facts[key] = facts
        self._facts.move_to_end(key)
        if len(self._facts) > SESSIONS_KEPT:
            self._facts.popitem(last=False)
