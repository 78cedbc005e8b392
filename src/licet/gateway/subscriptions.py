"""What clients are told without asking each time: that a list has changed, or a resource.

Rules:

1. A client of either era is told what it has asked for (a session is told of lists unasked), whichever era its upstreams speak.
2. Who may not read a resource now is not told that it has changed: it is asked again whenever somebody is to be told. Who may never read
   anything of an upstream is told nothing of it; nor of its tools, who may never call one. Who asks to be told of what is denied to them
   gets the denial of a read, and that is recorded as any other.
3. What an upstream says over a connection is for those who share it.
4. That the tools have changed is also said when policies, the catalog or the directory have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from msgspec.structs import replace

from licet.gate.gate import Gate
from licet.gate.steps import EndedAs
from licet.gateway.answers import dressed, reason_told
from licet.gateway.calling import Calling
from licet.gateway.connection import Connection, Refused
from licet.gateway.eras import META_SUBSCRIPTION
from licet.gateway.followers import CHANGED, FILTER_OF, PROMPTS_CHANGED, TOOLS_CHANGED, UPDATED, Follower, Note, SessionFollower
from licet.gateway.incoming import Incoming
from licet.gateway.listening import LISTEN, LISTS, URIS, Listener, Needs, unasked
from licet.gateway.messages import INVALID_PARAMS, METHOD_NOT_FOUND, NOT_PERMITTED, UNAVAILABLE, RpcError, text_of
from licet.gateway.origins import Origins, Scope, caller_scope
from licet.gateway.routing import READ, Router
from licet.gateway.session_state import SessionState, check_level
from licet.gateway.sight import Sight
from licet.model import JsonObject

WATCHED_LIMIT: Final = 1_000
"""Resources that one session or stream may watch."""
STREAMS_LIMIT: Final = 100
"""Streams that one caller may have open."""
CLOSING_S: Final = 2.0
"""How long it is waited until every stream has said its last word."""
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_READS: Final = dict(zip(LISTS, ("tools/call", "prompts/get", READ), strict=True))
_FILTER: Final = frozenset(LISTS) | {URIS}


class Subscriptions:
    """Who wants to be told what, and what is listened to for them. On one event loop."""

    def __init__(self, gate: Gate, origins: Origins, calling: Calling, router: Router, sight: Sight) -> None:
        self._gate = gate
        self._origins = origins
        self._calling = calling
        self._router = router
        self._sight = sight
        self._streams: set[Follower] = set()
        self._sessions: WeakKeyDictionary[SessionState, SessionFollower] = WeakKeyDictionary()
        self._callers: dict[Scope, WeakSet[Follower]] = {}
        self._listeners: dict[tuple[str, Scope], Listener] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._in_force: object = None
        self._closing = False

    async def answer(self, incoming: Incoming) -> JsonObject:
        """The result of a request that subscribes. Raises `RpcError`."""
        if incoming.is_modern and incoming.method == LISTEN:
            return await self._listen(incoming)
        if not incoming.is_modern and incoming.method == "resources/subscribe":
            return await self._subscribe(incoming)
        if not incoming.is_modern and incoming.method == "resources/unsubscribe":
            return self._unsubscribe(incoming)
        if not incoming.is_modern and incoming.method == "logging/setLevel":
            incoming.session.log_level = check_level(incoming.params.get("level"))  # upstreams are told with the next request
            return {}
        raise RpcError(METHOD_NOT_FOUND, f"there is no method `{incoming.method}` here", http_status=404)

    def follow(self, incoming: Incoming) -> None:
        """From now on this client's session, if it has one, is told when lists change (rule 1)."""
        if not incoming.is_modern:
            self._begin()
            self._followed(incoming)

    def listed(self, incoming: Incoming) -> None:
        """As `follow`; and since this client looks at lists, upstreams that do not tell of them unasked are asked to."""
        if incoming.is_modern:
            return
        self._begin()
        follower = self._followed(incoming)
        for upstream in self._concerned(follower, follower.lists):
            if self._origins.find_era(upstream) == "modern":  # one of the legacy era tells unasked
                self._listener(upstream, incoming).keep()

    def told(self, connection: Connection, method: str, params: JsonObject) -> None:
        """An upstream has told something that belongs to no request."""
        upstream, scope = connection.upstream, self._origins.find_scope(connection)
        if scope is None:
            return
        if method == ACKNOWLEDGED:
            for listener in self._listeners.values():
                listener.acknowledged(connection, params)
        elif method == TOOLS_CHANGED:
            self._tell(Note(method, {}, upstream), self._sharing(upstream, scope))
        elif method in FILTER_OF:
            if method != PROMPTS_CHANGED:
                self._router.forget(upstream, scope)
            self._tell(Note(method, params, upstream), self._sharing(upstream, scope))
        elif method == UPDATED:
            self._tell(Note(method, params, upstream), self._sharing(upstream, scope))
        elif method == "notifications/elicitation/complete" and self._gate.settings.upstreams[upstream].share == "caller":
            self._tell(Note(method, params, upstream), [one for one in self._sharing(upstream, scope) if isinstance(one, SessionFollower)])

    def tools_changed(self, upstream: str | None = None) -> None:
        """The tools that callers are shown may have changed: those of this upstream, or of all."""
        self._tell(Note(TOOLS_CHANGED, {}, upstream), self._followers())

    async def close(self) -> None:
        """End every stream, gracefully."""
        self._closing = True
        streams = list(self._streams)
        for follower in streams:
            follower.wake()
        if streams:
            await asyncio.wait([asyncio.ensure_future(follower.left.wait()) for follower in streams], timeout=CLOSING_S)
        listeners, self._listeners = list(self._listeners.values()), {}
        for listener in listeners:
            await listener.close()
        telling = [follower.telling for follower in self._sessions.values() if follower.telling is not None]
        for task in telling:
            task.cancel()

    # streams of modern clients

    async def _listen(self, incoming: Incoming) -> JsonObject:
        """The end of the stream: the client is told what it may expect, then what happens, until it leaves or the gateway ends."""
        lists, uris = _wanted(incoming.params)
        own = self._callers.get(caller_scope(incoming.acting), ())
        if self._closing or sum(one in self._streams for one in own) >= STREAMS_LIMIT:
            raise RpcError(UNAVAILABLE, "there are too many subscriptions: end some, or try again later", http_status=503)
        self._begin()
        follower = Follower(incoming, lists, {})
        named: JsonObject = {} if incoming.id is None else {META_SUBSCRIPTION: incoming.id}
        self._streams.add(follower)
        self._note_caller(follower)
        try:
            honoured = await self._honour(incoming, follower, uris)
            await incoming.link.notify(ACKNOWLEDGED, {"notifications": honoured, "_meta": named})
            while not self._closing:
                await follower.wait()
                while (note := follower.take()) is not None:
                    await asyncio.sleep(0)  # each note is a decision: others have their turn
                    if await self._may(follower, note):
                        meta = note.params.get("_meta")
                        meta = meta if isinstance(meta, dict) else {}
                        await incoming.link.notify(note.method, {**note.params, "_meta": meta | named})
        finally:
            self._streams.discard(follower)
            follower.left.set()
            self._renew_soon(follower)
        # The page on cancellation wants `notifications/cancelled` here, and that on subscriptions a result, which says that this end is no
        # fault. Of what was cancelled no result may follow, and the official Python client takes the one for a loss, the other for an end.
        return dressed({}, incoming, named)

    async def _honour(self, incoming: Incoming, follower: Follower, uris: list[str]) -> JsonObject:
        """What of it the client will be told."""
        follower.lists = frozenset(
            [name for name in follower.lists if name == LISTS[0] or self._sight.upstreams(incoming.acting, incoming.upstream, _READS[name])]
        )
        for uri in uris:
            await asyncio.sleep(0)  # each is a decision: others have their turn
            with suppress(RpcError):
                upstream = await self._router.find(incoming, uri)
                await self._check(incoming, upstream, uri)
                follower.watched[uri] = upstream
        upstreams = {*self._concerned(follower, follower.lists - {LISTS[0]}), *follower.watched.values()}
        await asyncio.gather(*[self._begin_listening(upstream, incoming, follower) for upstream in sorted(upstreams)])
        honoured: JsonObject = {name: True for name in LISTS if name in follower.lists}
        watched = [uri for uri in uris if uri in follower.watched]
        return honoured | ({URIS: watched} if watched else {})

    async def _begin_listening(self, upstream: str, incoming: Incoming, follower: Follower) -> None:
        """The upstream is listened to: one that is down or silent, once it answers. What it does not tell of is not watched."""
        listener = self._listener(upstream, incoming)
        with suppress(EndedAs):
            await listener.begin()
        for uri in [uri for uri, whose in follower.watched.items() if whose == upstream]:
            if isinstance(listener.find_problem(uri), Refused):
                del follower.watched[uri]
        listener.keep()

    async def _check(self, incoming: Incoming, upstream: str, uri: str) -> None:
        """Rule 2: what could not be read now is not watched. Raises `RpcError`."""
        if not await self._sight.shows(incoming.acting, upstream, READ, {"uri": uri}):
            read = replace(incoming, method=READ, params={"uri": uri})
            await self._calling.call_method(read, upstream, {"uri": uri})  # it is denied there, where that is recorded
        if not await self._sight.allows(incoming.acting, upstream, READ, {"uri": uri}):
            raise RpcError(NOT_PERMITTED, f"`{uri[:200]}` cannot be read by this caller now, so that nothing is told of it either")

    # sessions of legacy clients

    async def _subscribe(self, incoming: Incoming) -> JsonObject:
        uri = text_of(incoming.params, "uri", incoming.method)
        upstream = await self._router.find(incoming, uri)
        await self._check(incoming, upstream, uri)
        self._begin()
        watched = self._followed(incoming).watched
        if uri not in watched and len(watched) >= WATCHED_LIMIT:
            raise RpcError(INVALID_PARAMS, f"a session watches at most {WATCHED_LIMIT} resources: unsubscribe from some")
        watched[uri] = upstream
        listener = self._listener(upstream, incoming)
        try:
            await listener.renew()
            problem = listener.find_problem(uri)
            if problem is not None:
                raise problem
        except EndedAs as error:
            watched.pop(uri, None)
            raise _cannot_watch(upstream, error, incoming) from error
        finally:
            listener.keep()  # whatever came of it: what was begun for nobody else ends
        return {}

    def _unsubscribe(self, incoming: Incoming) -> JsonObject:
        upstream = incoming.session.watched.pop(text_of(incoming.params, "uri", incoming.method), None)
        if upstream is not None:
            self._listener(upstream, incoming).keep()
        return {}

    def _followed(self, incoming: Incoming) -> SessionFollower:
        follower = self._sessions.get(incoming.session)
        if follower is None:
            follower = self._sessions[incoming.session] = SessionFollower(incoming, frozenset(LISTS))
            self._note_caller(follower)
        follower.acting, follower.client = incoming.acting, incoming.client
        return follower

    # whom to tell

    def _note_caller(self, follower: Follower) -> None:
        scope = caller_scope(follower.acting)
        if scope not in self._callers:
            self._callers = {other: followers for other, followers in self._callers.items() if followers}
            self._callers[scope] = WeakSet()
        self._callers[scope].add(follower)

    def _followers(self) -> Iterable[Follower]:
        return [*self._streams, *self._sessions.values()]

    def _sharing(self, upstream: str, scope: Scope) -> list[Follower]:
        """Rule 3. Where nobody else shares, nobody else is looked at: an upstream may tell a lot."""
        alone = self._gate.settings.upstreams[upstream].share == "caller"
        followers = self._callers.get(scope, ()) if alone else self._followers()
        return [one for one in followers if one.follows(upstream) and self._origins.scope(upstream, one.acting) == scope]

    def _tell(self, note: Note, followers: Iterable[Follower]) -> None:
        """Whoever of these wants to know it is told in their turn."""
        name, uri = FILTER_OF.get(note.method), note.uri
        for follower in followers:
            if not follower.is_there or (note.upstream is not None and not follower.follows(note.upstream)):
                continue
            if name is not None:
                wanted = name in follower.lists and self._concerns(follower, name, note.upstream)
            else:
                wanted = uri is None or (note.upstream is not None and follower.watches(note.upstream, uri))
            if wanted:
                follower.add(note)
                if isinstance(follower, SessionFollower) and (follower.telling is None or follower.telling.done()):
                    follower.telling = asyncio.create_task(self._tell_session(follower))

    async def _tell_session(self, follower: SessionFollower) -> None:
        while (note := follower.take()) is not None:
            await asyncio.sleep(0)  # as above
            if await self._may(follower, note):
                follower.tell(note)

    async def _may(self, follower: Follower, note: Note) -> bool:
        """Rule 2."""
        if note.uri is None or note.upstream is None:
            return note.method != UPDATED
        return await self._sight.allows(follower.acting, note.upstream, READ, {"uri": note.uri})

    def _concerns(self, follower: Follower, name: str, upstream: str | None) -> bool:
        if upstream is None:
            return True
        if name == LISTS[0]:
            return self._sight.uses(follower.acting, upstream)
        return self._sight.may_ever(follower.acting, upstream, _READS[name])

    def _concerned(self, follower: Follower, lists: Iterable[str]) -> set[str]:
        """The upstreams whose lists this follower may ever see anything of."""
        return {
            upstream
            for name in lists
            for upstream in ((follower.only,) if follower.only is not None else self._gate.settings.upstreams)
            if self._concerns(follower, name, upstream)
        }

    # what is listened to

    def _listener(self, upstream: str, incoming: Incoming) -> Listener:
        key = (upstream, self._origins.scope(upstream, incoming.acting))
        if key not in self._listeners:
            self._listeners = {other: listener for other, listener in self._listeners.items() if not listener.is_over}
            shared = self._gate.settings.upstreams[upstream].share != "caller"
            voyage = unasked(self._calling.voyage(incoming, upstream), shared=shared)
            self._listeners[key] = Listener(
                upstream, voyage, self._origins, lambda: self._needs(*key), lambda needs: self._missed(*key, needs)
            )
        return self._listeners[key]

    def _needs(self, upstream: str, scope: Scope) -> Needs:
        """What those who share a connection want to be told by this upstream."""
        uris: set[str] = set()
        lists: set[str] = set()
        held = False
        for follower in self._sharing(upstream, scope):
            if follower.is_there:
                uris |= {uri for uri, whose in follower.watched.items() if whose == upstream}
                wanted = [name for name in follower.lists if self._concerns(follower, name, upstream)]
                lists |= set(wanted)
                held = held or (follower.is_held and wanted != [] and wanted != [LISTS[0]])
        return Needs(uris=frozenset(uris), lists=frozenset(lists), held=held)

    def _missed(self, upstream: str, scope: Scope, needs: Needs) -> None:
        """Nobody has seen what happened meanwhile: whoever asks now sees what is."""
        self._router.forget(upstream, scope)
        sharing = self._sharing(upstream, scope)
        for method in CHANGED:
            self._tell(Note(method, {}, upstream), sharing)
        for uri in sorted(needs.uris):
            self._tell(Note(UPDATED, {"uri": uri}, upstream), sharing)

    def _renew_soon(self, follower: Follower) -> None:
        """What only this one needed is not listened to any more."""
        for (upstream, scope), listener in self._listeners.items():
            if self._origins.scope(upstream, follower.acting) == scope:
                listener.keep()

    # what is in force

    def _begin(self) -> None:
        """From now on it is seen when what is in force changes (rule 4)."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._in_force = self._digest()
            self._gate.on_change(self._changed_somewhere)
        self._loop = loop

    def _changed_somewhere(self) -> None:
        """Told in the thread that has put something into force."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended, and every client with it
            self._loop.call_soon_threadsafe(self._changed)

    def _changed(self) -> None:
        digest = self._digest()
        if digest != self._in_force:
            self._in_force = digest
            for method in CHANGED:
                self._tell(Note(method), self._followers())
            for listener in self._listeners.values():
                listener.keep()

    def _digest(self) -> object:
        return self._gate.scene.digest


def _wanted(params: JsonObject) -> tuple[frozenset[str], list[str]]:
    """The lists and the resources of a filter. Raises `RpcError`. What is not known here is not honoured."""
    unverified: Any = params.get("notifications")
    uris = unverified.get(URIS, []) if isinstance(unverified, dict) else None
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise RpcError(INVALID_PARAMS, f"`{LISTEN}` needs `notifications`: an object whose `{URIS}` are a list of URIs")
    if len(uris) > WATCHED_LIMIT:
        raise RpcError(INVALID_PARAMS, f"a subscription watches at most {WATCHED_LIMIT} resources")
    return frozenset([name for name in LISTS if unverified.get(name) is True]), list(dict.fromkeys(uris))


def _cannot_watch(upstream: str, error: EndedAs, incoming: Incoming) -> RpcError:
    if isinstance(error, Refused):
        code = error.error.get("code")
        return RpcError(code if type(code) is int else INVALID_PARAMS, str(error), data=error.error.get("data"))
    return RpcError(UNAVAILABLE, f"`{upstream}` cannot be asked to tell of it: {reason_told(error, str(error), incoming)}")
