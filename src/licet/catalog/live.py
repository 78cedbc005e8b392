"""What upstreams list now, held against what is pinned.

Rules:

1. A tool has drifted if anybody who listed it was given another definition than the pinned one, or if nobody who listed its upstream's
   tools was given it any more. A list that cannot be read has none of the tools.
2. Who may be given another list than others (`scope`) replaces nobody's report but their own: an upstream that shows one caller what was
   accepted and another something else has drifted for both.
3. Nothing of a live definition is used for anything but this comparison. Accepting it, and nothing else, puts it into `licet.lock`; from
   then on it is what is pinned, and has not drifted.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from licet.catalog.pins import Pin, pins_of
from licet.errors import CatalogInvalid
from licet.model import JsonObject
from licet.names import quoted

SCOPES_LIMIT: Final = 10_000
"""Of one upstream. Whoever has not asked for longest is forgotten, and is compared anew before anything is sent for them."""
CHANGES_TOLD: Final = 5
_NONE: Final[Mapping[str, Pin]] = MappingProxyType({})


class Change(Struct, frozen=True):
    """One place in which two definitions differ: its JSON Pointer, and what stands there; `has_...` tells null from nothing."""

    path: str
    before: Any = None
    after: Any = None
    has_before: bool = True
    has_after: bool = True


class LiveDefinitions:
    """The board of what upstreams list. Safe to use from many threads; asking takes no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[str, dict[str, Mapping[str, Pin]]] = {}
        self._listed: dict[str, Mapping[str, tuple[Pin, ...]]] = {}
        self._problems: dict[str, str] = {}
        self.revision = 0

    def take(self, upstream: str, unverified_definitions: Iterable[object], *, scope: str = "") -> str | None:
        """This is what an upstream lists for these callers. Returns what is wrong with the list, where it cannot be read."""
        problem: str | None = None
        try:
            report: Mapping[str, Pin] = pins_of(unverified_definitions)
        except CatalogInvalid as invalid:
            report, problem = _NONE, str(invalid)
        else:
            self._problems.pop(upstream, None)
        with self._lock:
            if problem is not None:
                self._problems[upstream] = problem
            reports = self._reports.setdefault(upstream, {})
            before = reports.pop(scope, None)
            known = next((one for one in (before, *_newest(reports)) if one is not None and _same(one, report)), report)
            reports[scope] = known
            if len(reports) > SCOPES_LIMIT:
                reports.pop(next(iter(reports)))
            if before is not known:
                self._count(upstream, reports)
        return problem

    def find(self, upstream: str, name: str, pin: Pin) -> str | None:
        """How this tool has drifted, as the end of a sentence; None if nobody has seen that it did."""
        listed = self._listed.get(upstream)
        if listed is None:
            return None
        seen = listed.get(name)
        if seen is None:
            unread = self._problems.get(upstream)
            return "is not offered any more" if unread is None else f"cannot be compared with what is offered now ({unread})"
        other = next((one for one in seen if one.sha256 != pin.sha256), None)
        return None if other is None else f"has changed: {told(changes(pin.definition, other.definition))}"

    def _count(self, upstream: str, reports: Mapping[str, Mapping[str, Pin]]) -> None:
        listed: dict[str, tuple[Pin, ...]] = {}
        for report in {id(one): one for one in reports.values()}.values():
            for name, pin in report.items():
                seen = listed.get(name, ())
                if all(one.sha256 != pin.sha256 for one in seen):
                    listed[name] = (*seen, pin)
        if _digests(listed) != _digests(self._listed.get(upstream, {})) or upstream not in self._listed:
            self._listed[upstream] = listed
            self.revision += 1


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


def _newest(reports: dict[str, Mapping[str, Pin]]) -> list[Mapping[str, Pin]]:
    """The reports that another one is most likely to equal, so that equal ones are kept once."""
    return [reports[scope] for scope, _ in zip(reversed(reports), range(8), strict=False)]


def _same(one: Mapping[str, Pin], other: Mapping[str, Pin]) -> bool:
    return one.keys() == other.keys() and all(pin.sha256 == other[name].sha256 for name, pin in one.items())


def _digests(listed: Mapping[str, tuple[Pin, ...]]) -> dict[str, set[str]]:
    return {name: {pin.sha256 for pin in pins} for name, pins in listed.items()}
