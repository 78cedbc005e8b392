"""What upstreams list now, held against what is pinned.

Rules:

1. A tool has drifted if anybody who listed it was given another definition than the pinned one, or if nobody who listed its upstream's
   tools was given it any more. A list that cannot be read has none of the tools.
2. Who may be given another list than others (`scope`) replaces nobody's report but their own: an upstream that shows one caller what was
   accepted and another something else has drifted for both.
3. What is kept is bounded, whatever an upstream lists: digests of so many tools for so many callers, and definitions of so many bytes.
   A definition that is not kept has changed all the same; only what has changed in it is not told.
4. A report that its callers have not renewed for `STALE_S` is dropped when the next one comes, and all are when what is pinned changes:
   whoever has none is compared anew before anything is sent for them (gateway/carrying.py).
5. Nothing of a live definition is used for anything but this comparison. Accepting it, and nothing else, puts it into `licet.lock`; from
   then on it is what is pinned, and has not drifted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from msgspec import Struct

from licet.catalog import strict
from licet.catalog.pins import Pin, pins_of
from licet.errors import CatalogInvalid
from licet.model import JsonObject
from licet.names import quoted

SCOPES_LIMIT: Final = 1_000
"""Of one upstream. Whoever has not asked for longest is forgotten (rule 4)."""
STALE_S: Final = 600.0
"""Ten times as long as a comparison is good for: who calls has renewed theirs long before."""
TOOLS_LIMIT: Final = 2_000
"""Of one upstream. A model that is shown more finds none of them."""
KEPT_BYTES: Final = 8 * 1024 * 1024
"""Of definitions of one upstream that are not what was accepted."""
CHANGES_TOLD: Final = 5
Report: TypeAlias = Mapping[str, str]
"""What somebody was listed: names of tools, and the SHA-256 of their definitions."""
_NONE: Final[Report] = MappingProxyType({})


class Change(Struct, frozen=True):
    """One place in which two definitions differ: its JSON Pointer, and what stands there; `has_...` tells null from nothing."""

    path: str
    before: Any = None
    after: Any = None
    has_before: bool = True
    has_after: bool = True


class LiveDefinitions:
    """The board of what upstreams list. Safe to use from many threads; asking takes no lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reports: dict[str, dict[str, Report]] = {}
        self._taken: dict[str, dict[str, float]] = {}
        self._listed: dict[str, Mapping[str, frozenset[str]]] = {}
        self._kept: dict[str, _Kept] = {}
        self._problems: dict[str, str] = {}
        self.revision = 0

    def take(self, upstream: str, unverified_definitions: Iterable[object], *, scope: str = "") -> str | None:
        """This is what an upstream lists for these callers. Returns what is wrong with the list, where it cannot be read."""
        problem: str | None = None
        try:
            pins = pins_of(islice(unverified_definitions, TOOLS_LIMIT + 1))
            if len(pins) > TOOLS_LIMIT:
                pins, problem = {}, f"it has more than {TOOLS_LIMIT} tools"
        except CatalogInvalid as invalid:
            pins, problem = {}, str(invalid)
        report: Report = {name: pin.sha256 for name, pin in pins.items()} or _NONE
        with self._lock:
            self._problems.pop(upstream, None)
            if problem is not None:
                self._problems[upstream] = problem
            self._kept.setdefault(upstream, _Kept()).add(pins.values())
            reports = self._reports.setdefault(upstream, {})
            dropped = self._drop_stale(upstream, reports)
            before = reports.pop(scope, None)
            known = next((one for one in (before, *_newest(reports)) if one is not None and one == report), report)
            reports[scope] = known
            self._taken.setdefault(upstream, {})[scope] = self._clock()
            if len(reports) > SCOPES_LIMIT:
                oldest = next(iter(reports))
                del reports[oldest], self._taken[upstream][oldest]
                dropped = True
            if dropped or before is not known:
                self._count(upstream, reports)
        return problem

    def knows(self, upstream: str, scope: str) -> bool:
        """Whether there is a report of these callers."""
        return scope in self._reports.get(upstream, ())

    def forget(self, upstream: str) -> None:
        """What is pinned has changed: whatever was seen is seen anew, before the next call."""
        with self._lock:
            self._taken.pop(upstream, None)
            self._reports.pop(upstream, None)
            if self._listed.pop(upstream, None) is not None:
                self.revision += 1

    def find(self, upstream: str, name: str, pin: Pin) -> str | None:
        """How this tool has drifted, as the end of a sentence; None if nobody has seen that it did."""
        listed = self._listed.get(upstream)
        if listed is None:
            return None
        seen = listed.get(name)
        if seen is None:
            unread = self._problems.get(upstream)
            return "is not offered any more" if unread is None else f"cannot be compared with what is offered now ({unread})"
        other = min(seen - {pin.sha256}, default=None)
        if other is None:
            return None
        definition = self._kept[upstream].find(other)
        return "has changed" if definition is None else f"has changed: {told(changes(pin.definition, definition))}"

    def _drop_stale(self, upstream: str, reports: dict[str, Report]) -> bool:
        """Rule 4. Whether there were any."""
        taken = self._taken.get(upstream, {})
        stale = [scope for scope, at in taken.items() if self._clock() - at > STALE_S]
        for scope in stale:
            reports.pop(scope, None)
            del taken[scope]
        return bool(stale)

    def _count(self, upstream: str, reports: Mapping[str, Report]) -> None:
        listed: dict[str, set[str]] = {}
        for report in {id(one): one for one in reports.values()}.values():
            for name, digest in report.items():
                listed.setdefault(name, set()).add(digest)
        found = {name: frozenset(digests) for name, digests in listed.items()}
        if found != self._listed.get(upstream):
            self._listed[upstream] = found
            self.revision += 1


class _Kept:
    """Definitions by their digest, the newest of them as long as there is room. Guarded by its board's lock where it grows."""

    def __init__(self) -> None:
        self._definitions: OrderedDict[str, tuple[JsonObject, int]] = OrderedDict()
        self._bytes = 0

    def add(self, pins: Iterable[Pin]) -> None:
        for pin in pins:
            if pin.sha256 in self._definitions:
                continue
            size_bytes = len(strict.encode(pin.definition))
            self._definitions[pin.sha256] = (pin.definition, size_bytes)
            self._bytes += size_bytes
            while self._bytes > KEPT_BYTES:
                self._bytes -= self._definitions.popitem(last=False)[1][1]

    def find(self, digest: str) -> JsonObject | None:
        found = self._definitions.get(digest)
        return None if found is None else found[0]


def changes(before: JsonObject, after: JsonObject) -> tuple[Change, ...]:
    """Where two definitions differ, in order: the places as deep as both have them."""
    return tuple(_changes("", before, after))


def told(found: Iterable[Change]) -> str:
    """The places of some changes, for a message."""
    paths = list(Counter(change.path for change in found))
    more = f" and {len(paths) - CHANGES_TOLD} more" if len(paths) > CHANGES_TOLD else ""
    return ", ".join(map(quoted, paths[:CHANGES_TOLD])) + more


def _changes(path: str, before: Any, after: Any) -> Iterable[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            place = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in before or name not in after:
                yield Change(place, before.get(name), after.get(name), name in before, name in after)
            else:
                yield from _changes(place, before[name], after[name])
    elif type(before) is not type(after) or before != after:
        yield Change(path, before, after)


def _newest(reports: dict[str, Report]) -> list[Report]:
    """The reports that another one is most likely to equal, so that equal ones are kept once."""
    return [reports[scope] for scope, _ in zip(reversed(reports), range(8), strict=False)]
