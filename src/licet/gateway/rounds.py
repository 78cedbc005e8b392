"""Requests of modern clients that need the client in between: the work is parked, the client is told what is needed, its retry goes on.

A modern client cannot be asked anything while it waits. What needs it is answered with `input_required`; the same request, sent again with
the answers and the `requestState`, continues the very work that was begun: the call is governed once, however many rounds it takes
(2026-07-28, basic/patterns/mrtr).

Rules:

1. A state goes on with its work once. The second time it is refused, as is one of another caller, another request, or whose time is over.
2. Where a state's work is not here (this process was started anew, or another one took the retry): if nothing had been executed, the
   request is answered afresh, as though there were no state; if an upstream was executing the call, it is refused, since it may have
   happened, and who asks is told which call to look for.
3. A client that goes away while its request is answered has cancelled it. One that does not come back for what is parked has, when the
   state expires: the upstream is told, and the outcome recorded.
4. What is parked is bounded, for each caller and in all. Where there is no room a client is not asked.
5. What is asked of a client is what it declared (link.py); what it answers goes to whoever asked, and decides nothing here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from licet.gate.gate import Gate
from licet.gateway.eras import META_PROGRESS
from licet.gateway.incoming import Incoming
from licet.gateway.link import ASK_S, CannotAsk, ClientFacts, Link
from licet.gateway.messages import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from licet.gateway.request_state import RequestStates, State, StateRefused, key_of, principal_of, request_of, without_rounds
from licet.ledger.record import microseconds
from licet.model import CallId, JsonObject

Work = Callable[[Incoming], Awaitable[JsonObject]]
_Caller = tuple[str | None, str | None, str | None, str | None]

LIFETIME_S: Final = ASK_S + 30.0
"""How long a parked call waits for its client: until whoever asked has given up, and a little longer, so that it can say so."""
PARKED: Final = 1_000
"""In all: each of them holds a task, and most of them a request of an upstream."""
PARKED_EACH: Final = 32
"""For one caller, so that nobody takes the room of all."""
PARKED_PROGRAM: Final = 250
"""For one agent or service, for all of its users together: it may name as many as its credential has."""
ROUNDS: Final = 64
"""Of one request: who asks without end is stopped."""
TRIES: Final = 3
"""How often a client that leaves an answer out is asked for it again."""
SPENT: Final = 10_000
"""States that are remembered to have been used."""
CLOSING_S: Final = 10.0
"""How long the end of the gateway waits for what was parked."""
PROGRESS: Final = "notifications/progress"


class _Question:
    """Something that is asked of the client: its requests by the keys that the client sees, or none where it is only to come back."""

    def __init__(self, requests: Mapping[str, JsonObject], *, nothing_done: bool) -> None:
        self.requests = dict(requests)
        self.nothing_done = nothing_done
        self.answers: dict[str, JsonObject] = {}
        self.tries = 0
        self.is_told = False
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def missing(self) -> dict[str, JsonObject]:
        """What is not answered yet."""
        return {key: one for key, one in self.requests.items() if key not in self.answers}

    def take(self, responses: Mapping[str, JsonObject]) -> None:
        """The client is back, with these answers."""
        if self.answered.done() or not self.is_told:
            return
        self.answers.update({key: responses[key] for key in self.missing if key in responses})
        self.tries += 1
        if not self.missing:
            self.answered.set_result(None)
        elif self.tries >= TRIES:
            self.answered.set_exception(CannotAsk("the client was asked, and came back without an answer"))


class ModernLink:
    """A modern client behind one piece of work, over as many requests as that takes. `call` is the one that an upstream executes."""

    def __init__(self, incoming: Incoming, admit: Callable[[], None], wake: Callable[[], None]) -> None:
        self.call: CallId | None = None
        self._client = incoming.client
        self._attached: Incoming | None = incoming
        self._admit = admit
        self._wake = wake
        self._questions: list[_Question] = []

    @property
    def client(self) -> ClientFacts:
        """Who asks, by what its latest request says."""
        return self._client

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the client, if a request of its is there to be told on. Progress goes by the token of that request."""
        incoming = self._attached
        if incoming is None:
            return
        if method == PROGRESS:
            if META_PROGRESS not in incoming.meta:
                return
            params = {**params, META_PROGRESS: incoming.meta[META_PROGRESS]}
        await incoming.link.notify(method, params)

    async def ask(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Ask in the middle of a call that an upstream executes. Raises `CannotAsk`."""
        return await self._ask(requests, nothing_done=False)

    async def ask_before(self, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
        """Ask before anything was executed: where the work is lost meanwhile, nothing is (rule 2). Raises `CannotAsk`."""
        return await self._ask(requests, nothing_done=self.call is None)

    async def _ask(self, requests: Mapping[str, JsonObject], *, nothing_done: bool) -> Mapping[str, JsonObject]:
        for request in requests.values():
            if not self._client.takes(request):
                raise CannotAsk(f"the client has not said that it can be asked `{request.get('method')}`")
        self._admit()
        keys = self._keys(requests)
        question = _Question({keys[key]: one for key, one in requests.items()}, nothing_done=nothing_done)
        self._questions.append(question)
        self._wake()
        try:
            await question.answered
        finally:
            self._questions.remove(question)
        return {key: question.answers[shown] for key, shown in keys.items()}

    def _keys(self, requests: Mapping[str, JsonObject]) -> dict[str, str]:
        """The key that the client sees for each: another one where two who ask at once have chosen the same."""
        taken = {key for question in self._questions for key in question.requests}
        keys: dict[str, str] = {}
        for key in requests:
            shown, number = key, 1
            while shown in taken or (shown != key and shown in requests):
                shown, number = f"{key}-{number}", number + 1
            keys[key] = shown
            taken.add(shown)
        return keys

    # what `Rounds` does with it

    @property
    def open(self) -> list[_Question]:
        """What the client is to be asked now."""
        return [question for question in self._questions if not question.answered.done()]

    def attach(self, incoming: Incoming, responses: Mapping[str, JsonObject]) -> None:
        """The client is back with its answers; what is told it from now on goes to this request."""
        self._attached, self._client = incoming, incoming.client
        for question in self._questions:
            question.take(responses)

    def detach(self) -> None:
        """Nobody is there to be told anything."""
        self._attached = None

    def end(self) -> None:
        """The work is done, and asks for nothing more."""
        self._admit, self._wake = _refuse_ended, _do_nothing  # else a request and its work hold each other until the collector comes


class _Piece:
    """One request's work, over all its rounds. It has an `id` once it was parked."""

    def __init__(self, incoming: Incoming, admit: Callable[[_Piece], None]) -> None:
        self.incoming = incoming
        self.link = ModernLink(incoming, lambda: admit(self), self.wake)
        self.task: asyncio.Task[JsonObject]
        self.id = ""
        self.round = 0
        self.is_parked = False
        self.room_of: _Caller | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self._turn: asyncio.Future[None] | None = None

    def wake(self, *_: object) -> None:
        """The work has ended, or asks for something."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    async def turn(self) -> None:
        """Until the work has ended, or asks for something."""
        while not self.task.done() and not self.link.open:
            self._turn = asyncio.get_running_loop().create_future()
            await self._turn


class Rounds:
    """The parked work of one gateway's modern clients. On one event loop."""

    def __init__(
        self,
        gate: Gate,
        *,
        lifetime_s: float = LIFETIME_S,
        parked: int = PARKED,
        parked_each: int = PARKED_EACH,
        parked_program: int = PARKED_PROGRAM,
    ) -> None:
        self._gate = gate
        self._lifetime_s = lifetime_s
        self._parked = parked
        self._parked_each = parked_each
        self._parked_program = parked_program
        self._pieces: set[_Piece] = set()
        self._by_id: dict[str, _Piece] = {}
        self._rooms: Counter[_Caller] = Counter()
        self._spent: OrderedDict[str, None] = OrderedDict()
        self._states: RequestStates | None = None

    async def answer(self, incoming: Incoming, work: Work) -> JsonObject:
        """The `result` of a request of a modern client: that of `work`, or what is needed of the client first. Raises `RpcError`.

        `work` is given the request without what belongs to a round, and with a link that can ask. Cancelled, so is the work.
        """
        unverified = incoming.params.get("requestState")
        piece = None if unverified is None else self._resume(incoming, unverified)
        return await self._attached(self._begin(incoming, work) if piece is None else piece)

    async def close(self) -> None:
        """End all that is parked; each outcome is recorded."""
        pieces = list(self._pieces)
        for piece in pieces:
            self._end(piece)
        if pieces:
            # A tool that will not be cancelled is left behind: its intent is recovered as `unknown` when the lease is gone.
            await asyncio.wait([piece.task for piece in pieces], timeout=CLOSING_S)

    def _begin(self, incoming: Incoming, work: Work) -> _Piece:
        piece = _Piece(incoming, self._admit)
        params = without_rounds(incoming.params)
        if "_meta" in incoming.params:
            params["_meta"] = incoming.params["_meta"]
        piece.task = asyncio.ensure_future(work(replace(incoming, params=params, link=piece.link)))
        piece.task.add_done_callback(piece.wake)
        self._pieces.add(piece)
        return piece

    def _resume(self, incoming: Incoming, unverified: object) -> _Piece | None:
        """The work that this retry goes on with; None where it is to be begun afresh. Raises `RpcError` (rules 1 and 2)."""
        state = self._signed().read(unverified, incoming, microseconds(self._gate.now()))
        responses = _responses(incoming.params.get("inputResponses"))
        piece = self._by_id.get(state.work)
        if piece is None:
            self._refuse_lost(state)
            return None
        if not piece.is_parked or piece.round != state.round:
            raise _used()
        piece.is_parked = False  # INVARIANT: nothing awaits between the look above and this line, so that a state goes on once
        if piece.expiry is not None:
            piece.expiry.cancel()
        piece.link.attach(incoming, responses)
        return piece

    def _refuse_lost(self, state: State) -> None:
        """Raises `StateRefused` unless nothing had been executed, so that the request can be answered afresh (rule 2)."""
        if state.work in self._spent:
            raise _used()
        if not state.nothing_done:
            call = "the call" if state.call is None else f"call `{state.call}`"
            raise StateRefused(
                f"what this `requestState` belongs to is not here (the gateway was started anew, or has several processes): {call} waited "
                "for an answer, and its outcome is unknown here. It may have happened: look before calling again, without the state"
            )

    async def _attached(self, piece: _Piece) -> JsonObject:
        """Wait with the client: until the work is done, or needs it."""
        try:
            await piece.turn()
        except asyncio.CancelledError:
            self._end(piece)  # rule 3
            await asyncio.wait({piece.task})
            raise
        if not piece.task.done():
            return self._park(piece)
        self._forget(piece)
        piece.link.end()
        if piece.task.cancelled():
            raise RpcError(INTERNAL_ERROR, "the gateway ended this call: it is being stopped, or its time was over")
        return piece.task.result()

    def _park(self, piece: _Piece) -> JsonObject:
        """The client is told what is needed, and the work waits for it."""
        questions = piece.link.open
        if not piece.id:
            piece.id = secrets.token_urlsafe(16)
            self._by_id[piece.id] = piece
        piece.round += 1
        piece.is_parked = True
        piece.link.detach()
        state = State(
            work=piece.id,
            round=piece.round,
            nothing_done=all(question.nothing_done for question in questions),
            call=piece.link.call,
            principal=principal_of(piece.incoming.acting),
            request=request_of(piece.incoming),
            expires_at=microseconds(self._gate.now()) + int(self._lifetime_s * 1_000_000),
        )
        result: JsonObject = {"resultType": "input_required", "requestState": self._signed().write(state)}
        for question in questions:
            question.is_told = True
        if requests := {key: one for question in questions for key, one in question.missing.items()}:
            result["inputRequests"] = requests
        piece.expiry = asyncio.get_running_loop().call_later(self._lifetime_s, self._expire, piece)
        return result

    def _admit(self, piece: _Piece) -> None:
        """Room for one that asks (rule 4). Raises `CannotAsk`."""
        if piece.round >= ROUNDS:
            raise CannotAsk(f"the client was asked {ROUNDS} times for one request")
        if piece.room_of is not None:
            return
        acting = piece.incoming.acting  # by whatever credential: some have as many as they like, and speak for as many users
        caller: _Caller = (acting.tenant, acting.agent, acting.service, acting.user)
        of_program = sum(count for one, count in self._rooms.items() if one[:3] == caller[:3])
        if self._rooms.total() >= self._parked or self._rooms[caller] >= self._parked_each or of_program >= self._parked_program:
            raise CannotAsk("too many calls wait for an answer of their client already")
        piece.room_of = caller
        self._rooms[caller] += 1

    def _expire(self, piece: _Piece) -> None:
        if piece.is_parked:
            self._end(piece)

    def _end(self, piece: _Piece) -> None:
        """It is cancelled, and nobody goes on with it."""
        piece.link.detach()
        self._forget(piece)
        piece.task.add_done_callback(_retrieved)
        piece.task.cancel()

    def _forget(self, piece: _Piece) -> None:
        self._pieces.discard(piece)
        if piece.expiry is not None:
            piece.expiry.cancel()
        if piece.room_of is not None:
            self._rooms -= Counter([piece.room_of])
            piece.room_of = None
        if self._by_id.pop(piece.id, None) is not None:
            self._spent[piece.id] = None
            if len(self._spent) > SPENT:
                self._spent.popitem(last=False)

    def _signed(self) -> RequestStates:
        if self._states is None:
            self._states = RequestStates(key_of(self._gate.store))
        return self._states


def executing(link: Link, call: CallId | None) -> None:
    """From now on what is asked over this link is asked in the middle of this call."""
    if isinstance(link, ModernLink):
        link.call = call


async def ask_before(link: Link, requests: Mapping[str, JsonObject]) -> Mapping[str, JsonObject]:
    """Ask a client of either era before anything was executed. Raises `CannotAsk`."""
    return await (link.ask_before(requests) if isinstance(link, ModernLink) else link.ask(requests))


def _responses(unverified: object) -> dict[str, JsonObject]:
    """The client's answers. Raises `RpcError` for what is none, before the state that came with them is used up."""
    if unverified is None:
        return {}
    if not isinstance(unverified, dict) or not all(isinstance(one, dict) for one in unverified.values()):
        raise RpcError(INVALID_PARAMS, "`inputResponses` is an object with one result for each of the `inputRequests`")
    return unverified


def _refuse_ended() -> None:
    raise CannotAsk("the request has been answered already")


def _do_nothing() -> None:
    pass


def _used() -> StateRefused:
    return StateRefused("this `requestState` was used already, and its call has gone on: to make the call once more, leave the state out")


def _retrieved(task: asyncio.Task[JsonObject]) -> None:
    """What became of work whose client never came back is in the record."""
    if not task.cancelled():
        task.exception()
