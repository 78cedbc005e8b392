"""What a tool reports that it changed, and how that compares with what was approved.

Rules:

1. A report is a claim of the tool. It decides nothing; it is recorded with the outcome, so that what was promised can be held against it.
2. It belongs to the innermost governed call that runs where it is made: a call within a call has its own reports.
3. What was reported counts however the tool ended. Once the tool has ended, nothing more is taken: it would be in no record.
4. A value is copied when it is reported, by the rules of arguments (`catalog/strict.py`), since it becomes one where the call is undone.
5. More than the bounds below is counted and not kept, and the record says so. A tool never fails because it changed much.
6. Reports are compared with a preview only where people approved that preview, and the preview came from the tool. Order does not count.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from licet.catalog import strict
from licet.errors import ArgumentsRefused, EffectRefused
from licet.model import CallId, Effect, JsonObject, OutcomeStatus

EFFECTS_LIMIT = 1_000
"""Kept of one call. More is no list that anybody reads; a tool that changes whole tables reports one effect for each table."""
EFFECTS_LIMIT_BYTES = 256 * 1024
"""Of all effects of one call, as JSON: they stand in its record, and as arguments of its undo, which take 1 MiB at most."""
NAME_LIMIT = 1_024
"""Characters of a target or a field."""
DIFFERENCES_LIMIT = 20
"""Of missing and of unexpected effects, each, that the record spells out again beside effects and preview."""


class Reported(Struct, frozen=True):
    """The effects that are kept, how many were reported, and where a result was to say more and did not (`catalog/effects_map.py`)."""

    effects: tuple[Effect, ...] = ()
    count: int = 0
    missing: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every effect was kept."""
        return len(self.effects) == self.count


NOTHING_REPORTED = Reported()


class Collector:
    """Takes the reports of one call, from whatever threads and tasks its tool has started."""

    __slots__ = ("_bytes", "_count", "_effects", "_ended", "_lock", "_missing", "call")

    def __init__(self, call: CallId | None = None) -> None:
        self.call = call
        self._lock = threading.Lock()
        self._effects: list[Effect] = []
        self._count = 0
        self._bytes = 0
        self._ended = False
        self._missing: tuple[str, ...] = ()

    def add(self, effect: Effect, size_bytes: int) -> None:
        """Take a report, or count it where there is no room. Raises `EffectRefused` once the tool has ended."""
        with self._lock:
            if self._ended:
                raise EffectRefused("call_ended", "the call has ended, and its record is written without this effect")
            self._count += 1
            if len(self._effects) < EFFECTS_LIMIT and self._bytes + size_bytes <= EFFECTS_LIMIT_BYTES:
                self._bytes += size_bytes
                self._effects.append(effect)

    def miss(self, places: tuple[str, ...]) -> None:
        """The tool's result was to say something here, and did not."""
        with self._lock:
            self._missing = places

    def end(self) -> None:
        """The tool has ended."""
        with self._lock:
            self._ended = True

    def reported(self) -> Reported:
        """What was reported so far."""
        with self._lock:
            return Reported(tuple(self._effects), self._count, self._missing)


_collector: ContextVar[Collector | None] = ContextVar("licet_effects", default=None)


class collecting:  # noqa: N801 - a block, of which a call has several: a class, since a generator would take three times as long
    """What runs in this block reports to `collector`, which ends with it; None: it runs for a call (a preview, a resolver), and may not."""

    __slots__ = ("_collector", "_token")

    def __init__(self, collector: Collector | None) -> None:
        self._collector = collector

    def __enter__(self) -> None:
        self._token: Token[Collector | None] = _collector.set(self._collector)

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):  # a coroutine that is dropped with its loop ends in another context than it began in
            _collector.reset(self._token)
        if self._collector is not None:
            self._collector.end()


def current_call() -> CallId | None:
    """The call whose tool runs here now; None outside of any."""
    collector = _collector.get()
    return None if collector is None else collector.call


def effect(target: str, field: str, *, before: Any = UNSET, after: Any) -> None:
    """Report a change that the tool which runs now has made. It is in the record of the call, however the tool ends.

    `target` names what was changed, such as `Customer::"C-412"`, and `field` what of it. Values are JSON. `before=None` says that there was
    nothing, `after=None` that there is nothing any more. Without `before` nobody knows what was there, and the call cannot be undone.
    Raises `EffectRefused` (`no_call`, `call_ended`, `not_json`): the change is then in no record, and the tool may go on.
    """
    collector = _collector.get()
    if collector is None:
        raise EffectRefused("no_call", "an effect is reported from within a governed tool, and none runs here")
    collector.add(*_taken(target, field, before, after))


def report(effects: Iterable[Effect], missing: tuple[str, ...] = ()) -> None:
    """What the result of the tool that runs now says that it changed, and where it was to say more. One that cannot be kept is counted."""
    collector = _collector.get()
    if collector is None:
        return
    for one in effects:
        try:
            taken = _taken(one.target, one.field, one.before if one.has_before else UNSET, one.after)
        except EffectRefused:
            taken = Effect(target=one.target[:NAME_LIMIT], field=one.field[:NAME_LIMIT]), EFFECTS_LIMIT_BYTES + 1
        collector.add(*taken)
    collector.miss(missing)


