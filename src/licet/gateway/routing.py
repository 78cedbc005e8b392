"""Which upstream a prompt, a resource or a completion belongs to, where all upstreams are behind one address.

A prompt is called `upstream__prompt`. A URI keeps its own form: it belongs to the upstream that lists it, or one of whose templates makes
such URIs.

Rules:

1. A URI that several upstreams offer belongs to none of them: an upstream that lists what is another's could otherwise answer for it. Who
   means one of them says so by its own address, `/mcp/{upstream}`.
2. Only upstreams count of which the caller may ever read something, and which would not be denied this URI; nobody learns of others. Where
   the gate would deny all of them, one is asked all the same, so that there is a denial and its record.
3. What upstreams list is remembered for those who share their connections, for as long as a client may keep a list; of one that cannot be
   asked now, what it listed last still counts.
4. A list is whole where its last page says that none follows, and nothing of it was left out; or where the upstream does not know the
   method. Whoever's list is not whole may have what is not found in it: nobody else is given that.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final, NoReturn

from msgspec import Struct
from msgspec.structs import replace

from licet.gate.gate import Gate
from licet.gate.steps import EndedAs
from licet.gateway.calling import Calling
from licet.gateway.connection import Connection, Refused
from licet.gateway.incoming import Incoming
from licet.gateway.link import Voyage
from licet.gateway.listening import unasked
from licet.gateway.messages import INVALID_PARAMS, METHOD_NOT_FOUND, UNAVAILABLE, RpcError, text_of
from licet.gateway.offers import ITEMS_LIMIT, RESOURCES, TEMPLATES, Kind, read_page
from licet.gateway.origins import Origins, Scope
from licet.gateway.sight import Sight
from licet.gateway.uri_templates import UriTemplate
from licet.model import JsonObject

READ: Final = "resources/read"
REMEMBERED_LIMIT: Final = 100_000
"""URIs and templates that are remembered in all."""
TEMPLATES_LIMIT: Final = 500
"""Of one upstream: each is held against a URI that is looked for."""
WORK_LIMIT: Final = 250_000
"""Steps that one URI may take with the templates of one upstream, which is about 0.1 s: nobody else is answered meanwhile."""
PAGES: Final = 100
REFRESH_S: Final = 2.0
"""What is not found in a list that is older is looked for in a new one, before it is said not to be there."""


class Index(Struct, frozen=True):
    """What one upstream lists, as it was read at `at` (monotonic seconds)."""

    uris: frozenset[str] = frozenset()
    templates: tuple[UriTemplate, ...] = ()
    at: float = float("-inf")
    is_whole: bool = True
    steps: int = 0

    def has(self, uri: str) -> bool:
        """Whether this is a URI of the upstream, or one of its templates itself. Where that takes too long it is not known, and False."""
        if uri in self.uris or any(template.text == uri for template in self.templates):
            return True
        return self._is_bounded(uri) and any(template.matches(uri) for template in self.templates)

    def knows(self, uri: str) -> bool:
        """Whether the whole list is here, and could be held against this URI."""
        return self.is_whole and self._is_bounded(uri)

    def _is_bounded(self, uri: str) -> bool:
        return self.steps * len(uri) <= WORK_LIMIT

    def __len__(self) -> int:
        return 1 + len(self.uris) + len(self.templates)


_EMPTY: Final = Index()


class Router:
    """Finds upstreams for requests."""

    def __init__(self, gate: Gate, origins: Origins, calling: Calling, sight: Sight) -> None:
        self._gate = gate
        self._origins = origins
        self._calling = calling
        self._sight = sight
        self._indexes: OrderedDict[tuple[str, Scope], Index] = OrderedDict()
        self._reading: dict[tuple[str, Scope], asyncio.Task[Index]] = {}

    async def route(self, incoming: Incoming) -> tuple[str, JsonObject]:
        """The upstream of `resources/read`, `prompts/get` or `completion/complete`, and the parameters it takes. Raises `RpcError`."""
        params = {name: value for name, value in incoming.params.items() if name != "_meta"}
        if incoming.upstream is not None:
            return incoming.upstream, params
        if incoming.method == READ:
            return await self.find(incoming, text_of(params, "uri", incoming.method)), params
        if incoming.method == "prompts/get":
            upstream, params["name"] = self._split(text_of(params, "name", incoming.method))
            return upstream, params
        upstream, params["ref"] = await self._completed(incoming, params.get("ref"))
        return upstream, params

    async def find(self, incoming: Incoming, uri: str, method: str = READ) -> str:
        """The upstream that this URI belongs to, for this caller. Raises `RpcError`."""
        names = self._sight.upstreams(incoming.acting, incoming.upstream, method)
        if incoming.upstream is not None or len(names) <= 1:
            return incoming.upstream or next(iter(names or self._gate.settings.upstreams), None) or _nowhere(uri)
        found, down = await self._candidates(incoming, names, uri, time.monotonic() - self._keeps_s)
        if not found:
            found, down = await self._candidates(incoming, names, uri, time.monotonic() - REFRESH_S)
        if method == READ and len(found) > 1:
            found = [name for name in found if await self._sight.shows(incoming.acting, name, READ, {"uri": uri})] or found[:1]
        if len(found) == 1 and not down:
            return found[0]
        raise _refused(uri, found, down, names)

    def forget(self, upstream: str, scope: Scope) -> None:
        """The upstream says that its lists have changed: they are read anew when they are needed."""
        key = (upstream, scope)
        if key in self._indexes:
            index = self._indexes[key]
            self._indexes[key] = replace(index, at=_EMPTY.at)

    @property
    def _keeps_s(self) -> float:
        return self._gate.settings.gateway.list_ttl_s

    def _split(self, name: str) -> tuple[str, str]:
        upstream, between, own = name.partition("__")
        if not between or upstream not in self._gate.settings.upstreams:
            raise RpcError(INVALID_PARAMS, f"there is no prompt `{name[:200]}` here: prompts are called `upstream__prompt`")
        return upstream, own

    async def _completed(self, incoming: Incoming, ref: object) -> tuple[str, JsonObject]:
        """The upstream of what is completed, and how it calls that itself."""
        if isinstance(ref, dict) and ref.get("type") == "ref/prompt":
            upstream, own = self._split(text_of(ref, "name", incoming.method))
            return upstream, ref | {"name": own}
        if isinstance(ref, dict) and ref.get("type") == "ref/resource":
            return await self.find(incoming, text_of(ref, "uri", incoming.method), incoming.method), ref
        raise RpcError(INVALID_PARAMS, "`ref` is a prompt (`ref/prompt`) or a resource (`ref/resource`)")

    async def _candidates(self, incoming: Incoming, names: list[str], uri: str, since: float) -> tuple[list[str], list[str]]:
        """Who offers the URI by lists read since then, and of whom that is not known: they could not be asked, or list too much."""
        indexes = await asyncio.gather(*[self._index(name, incoming, since) for name in names])
        found = [name for name, index in zip(names, indexes, strict=True) if index is not None and index.has(uri)]
        unknown = [name for name, index in zip(names, indexes, strict=True) if index is None or not index.knows(uri)]
        return found, [name for name in unknown if name not in found]

    async def _index(self, upstream: str, incoming: Incoming, since: float) -> Index | None:
        """What the upstream lists; None where it cannot be asked, and was not."""
        shared = self._gate.settings.upstreams[upstream].share != "caller"
        voyage = unasked(self._calling.voyage(incoming, upstream), shared=shared)
        key = (upstream, self._origins.scope(upstream, voyage))
        before = self._indexes.get(key)
        if before is not None and before.at >= since:
            self._indexes.move_to_end(key)
            return before
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(upstream, voyage))
            task.add_done_callback(lambda done: self._read_out(key, done))
        try:
            found = await asyncio.shield(task)  # others wait for it too
        except EndedAs:
            return before
        self._indexes[key] = found
        self._indexes.move_to_end(key)
        while len(self._indexes) > 1 and sum(map(len, self._indexes.values())) > REMEMBERED_LIMIT:
            self._indexes.popitem(last=False)
        return found

    def _read_out(self, key: tuple[str, Scope], task: asyncio.Task[Index]) -> None:
        self._reading.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, also where nobody waits for it any more

    async def _read(self, upstream: str, voyage: Voyage) -> Index:
        began = time.monotonic()
        connection = await self._origins.connect(upstream, voyage)
        if not RESOURCES.is_declared(connection):
            return Index(at=began)
        uris, has_uris = await _names(connection, RESOURCES, voyage, ITEMS_LIMIT)
        templates, has_templates = await _names(connection, TEMPLATES, voyage, TEMPLATES_LIMIT)
        read = tuple(map(UriTemplate, templates))
        return Index(frozenset(uris), read, began, has_uris and has_templates, sum(template.steps for template in read))


async def _names(connection: Connection, kind: Kind, voyage: Voyage, limit: int) -> tuple[list[str], bool]:
    """What the upstream lists, as far as it is looked at, and whether that is all (rule 4). Raises `EndedAs`."""
    found: list[str] = []
    cursor: str | None = None
    for _ in range(PAGES):
        try:
            page = await read_page(connection, kind, cursor, voyage)
        except Refused as refused:
            return found, cursor is None and refused.error.get("code") == METHOD_NOT_FOUND
        found += [item[kind.name] for item in page.items]
        cursor = page.following
        if page.is_cut or len(found) > limit:
            break
        if cursor is None:
            return found, True
    return found[:limit], False


def _nowhere(uri: str) -> NoReturn:
    raise RpcError(INVALID_PARAMS, f"no upstream here has `{uri[:200]}`", data={"uri": uri[:200]})


def _refused(uri: str, found: list[str], down: list[str], asked: list[str]) -> RpcError:
    """Why a URI belongs to nobody, and how to say whose it is."""
    shown, data = uri[:200], {"uri": uri[:200]}
    if found and down:
        message = f"`{shown}` is offered by {_listed(found)}, and it is not known whether {_listed(down)} offers it too"
        return RpcError(UNAVAILABLE, f"{message}: ask at `/mcp/{found[0]}`, or try again later", data=data)
    if found:
        where = " or ".join(f"`/mcp/{name}`" for name in found)
        return RpcError(INVALID_PARAMS, f"`{shown}` is offered by {_listed(found)}: say which by asking at {where}", data=data)
    if down:
        return RpcError(UNAVAILABLE, f"`{shown}` was not found, and {_listed(down)} cannot be asked now: try again later", data=data)
    where = " or ".join(f"`/mcp/{name}`" for name in asked)
    return RpcError(INVALID_PARAMS, f"`{shown}` is listed by none of {_listed(asked)}: ask at {where} whose it is", data=data)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
