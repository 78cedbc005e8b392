"""One stream for each open page, which says that something has changed, and nothing of what.

A page that is to keep up says on the part that changes:

    hx-get="{{ here }}" hx-select="#part" hx-swap="outerMorph" hx-trigger="requests from:body" hx-nonce="{{ nonce }}"

with `requests` (a request was opened, voted on or has moved) or `records` (a log has grown). The stream itself is in base.html.

Rules:

1. An event has no content: what has changed is asked for by the page, through the pipeline, with the permissions of that moment.
2. Somebody is told of a log only where they may read it, and of a request only where they may see it. It is decided anew each time.
3. That somebody has read the log is no news: a page would read again because it has read.
4. All streams of a process look at the store together: a cheap question each time, and the new records only where there was a commit.
5. A stream ends with its session (server/exchange.py), and nobody has more than `STREAMS` of them.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

import msgspec
from msgspec import Struct

from licet.errors import StoreError
from licet.ledger.record import Head
from licet.model import RequestId
from licet.policy.own import OwnAction
from licet.server.endpoint import Answer, Asked, Endpoint, Serving, not_permitted
from licet.server.limits import AtOnce
from licet.server.problems import Problem
from licet.server.visible import READING, may

LOOK_S: Final = 0.3
GATHER_S: Final = 0.7
"""What happens so soon after an event is told with the next one: with `LOOK_S` less than half of the two seconds that are promised."""
ALIVE_S: Final = 15.0
"""Proxies cut what is silent for a minute."""
STREAMS: Final = 32
READ_AT_ONCE: Final = 200
"""Of a log that has grown by more, it is not looked at who may see what: whoever may see something of it is told."""
_SLACK: Final = timedelta(seconds=2)
_decode_head = msgspec.json.Decoder(Head).decode
_log = logging.getLogger("licet.console")


class Listen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Since when the page has known what there is."""

    since: datetime | None = None


class Change(Struct, frozen=True):
    """What a log has grown by: the requests that its new records name, and whether any is more than a reading."""

    log: str
    requests: frozenset[RequestId] = frozenset()
    has_records: bool = False
    is_long: bool = False


class Watch:
    """What all streams of a process know of the store. It looks only while somebody listens. `moves` grows when requests have moved."""

    def __init__(self, serving: Serving) -> None:
        self._gate: Final = serving.gate
        self.places: Final = AtOnce(STREAMS)
        self._listeners: Final[set[asyncio.Queue[tuple[Change, ...]]]] = set()
        self._task: asyncio.Task[None] | None = None
        self._version: int | None = None
        self._sizes: dict[str, int] = {}
        self._noted: dict[str, tuple[datetime, Change]] = {}
        self._begun: datetime | None = None
        self.moves = 0
        self._looking = Lock()

    @property
    def is_looking(self) -> bool:
        """Whether somebody looks for those who listen."""
        return self._task is not None and not self._task.done()

    def enter(self) -> asyncio.Queue[tuple[Change, ...]]:
        """From now on this one is told. On the loop that serves."""
        heard: asyncio.Queue[tuple[Change, ...]] = asyncio.Queue()
        self._listeners.add(heard)
        if not self.is_looking:
            self._task = asyncio.get_running_loop().create_task(self._watch())
        return heard

    def leave(self, heard: asyncio.Queue[tuple[Change, ...]]) -> None:
        """Nobody listens here any more."""
        self._listeners.discard(heard)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    def changed_since(self, moment: datetime) -> tuple[Change, ...] | None:
        """What was noticed since then; None where that is not known: the page is older than the first look."""
        if self._begun is None or moment - _SLACK < self._begun:
            return None
        return tuple([change for at, change in self._noted.values() if at >= moment - _SLACK])

    async def _watch(self) -> None:
        try:
            while not self._gate.has_stopped_waiting:
                try:
                    changes = await asyncio.to_thread(self.look)
                except StoreError as error:
                    _log.warning("licet: pages that are open are told nothing now: %s", error)
                    changes = ()
                if changes:
                    self._tell(changes)
                await asyncio.sleep(LOOK_S)
        finally:
            self._tell(())  # so that every stream sees at once that nobody looks any more

    def _tell(self, changes: tuple[Change, ...]) -> None:
        for heard in self._listeners:
            heard.put_nowait(changes)

    def look(self) -> tuple[Change, ...]:
        """What has changed since the last look; nothing at the first one. Raises `StoreError`."""
        with self._looking:  # a look that was given up runs to its end beside the next one
            return self._looked()

    def _looked(self) -> tuple[Change, ...]:
        store, now = self._gate.store, self._gate.now()
        version = store.version()  # before the sizes: what is committed meanwhile is looked at once more
        if version == self._version:
            return ()
        sizes = {state.log: state.size for state in store.logs()}
        found = [self._change(log, self._sizes.get(log, 0), size) for log, size in sizes.items() if size != self._sizes.get(log, 0)]
        self._version, self._sizes = version, sizes
        if self._begun is None:
            self._begun = now
            return ()
        changes = tuple([change for change in found if change.has_records or change.requests or change.is_long])
        self.moves += any(change.requests or change.is_long for change in changes)
        self._noted |= {change.log: (now, change) for change in changes}
        return changes

    def _change(self, log: str, start: int, stop: int) -> Change:
        if self._begun is None or not 0 < stop - start <= READ_AT_ONCE:
            return Change(log, has_records=True, is_long=True)
        heads = [_decode_head(record.envelope) for record in self._gate.store.records(log, start=start, stop=stop)]
        return Change(
            log,
            frozenset([head.approval.request for head in heads if head.approval is not None]),
            any(head.kind != "access" for head in heads),
        )


