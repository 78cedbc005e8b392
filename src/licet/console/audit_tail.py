"""The explorer kept up: a stream for each page that is live, of all that it shows of what it finds, made anew when a log has grown.

Rules:

1. That somebody follows is recorded once, when the stream opens, as `licet audit tail --follow` does it; only then is anything shown.
2. Each time it is decided anew what may be read; no log is shown that the record of the reading does not name.
3. It sends the newest lines whole, so that nothing is missed or doubled, and a page never has more than those.
4. A reading makes no news, so following never feeds itself (live.py).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator

import msgspec

from licet.console.audit_ask import ShowAudit, search_of
from licet.console.audit_found import found_of
from licet.console.frame import page
from licet.console.live import GATHER_S, Change, Watch, asked_anew, heard_next, watch_of
from licet.errors import StoreError
from licet.server.endpoint import Answer, Asked
from licet.server.problems import Problem
from licet.server.records import Sought, note_reading, sought_by


def tail(asked: Asked) -> Answer:
    """The stream. Raises `Problem` as the page does, and where this one has too many open."""
    params: ShowAudit = msgspec.structs.replace(asked.params, cursor="", live="1")
    sought = sought_by(asked, search_of(asked, params))
    person = asked.directory.person_of(asked.person)
    watch = watch_of(asked.serving)
    if not watch.places.enter(person):
        raise Problem("too_many_requests", "too many pages of yours are open", retry_after_s=60)
    try:
        found = found_of(asked, params, sought)
        note_reading(asked, "tail", {**sought.told, "follow": True}, sought.logs, shown=len(found["rows"]))
    except BaseException:
        watch.places.leave(person)
        raise
    stream = _stream(asked, params, sought.logs, watch)
    weakref.finalize(stream, watch.places.leave, person).atexit = False  # whether it was ever begun or not
    return Answer(stream=stream, media_type="text/event-stream", headers=(("X-Accel-Buffering", "no"),))


async def _stream(asked: Asked, params: ShowAudit, logs: tuple[str, ...], watch: Watch) -> AsyncIterator[bytes]:
    heard = watch.enter()
    try:
        yield b"retry: 1000\n\n"
        yield await asyncio.to_thread(_event, asked, params, logs)  # what came between the page and this
        while watch.is_looking:
            changes = await heard_next(heard)
            if not changes:
                yield b": still here\n\n"
            elif _concerns(changes, logs):
                yield await asyncio.to_thread(_event, asked, params, logs)
                await asyncio.sleep(GATHER_S)
    except (Problem, StoreError):
        return  # the page asks anew, and is told why not
    finally:
        watch.leave(heard)


def _concerns(changes: tuple[Change, ...], logs: tuple[str, ...]) -> bool:
    return any(change.has_records and change.log in logs for change in changes)


def _event(before: Asked, params: ShowAudit, logs: tuple[str, ...]) -> bytes:
    """What is found now (rule 2). Raises `Problem`."""
    asked = asked_anew(before)
    sought: Sought = sought_by(asked, search_of(asked, params))
    within = tuple([log for log in sought.logs if log in logs])
    shown = page(asked, "audit_found.html", **found_of(asked, params, msgspec.structs.replace(sought, logs=within)))
    lines = (shown.content or b"").decode().splitlines()
    return "".join([f"data: {line}\n" for line in lines if line.strip()]).encode() + b"\n"
