"""`resources/list`, `resources/templates/list` and `prompts/list`: what upstreams offer, less what the caller may not read.

Rules:

1. Who may never read anything of an upstream sees nothing of it. A resource or a prompt that the gate would deny is left out; one that
   people would have to approve is shown. Templates cannot be decided on before something stands in them.
2. A cursor continues the list that it came with, and says where: it grants nothing, and everything is decided again on every page.
3. An upstream that cannot be asked leaves the lists of the others whole; `_meta` and the log say that it is missing.
4. However long the lists of upstreams are, a request does a bounded part of the work.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from typing import Final

import msgspec
from msgspec import Struct

from licet.catalog.upstream import tool_name
from licet.gate.gate import Gate
from licet.gate.steps import EndedAs
from licet.gateway.answers import dressed, reason_told
from licet.gateway.calling import Calling
from licet.gateway.connection import Connection, Refused
from licet.gateway.incoming import Incoming
from licet.gateway.messages import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, UNAVAILABLE, RpcError
from licet.gateway.offers import CURSOR_LIMIT, KINDS, PROMPTS, TEMPLATES, Kind, Page, read_page
from licet.gateway.origins import Origins
from licet.gateway.routing import Router
from licet.gateway.sight import Sight
from licet.model import JsonObject

PAGE_ITEMS: Final = 200
"""Of one answer; each item is a decision."""
PAGES_AT_ONCE: Final = 10
"""Pages of upstreams that are looked at for one answer, which may be empty and still not be the last."""
META_UNAVAILABLE: Final = "dev.licet/unavailable"
"""In the `_meta` of a list: the upstreams whose part is missing, each with why."""
META_UPSTREAM: Final = "dev.licet/upstream"
"""In the `_meta` of a resource or a template, where all upstreams are behind one address: whose it is."""
_TOGETHER: Final = 16
"""Decisions that are made before others have their turn on the event loop."""

_log = logging.getLogger("licet.gateway")


class Place(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a list goes on: in which upstream's list, at which of its pages, behind how many items of that."""

    upstream: str
    cursor: str | None = None
    skip: int = 0


class Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place in one list: that of a method, at one address."""

    method: str
    only: str | None
    place: Place


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Cursor)


class Listing:
    """Answers lists, and finds the upstream that a request is for."""

    def __init__(self, gate: Gate, origins: Origins, calling: Calling, sight: Sight) -> None:
        self._gate = gate
        self._origins = origins
        self._calling = calling
        self._sight = sight
        self.router: Final = Router(gate, origins, calling, sight)
        self._missing: set[str] = set()

    async def answer(self, incoming: Incoming) -> JsonObject:
        """The result of a list. Raises `RpcError`."""
        kind = KINDS[incoming.method]
        names = self._sight.upstreams(incoming.acting, incoming.upstream, kind.reads)
        place = _start(incoming, names)
        gathered = Gathered(kind, names, incoming.upstream is not None)
        opened = await self._open(names[names.index(place.upstream) :], incoming) if place is not None else {}
        for _ in range(PAGES_AT_ONCE):
            if place is None or len(gathered.items) >= PAGE_ITEMS:
                break
            place = await self._add(gathered, place, opened[place.upstream], incoming)
        return self._answered(gathered, place, incoming)

    async def route(self, incoming: Incoming) -> tuple[str, JsonObject]:
        """The upstream of `resources/read`, `prompts/get` or `completion/complete`, and the parameters it takes. Raises `RpcError`."""
        return await self.router.route(incoming)

    async def _open(self, names: list[str], incoming: Incoming) -> dict[str, Connection | EndedAs]:
        """Connections to all of them, made at the same time: one that is slow to come is waited for once."""

        async def opened(name: str) -> Connection | EndedAs:
            try:
                return await self._origins.connect(name, self._calling.voyage(incoming, name))
            except EndedAs as error:
                return error

        return dict(zip(names, await asyncio.gather(*map(opened, names)), strict=True))

    async def _add(self, gathered: Gathered, place: Place, connection: Connection | EndedAs, incoming: Incoming) -> Place | None:
        """What is visible of one page of an upstream is added; where the list goes on."""
        try:
            page = await self._page(gathered, place, connection, incoming)
        except EndedAs as error:
            self._note_missing(gathered, place, error, incoming)
            return gathered.behind(place)
        self._missing.discard(place.upstream)
        taken = place.skip
        for item in page.items[place.skip :]:
            if len(gathered.items) >= PAGE_ITEMS or taken - place.skip >= PAGE_ITEMS:
                return Place(place.upstream, place.cursor, taken)
            taken += 1
            if await self._is_visible(gathered.kind, place.upstream, item, incoming):
                gathered.add(place.upstream, item)
            if taken % _TOGETHER == 0:
                await asyncio.sleep(0)
        gathered.rest = page.rest
        return gathered.behind(place) if page.following is None else Place(place.upstream, page.following)

    async def _page(self, gathered: Gathered, place: Place, connection: Connection | EndedAs, incoming: Incoming) -> Page:
        """A page of the upstream; an empty one where it has no such list. Raises `EndedAs`; `RpcError` for a cursor that it refuses."""
        if isinstance(connection, EndedAs):
            raise connection
        kind = gathered.kind
        if not gathered.alone and not kind.is_declared(connection):
            return Page([], None, {})
        try:
            return await read_page(connection, kind, place.cursor, self._calling.voyage(incoming, place.upstream))
        except Refused as refused:
            code = refused.error.get("code")
            if gathered.alone:
                raise RpcError(code if type(code) is int else INTERNAL_ERROR, str(refused), data=refused.error.get("data")) from refused
            if code == INVALID_PARAMS and place.cursor is not None:
                raise _bad_cursor() from refused
            if code == METHOD_NOT_FOUND:
                return Page([], None, {})
            raise

    async def _is_visible(self, kind: Kind, upstream: str, item: JsonObject, incoming: Incoming) -> bool:
        """Rule 1."""
        return kind is TEMPLATES or await self._sight.shows(incoming.acting, upstream, kind.reads, {kind.name: item[kind.name]})

    def _note_missing(self, gathered: Gathered, place: Place, error: EndedAs, incoming: Incoming) -> None:
        """Rule 3. The log is told once, until the upstream has been there again."""
        if gathered.alone:
            why = reason_told(error, str(error), incoming)
            raise RpcError(UNAVAILABLE, f"what `{place.upstream}` offers cannot be listed now: {why}") from error
        gathered.missing[place.upstream] = error.code
        if place.upstream not in self._missing:
            self._missing.add(place.upstream)
            _log.warning("licet: lists are without `%s`, which cannot be asked: %s", place.upstream, error)

    def _answered(self, gathered: Gathered, place: Place | None, incoming: Incoming) -> JsonObject:
        ttl_ms = 0 if gathered.missing else int(self._gate.settings.gateway.list_ttl_s * 1_000)
        own = gathered.rest.get("ttlMs")
        if type(own) is int and own >= 0:
            ttl_ms = min(ttl_ms, own)
        value: JsonObject = {**(gathered.rest if gathered.alone else {}), gathered.kind.member: gathered.items, "ttlMs": ttl_ms}
        if place is not None:
            value["nextCursor"] = _written(Cursor(incoming.method, incoming.upstream, place))
        return dressed(value, incoming, {META_UNAVAILABLE: gathered.missing} if gathered.missing else None)


class Gathered:
    """One answer while it is put together. `alone` says that the address names the upstream, and its own names are shown."""

    def __init__(self, kind: Kind, names: list[str], alone: bool) -> None:  # noqa: FBT001  one of two addresses
        self.kind: Final = kind
        self.alone: Final = alone
        self.items: Final[list[JsonObject]] = []
        self.missing: Final[dict[str, str]] = {}
        self.rest: JsonObject = {}
        self._names: Final = names

    def behind(self, place: Place) -> Place | None:
        """The start of the next upstream's list, if there is one."""
        following = self._names[self._names.index(place.upstream) + 1 :]
        return Place(following[0]) if following else None

    def add(self, upstream: str, item: JsonObject) -> None:
        """One more, as it is called at this address."""
        if self.alone:
            self.items.append(item)
        elif self.kind is PROMPTS:
            self.items.append(item | {"name": tool_name(upstream, item["name"])})
        else:
            own = item.get("_meta")
            self.items.append(item | {"_meta": {**(own if isinstance(own, dict) else {}), META_UPSTREAM: upstream}})


def _start(incoming: Incoming, names: list[str]) -> Place | None:
    """Where the list begins, or goes on. Raises `RpcError` for a cursor that is not one of this list (rule 2)."""
    unverified = incoming.params.get("cursor")
    if unverified is None:
        return Place(names[0]) if names else None
    if not isinstance(unverified, str) or len(unverified) > 3 * CURSOR_LIMIT:
        raise _bad_cursor()
    try:
        cursor = _decoder.decode(base64.b64decode(unverified + "=" * (-len(unverified) % 4), altchars=b"-_", validate=True))
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise _bad_cursor() from error
    if (cursor.method, cursor.only) != (incoming.method, incoming.upstream) or cursor.place.upstream not in names or cursor.place.skip < 0:
        raise _bad_cursor()
    return cursor.place


def _written(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(_encoder.encode(cursor)).decode("ascii").rstrip("=")


def _bad_cursor() -> RpcError:
    return RpcError(INVALID_PARAMS, "the `cursor` does not continue this list: list again from the start")