_watches: Final[weakref.WeakKeyDictionary[Serving, Watch]] = weakref.WeakKeyDictionary()
_lock: Final = Lock()


def watch_of(serving: Serving) -> Watch:
    """The one watch of what is served."""
    with _lock:
        return _watches.setdefault(serving, Watch(serving))


_ACTIONS: Final[tuple[OwnAction, ...]] = (*READING, "records.read")


def live(asked: Asked) -> Answer:
    """The stream of whoever asks."""
    person = asked.directory.person_of(asked.person)
    if not any(asked.tenants(action) for action in _ACTIONS):
        raise not_permitted("requests.read")
    watch = watch_of(asked.serving)
    if not watch.places.enter(person):
        raise Problem("too_many_requests", "too many pages of yours are open", retry_after_s=60)
    stream = _stream(asked, watch)
    weakref.finalize(stream, watch.places.leave, person).atexit = False  # whether it was ever begun or not
    return Answer(stream=stream, media_type="text/event-stream", headers=(("X-Accel-Buffering", "no"),))


async def _stream(asked: Asked, watch: Watch) -> AsyncIterator[bytes]:
    heard = watch.enter()
    try:
        yield b"retry: 1000\n: what you hear of is asked for by the page\n\n"
        first = await asyncio.to_thread(_missed, asked, watch)
        for name in first:
            yield _event(name)
        while watch.is_looking:
            changes = await heard_next(heard)
            names = await asyncio.to_thread(_names, asked, changes) if changes else ()
            for name in names:
                yield _event(name)
            if names:
                await asyncio.sleep(GATHER_S)
            elif not changes:
                yield b": still here\n\n"
    finally:
        watch.leave(heard)


async def heard_next(heard: asyncio.Queue[tuple[Change, ...]]) -> tuple[Change, ...]:
    """All that was heard, once there is anything; nothing where it is quiet for long."""
    try:
        async with asyncio.timeout(ALIVE_S):  # `wait_for` of Python 3.11 forgets a cancellation that comes together with what it waits for
            found = list(await heard.get())
    except TimeoutError:
        return ()
    while not heard.empty():
        found += heard.get_nowait()
    return tuple(found)


def _event(name: str) -> bytes:
    # The id is there to come back in `Last-Event-ID`: whoever comes back has missed something, for all that is known here.
    return f"event: {name}\nid: 1\ndata:\n\n".encode()


def _missed(asked: Asked, watch: Watch) -> tuple[str, ...]:
    """What a page is told at once: what it may have missed between its making and this stream."""
    params: Listen = asked.params
    changes = None
    if asked.header("last-event-id") is None:
        if params.since is None:
            return ()
        changes = watch.changed_since(params.since)
    if changes is not None:
        return _names(asked, changes)
    return tuple([name for name, actions in (("requests", READING), ("records", _ACTIONS[-1:])) if any(map(asked.tenants, actions))])


def asked_anew(before: Asked) -> Asked:
    """Whoever listens asks once more: what `before` knows of the roles and groups of its person is as old as the stream."""
    return Asked(
        before.serving,
        before.who,
        params=None,
        body=None,
        raw_body=b"",
        headers=before.headers,
        path=before.path,
        request_id=before.request_id,
    )


def _names(before: Asked, changes: Iterable[Change]) -> tuple[str, ...]:
    """Which events these changes are for whoever listens (rule 2)."""
    asked = asked_anew(before)
    found = {
        "requests": any(_sees_request(asked, change) for change in changes),
        "records": any(change.has_records and asked.decide("records.read", change.log).allowed for change in changes),
    }
    return tuple([name for name, is_so in found.items() if is_so])


def _sees_request(asked: Asked, change: Change) -> bool:
    if not (change.requests or change.is_long):
        return False
    if asked.decide("requests.read", change.log).allowed:
        return True
    if not asked.decide("requests.read_own", change.log).allowed:
        return False
    return change.is_long or any(_is_seen(asked, request) for request in change.requests)


def _is_seen(asked: Asked, request: RequestId) -> bool:
    try:
        return may(asked, asked.gate.store.get_request(request), READING)
    except (KeyError, StoreError):
        return False


PAGES: Final = (
    Endpoint(
        method="GET",
        path="/console/live",
        operation="consoleLive",
        summary="That something has changed, as it happens",
        tag="console",
        action="requests.read",
        handler=live,
        params=Listen,
        media_type="text/event-stream",
    ),
)
