"""Walking through the logs of a store, newest first or as they grow.

Within a log records come by index. Between logs they are ordered by the time in their envelopes, which is what the clocks of processes
said: good enough to read by, and never an argument about what was first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.ledger.record import Envelope, read_envelope
from licet.store.contract import Store, StoredRecord


def sizes(store: Store, tenant: str | None) -> dict[str, int]:
    """Every log, or the one of this name, and how many records it has. Raises `Refusal` where there is none of this name."""
    found = {state.log: state.size for state in store.logs()}
    if tenant is None:
        return found
    if tenant not in found:
        message = f"there is no log `{tenant}` in this ledger"
        known = ", ".join(f"`{log}`" for log in sorted(found)) or "none yet"
        raise Refusal(Exit.ERROR, "not_found", message, next_step=f"logs are {known}")
    return {tenant: found[tenant]}


class NewestFirst:
    """All records before a position, newest first. `position` is where the walk stands: for each log, the index before which to go on."""

    def __init__(self, store: Store, before: Mapping[str, int]) -> None:
        self._store = store
        self.position = dict(before)

    def __iter__(self) -> Iterator[tuple[StoredRecord, Envelope]]:
        streams = [self._stream(log, stop) for log, stop in self.position.items()]
        for record, envelope in heapq.merge(*streams, key=lambda found: -found[1].at):
            self.position[record.log] = record.index
            yield record, envelope

    @property
    def is_over(self) -> bool:
        """Whether nothing is left before the position."""
        return not any(self.position.values())

    def _stream(self, log: str, stop: int) -> Iterator[tuple[StoredRecord, Envelope]]:
        for record in self._store.records(log, stop=stop, newest_first=True):
            yield record, read_envelope(record.envelope, record.payload)


class Growth:
    """What is appended after a position, and to logs that begin later."""

    def __init__(self, store: Store, tenant: str | None, seen: Mapping[str, int]) -> None:
        self._store = store
        self._tenant = tenant
        self._seen = dict(seen)

    def take(self) -> list[tuple[StoredRecord, Envelope]]:
        """What has been appended since the last look, oldest first."""
        found: list[tuple[StoredRecord, Envelope]] = []
        for state in self._store.logs():
            seen = self._seen.get(state.log, 0)
            if state.size == seen or self._tenant not in {None, state.log}:
                continue
            found += [
                (record, read_envelope(record.envelope, record.payload))
                for record in self._store.records(state.log, start=seen, stop=state.size)
            ]
            self._seen[state.log] = state.size
        return sorted(found, key=lambda one: (one[1].at, one[0].log, one[0].index))


def write_position(position: Mapping[str, int]) -> str:
    """A position as it is typed: `acme:120 globex:33`. Names of logs have no spaces."""
    return " ".join(f"{log}:{index}" for log, index in position.items() if index)


def read_position(text: str, known: Mapping[str, int]) -> dict[str, int]:
    """A position that was typed. A log that it does not name began later, and is left out. Raises `Refusal`."""
    found = dict(_read_place(part, known) for part in text.split())
    if not found:
        raise _bad(text)
    return found


def _read_place(part: str, known: Mapping[str, int]) -> tuple[str, int]:
    log, colon, index = part.rpartition(":")
    if not colon or log not in known or not index.isdecimal():
        raise _bad(part)
    return log, min(int(index), known[log])


def _bad(text: str) -> Refusal:
    step = "take it from the `next` of the page before, such as `--before 'acme:120 globex:33'`"
    return Refusal(Exit.USAGE, "usage", f"`--before {text}` is no place in this ledger", next_step=step)
