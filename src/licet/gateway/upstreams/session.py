"""One session with an upstream, of either era, over whichever transport.

Rules:

1. Ids and progress tokens are the gateway's own, and never used twice. What an upstream says of an id or token that is not open is counted
   and dropped; of several answers the first counts.
2. What an upstream asks of the client goes to the client whose request it belongs to, and where that cannot be told (several callers have
   requests open on one session) to nobody.
3. How a request ends says whether the upstream can have done anything: not executed where no byte of it was sent, unknown where it was
   and no answer can come any more, `timeout` where none came in time, `error` where the answer is an error.
4. Whoever stops waiting says so to the upstream.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from licet.gate.steps import EndedAs
from licet.gateway.connection import Connection, Garbage, NotSeen, NotSent, Refused, TooLong
from licet.gateway.eras import META_LOG_LEVEL, META_PROGRESS, META_SUBSCRIPTION, PREFIX, Era
from licet.gateway.link import Voyage
from licet.gateway.messages import HEADER_MISMATCH, UNSUPPORTED_VERSION, MessageId, is_id, notification, request
from licet.gateway.upstreams.asking import Asking
from licet.gateway.upstreams.handshake import OWN_INFO, Agreed, Declared, Protocol, hop_meta, is_sound_info, shake_hands
from licet.gateway.upstreams.opened import Clock, Opened
from licet.gateway.upstreams.transport import SessionLost, Transport, TransportMaker
from licet.model import JsonObject

LISTEN: Final = "subscriptions/listen"
LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
PROBE_S: Final = 5.0
"""How long an upstream is asked in the modern way before it is greeted in the other, too."""
_OTHER_ERA: Final = frozenset({UNSUPPORTED_VERSION, HEADER_MISMATCH})
_SAID_S: Final = 5.0
"""How long a notification may take to be sent. Nobody waits for it."""
_LEVEL_S: Final = 5.0
_log = logging.getLogger("licet.gateway")

Told: TypeAlias = Callable[[Connection, str, JsonObject], None]


class UpstreamSession:
    """A `Connection`, and the receiver of its transport. `told` is told of notifications that belong to no request."""

    def __init__(self, upstream: str, make: TransportMaker, *, declared: Declared, told: Told) -> None:
        self._upstream = upstream
        self._declared = declared
        self._told = told
        self._agreed: Agreed | None = None
        self._numbers: Iterator[int] = itertools.count(1)
        self._open: dict[MessageId, Opened] = {}
        self._fault: EndedAs | None = None
        self._level: str | None = None
        self._subscribed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing = asyncio.Lock()
        self._handshakes = 0
        self._protocol: Protocol = "auto"
        self._connect_s = math.inf
        self.is_of_other_era = False
        """Whether the upstream answers as one of the other era would: it is another than it was at the handshake."""
        self._transport: Transport = make(self)
        self._asking = Asking(self._transport, declared.capabilities)
        self.strays = 0
        """Messages that belonged to nothing."""
        self.last_used = asyncio.get_running_loop().time()

    @property
    def upstream(self) -> str:
        """The upstream's name."""
        return self._upstream

    @property
    def era(self) -> Era:
        """Which era it speaks."""
        return self._spoken.era

    @property
    def capabilities(self) -> JsonObject:
        """What it says that it can."""
        return self._spoken.capabilities

    @property
    def info(self) -> JsonObject:
        """What it calls itself, whole."""
        return self._spoken.info

    @property
    def instructions(self) -> str | None:
        """What it tells models about itself."""
        return self._spoken.instructions

    @property
    def handshakes(self) -> int:
        """As `Connection.handshakes`."""
        return self._handshakes

    @property
    def last_words(self) -> tuple[str, ...]:
        """As `Transport.last_words`."""
        return self._transport.last_words

    @property
    def is_over(self) -> bool:
        """Whether nothing more should be asked."""
        return self._fault is not None or self.is_of_other_era

    @property
    def is_idle(self) -> bool:
        """Whether nobody would miss it: no request is open, and nobody waits to be told of a resource."""
        return not self._open and not self._subscribed

    @property
    def _spoken(self) -> Agreed:
        assert self._agreed is not None, "a session is handed out once its handshake is done"
        return self._agreed

    async def open(self, *, protocol: Protocol, known: Era | None, timeout_s: float, first: Era = "modern") -> None:
        """Ready for requests; asked in the way of the era `first` where none is known. Raises `NotSent`; whoever gives up closes it too."""
        self._protocol, self._connect_s = protocol, timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._transport.start()
                await self._shake_hands(known, first)
        except TimeoutError as error:
            raise NotSent(f"`{self._upstream}` did not answer its handshake within {timeout_s:g} s") from error

    async def _shake_hands(self, known: Era | None, first: Era = "modern") -> None:
        probe_s = min(PROBE_S, self._connect_s / 3)
        agreed = await shake_hands(
            self._call, self._declared, upstream=self._upstream, protocol=self._protocol, known=known, probe_s=probe_s, first=first
        )
        if agreed.era == "legacy":
            await self._send_notification("notifications/initialized", {})
        self._agreed, self._level = agreed, None
        self._transport.agreed(agreed.era, agreed.version)
        self._handshakes += 1

    async def request(self, method: str, params: Mapping[str, Any], voyage: Voyage, *, timeout_s: float) -> JsonObject:
        """As `Connection.request`. `math.inf` seconds are without end. Notifications of progress come without their token."""
        if voyage.log_level is not None and self.era == "legacy":
            await self._ask_for_level(voyage.log_level)
        handshakes = self._handshakes
        try:
            result = await self._exchange(method, params, voyage, timeout_s)
        except SessionLost:
            await self._renew(handshakes)
            result = await self._exchange(method, params, voyage, timeout_s)
        self._note_subscription(method, params)
        return result

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """As `Connection.notify`."""
        if self._fault is None:
            self._spawn(self._send_notification(method, params))

    async def close(self) -> None:
        """Nothing is left of it."""
        self.ended(NotSeen(f"the session with `{self._upstream}` was ended"))
        for task in list(self._tasks):
            task.cancel()
        await self._asking.close()
        await self._transport.close()

    # requests

    async def _call(self, method: str, params: JsonObject) -> JsonObject:
        """A request of the gateway's own, for as long as it takes."""
        return await self._wait(Opened(next(self._numbers), method, params, None), math.inf, {})

    async def _exchange(self, method: str, params: Mapping[str, Any], voyage: Voyage, timeout_s: float) -> JsonObject:
        number = next(self._numbers)
        return await self._wait(Opened(number, method, self._dressed(number, params, voyage), voyage), timeout_s, voyage.headers)

    async def _wait(self, opened: Opened, timeout_s: float, headers: Mapping[str, str]) -> JsonObject:
        """Its result, or how it ended (rule 3)."""
        if self._fault is not None:
            raise self._unsent(self._fault)
        self._open[opened.id] = opened
        timeout = asyncio.timeout(None if timeout_s == math.inf else timeout_s)
        opened.clock = Clock(timeout)
        try:
            async with timeout:
                answer = await self._answer(opened, headers)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            self._give_up(opened, "no answer in time")
            raise _late(self._upstream, opened, timeout_s) from error
        except asyncio.CancelledError:
            self._give_up(opened, "nobody waits for the answer")
            raise
        else:
            await opened.finish()
            return self._result(answer)
        finally:
            del self._open[opened.id]
            opened.drop()
            self.last_used = asyncio.get_running_loop().time()

    async def _answer(self, opened: Opened, headers: Mapping[str, str]) -> JsonObject:
        await self._transport.send(request(opened.id, opened.method, opened.params), request=opened, headers=headers)
        if self._transport.streams and not opened.answered:
            raise NotSeen(f"`{self._upstream}` ended its stream without an answer")
        return await opened.answer

    def _result(self, answer: JsonObject) -> JsonObject:
        """The result of an answer. Raises `Refused` for an error, and `Garbage` for what is neither."""
        result, error = answer.get("result"), answer.get("error")
        if "error" not in answer and isinstance(result, dict):
            return result
        if "result" not in answer and isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str):
            self.is_of_other_era = self._agreed is not None and error["code"] in _OTHER_ERA
            raise Refused(error)
        raise Garbage("upstream_not_understood", f"`{self._upstream}` answered with neither a result nor an error")

    def _dressed(self, number: int, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        """The parameters, with the `_meta` of this hop."""
        meta = {name: value for name, value in voyage.meta.items() if name != META_PROGRESS}
        if self.era == "modern":
            client = voyage.link.client
            info = client.info if is_sound_info(client.info) else OWN_INFO
            meta |= hop_meta(self._spoken.version, Declared(capabilities=client.capabilities, info=info))
            if voyage.log_level is not None:
                meta[META_LOG_LEVEL] = voyage.log_level
        else:
            meta = {name: value for name, value in meta.items() if not name.startswith(PREFIX)}
        if voyage.wants_progress:
            meta[META_PROGRESS] = number
        rest = {name: value for name, value in params.items() if name != "_meta"}
        return rest | {"_meta": meta} if meta else rest

    def _give_up(self, opened: Opened, reason: str) -> None:
        """Rule 4. Over HTTP, in the modern era, the stream that was closed has said it."""
        told_by_closing = self._transport.streams and (self._agreed is None or self.era == "modern")
        if opened.sent and not told_by_closing and opened.method != "initialize" and self._fault is None:
            self._spawn(self._send_notification("notifications/cancelled", {"requestId": opened.id, "reason": reason}))

    async def _send_notification(self, method: str, params: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(_SAID_S):
                await self._transport.send(notification(method, params), request=None, headers={})
        except (EndedAs, TimeoutError):
            _log.debug("`%s` could not be told to upstream `%s`", method, self._upstream)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self, handshakes: int) -> None:
        """Another handshake, where nobody else has done it since. Where it fails, so has the session. Raises `NotSent`."""
        async with self._renewing:
            if self._handshakes != handshakes:
                return
            self._subscribed.clear()
            try:
                async with asyncio.timeout(self._connect_s):
                    await self._shake_hands(self.era)
            except (NotSent, TimeoutError) as error:
                self.ended(NotSeen(f"the session with `{self._upstream}` is lost"))
                raise NotSent(f"`{self._upstream}` has lost the session, and opens no other: {error or 'no answer in time'}") from error

    async def _ask_for_level(self, level: str) -> None:
        """A legacy session sends logs of the lowest level that anybody wants; what is below a client's own is not passed on to it."""
        if level not in LEVELS or not isinstance(self.capabilities.get("logging"), dict):
            return
        if self._level is None or LEVELS.index(level) < LEVELS.index(self._level):
            self._level = level
            opened = Opened(next(self._numbers), "logging/setLevel", {"level": level}, None)
            try:
                await self._wait(opened, _LEVEL_S, {})
            except EndedAs:
                _log.debug("upstream `%s` takes no log level", self._upstream)

    def _note_subscription(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "resources/subscribe":
            self._subscribed.add(str(params.get("uri")))
        elif method == "resources/unsubscribe":
            self._subscribed.discard(str(params.get("uri")))

    # what comes

    def receive(self, message: JsonObject, about: MessageId | None) -> None:
        """As `Receiver.receive`."""
        method, number = message.get("method"), message.get("id")
        if isinstance(method, str):
            params = message.get("params")
            known = params if isinstance(params, dict) else {}
            if "id" not in message:
                self._take_notification(method, known, about)
            elif is_id(number):
                self._asking.take(number, method, known, self._whose(about), era=self._agreed.era if self._agreed else "legacy")
            else:
                self.strays += 1
        elif is_id(number) and (opened := self._open.get(number)) is not None and not opened.answered:
            opened.answer.set_result(message)
        else:
            self.strays += 1

    def failed(self, about: MessageId | None, fault: EndedAs) -> None:
        """As `Receiver.failed`. Where it cannot be told whose answer it was, and only one is open, it was that one's."""
        waiting = [one for one in self._open.values() if one.sent and not one.answered]
        if about is None and len(waiting) == 1:
            about = waiting[0].id
        if about is not None and (opened := self._open.get(about)) is not None and not opened.answered:
            opened.answer.set_exception(fault)
        else:
            self.strays += 1

    def ended(self, fault: EndedAs) -> None:
        """As `Receiver.ended`."""
        if self._fault is None:
            self._fault = fault
        for opened in self._open.values():
            if not opened.answered:
                opened.answer.set_exception(fault if opened.sent else self._unsent(fault))

    def _unsent(self, fault: EndedAs) -> NotSent:
        return NotSent(f"the session with `{self._upstream}` has ended: {fault}")

    def _take_notification(self, method: str, params: JsonObject, about: MessageId | None) -> None:
        if method == "notifications/progress":
            self._take_progress(params)
        elif method == "notifications/message":
            self._take_log(params, about)
        elif method == "notifications/cancelled":
            self._take_cancellation(params.get("requestId"))
        else:
            self._tell(method, _without_meta(params, META_SUBSCRIPTION))

    def _tell(self, method: str, params: JsonObject) -> None:
        try:
            self._told(self, method, params)
        except Exception:  # noqa: BLE001  whoever listens must not end the session
            _log.exception("what upstream `%s` told could not be passed on", self._upstream)

    def _take_progress(self, params: JsonObject) -> None:
        token = params.get(META_PROGRESS)
        opened = self._open.get(token) if is_id(token) else None
        if opened is None or opened.voyage is None or not opened.voyage.wants_progress:
            self.strays += 1
            return
        opened.tell("notifications/progress", {name: value for name, value in params.items() if name != META_PROGRESS})

    def _take_log(self, params: JsonObject, about: MessageId | None) -> None:
        """To the client that it belongs to, where it has not asked for less; else to nobody: it may speak of another caller's request."""
        opened = self._whose(about)
        if opened is None or opened.voyage is None:
            self.strays += 1
            return
        level, wanted = params.get("level"), opened.voyage.log_level
        if wanted is None and opened.voyage.link.client.era == "modern":
            return
        if wanted in LEVELS and level in LEVELS and LEVELS.index(level) < LEVELS.index(wanted):
            return
        opened.tell("notifications/message", params)

    def _take_cancellation(self, number: object) -> None:
        if not is_id(number):
            self.strays += 1
        elif (opened := self._open.get(number)) is not None and opened.method == LISTEN and not opened.answered:
            opened.answer.set_exception(NotSeen(f"`{self._upstream}` has ended the subscription"))
        else:
            self._asking.withdraw(number)

    def _whose(self, about: MessageId | None) -> Opened | None:
        """The request that a message belongs to: the one of its stream; without streams the only one, or the latest of one caller's."""
        if about is not None:
            return self._open.get(about)
        found = [one for one in self._open.values() if one.voyage is not None and one.sent and not one.answered and one.method != LISTEN]
        return found[-1] if found and len({_caller(one.voyage) for one in found if one.voyage is not None}) == 1 else None


def _caller(voyage: Voyage) -> tuple[str | None, ...]:
    return (voyage.tenant, voyage.agent, voyage.service, voyage.user)


def _late(upstream: str, opened: Opened, timeout_s: float) -> EndedAs:
    if not opened.sent:
        return NotSent(f"`{upstream}` took nothing in for {timeout_s:g} s, and was never sent the request")
    return TooLong(f"`{upstream}` did not answer within {timeout_s:g} s; what it has done, or still does, is not known")


def _without_meta(params: JsonObject, name: str) -> JsonObject:
    meta = params.get("_meta")
    if not isinstance(meta, dict) or name not in meta:
        return params
    left = {one: value for one, value in meta.items() if one != name}
    rest = {one: value for one, value in params.items() if one != "_meta"}
    return rest | {"_meta": left} if left else rest