def with_returned(reported: Reported, returned: Iterable[Effect]) -> Reported:
    """What was reported, and the effects that the tool returned. One that could not have been reported is counted only."""
    collector = Collector()
    for one in reported.effects:
        collector.add(one, _size(one))
    count = reported.count - len(reported.effects)
    for one in returned:
        try:
            collector.add(*_taken(one.target, one.field, one.before if one.has_before else UNSET, one.after))
        except EffectRefused:
            count += 1
    found = collector.reported()
    return Reported(found.effects, found.count + count, reported.missing)


def returned_effects(value: Any) -> tuple[Effect, ...]:
    """The effects that a tool has returned: one, or a list or tuple of nothing else. Empty where it returned something else."""
    if isinstance(value, Effect):
        return (value,)
    if isinstance(value, list | tuple) and value and all(isinstance(one, Effect) for one in value):
        return tuple(value)
    return ()


def _taken(target: object, field: object, before: Any, after: Any) -> tuple[Effect, int]:
    """A copy of its own, and its size; one that is too large to be kept is empty and has a size that never fits."""
    names = [_name("target", target), _name("field", field)]
    try:
        values = [None if value is UNSET else strict.copied(value, limit_bytes=EFFECTS_LIMIT_BYTES) for value in (before, after)]
    except ArgumentsRefused as refused:
        if refused.code not in {"too_large", "too_many_values"}:
            raise EffectRefused("not_json", f"the effect on `{names[1]}` is not reported: {refused}") from refused
        return Effect(target=names[0], field=names[1]), EFFECTS_LIMIT_BYTES + 1
    unknown = True if before is UNSET else UNSET
    made = Effect(target=names[0], field=names[1], before=values[0], after=values[1], before_unknown=unknown)
    return made, _size(made)


def _name(what: str, text: object) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= NAME_LIMIT:
        raise EffectRefused("bad_name", f"the {what} of an effect is text of 1 to {NAME_LIMIT} characters")
    try:
        copied: str = strict.copied(text)
    except ArgumentsRefused as refused:
        raise EffectRefused("not_json", f"the {what} of an effect is not Unicode text: {refused}") from refused
    return copied


_encode = msgspec.json.Encoder(order="sorted").encode


def _size(effect_: Effect) -> int:
    return len(_encode(effect_))


class Comparison(Struct, frozen=True):
    """Reported effects beside approved ones: whether they are the same, which are missing, and which nobody has approved.

    `as_previewed` is None where it cannot be said: nothing was reported (`unreported`: although the tool ended well), or the tool did not
    end well and did nothing else.
    """

    as_previewed: bool | None
    unreported: bool = False
    missing: tuple[Effect, ...] = ()
    unexpected: tuple[Effect, ...] = ()

    def detail(self) -> JsonObject:
        """What a record says of it."""
        found: JsonObject = {"as_previewed": self.as_previewed}
        if self.unreported:
            found["unreported"] = True
        for name, effects in (("missing", self.missing), ("unexpected", self.unexpected)):
            if effects:
                found[name] = msgspec.to_builtins(effects[:DIFFERENCES_LIMIT])
            if len(effects) > DIFFERENCES_LIMIT:
                found[f"{name}_in_all"] = len(effects)
        return found


def compare(approved: tuple[Effect, ...], reported: Reported, status: OutcomeStatus) -> Comparison:
    """Reported effects beside approved ones, as multisets. One that was reported without `before` is compared without it.

    A tool that did not end well may well have done less; what it did beyond deviates all the same.
    """
    left = Counter(map(_exact, approved))
    of_key = {_exact(one): one for one in approved}
    of_blind: dict[bytes, list[bytes]] = {}
    for key, one in of_key.items():
        of_blind.setdefault(_blind(one), []).append(key)
    unexpected: list[Effect] = []
    for one in sorted(reported.effects, key=lambda one: not one.has_before):  # those that say most choose first
        keys = [_exact(one)] if one.has_before else of_blind.get(_blind(one), [])
        match = next((key for key in keys if left[key]), None)
        if match is None:
            unexpected.append(one)
        else:
            left[match] -= 1
    missing = tuple([of_key[key] for key in left.elements()])
    unreported = status == "ok" and not reported.count and bool(missing)
    return Comparison(_as_previewed(approved, reported, status, missing, unexpected), unreported, missing, tuple(unexpected))


def _as_previewed(
    approved: tuple[Effect, ...], reported: Reported, status: OutcomeStatus, missing: tuple[Effect, ...], unexpected: list[Effect]
) -> bool | None:
    if unexpected or reported.count > len(approved):
        return False
    if not reported.is_whole or (missing and (status != "ok" or not reported.count)):
        return None
    return not missing


def _exact(effect_: Effect) -> bytes:
    return _encode([effect_.target, effect_.field, _plain(effect_.before), _plain(effect_.after)])


def _blind(effect_: Effect) -> bytes:
    return _encode([effect_.target, effect_.field, _plain(effect_.after)])


def _plain(value: Any) -> Any:
    """The value as it would be reported, so that `1.0` is `1`; a preview may hold what could not be."""
    try:
        return strict.copied(value)
    except ArgumentsRefused:
        return value
