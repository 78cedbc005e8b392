"""What is done about a call that is held: who is asked over the client's own link, how long it is kept waiting, and what it is told.

Rules:

1. Nothing here decides. What a client or its user does is followed by the same call, made again: the pipeline finds the request and the
   votes, and decides afresh.
2. An approval is never given through a client: the caller's side would approve itself. A client is told that people must decide, and where.
3. A confirmation can be: by elicitation of the client, where the call is made for a user whom the credential itself names
   (`Acting.is_named`). It is that user's vote, on exactly what was shown, and its record says through what it came (`channel`). A no is a
   rejection. An answer that is neither is no vote. What it proves is that the client said so (docs/approvals.md).
4. What the client is asked here comes before anything was executed: where its work is lost between two rounds, the call is made afresh.
5. Nothing runs while nobody is there to be told of it: between two rounds no call is made.

What a client is told, by what it can do:

    modern                    `input_required` with nothing but a `requestState`. Its retry waits a share of `gateway.hold_s`, is told the
                              same again, and after `hold_s` in all the text of a tool error.
    legacy, with elicitation  one form, which says what is held and where to decide; accepted, the request waits, up to `hold_s`.
    legacy, without           the text at once: calling again with the same arguments resumes.

How clients take an `input_required` without `inputRequests`: the official Python SDK (mcp 2.3) sleeps 50, 100, 200 and then 250 ms before
each retry, the TypeScript one (2.4) 250 ms, and both give up with an error after ten rounds, questions to the user included; neither tells
its user anything meanwhile. A request times out after 60 s in the TypeScript client unless the program says otherwise. Hence `WAITS`: six
waits, of 50 s each with the default `hold_s`, leave four rounds for questions. A client that drives the rounds itself can wait between them
as long as a state lives (rounds.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

from licet.approvals.viewed import Viewed, stand
from licet.errors import LicetError
from licet.gate.gate import Gate
from licet.gate.results import Held, Result
from licet.gate.telling import ended, held_for
from licet.gate.writable import whoever_runs_this
from licet.gateway import wording
from licet.gateway.incoming import Incoming
from licet.gateway.link import CannotAsk
from licet.gateway.rounds import PROGRESS, ask_before
from licet.model import JsonObject, RequestId, RequestState

Again = Callable[[float], Awaitable[Result]]
"""Makes the same call once more, and waits for people up to so many seconds if it is held."""
Settled = tuple[Result, str | None]

WAITS: Final = 6
"""Rounds in which a modern client waits, as the docstring says."""
TELL_S: Final = 10.0
"""How often whoever wants progress is told that people have not decided yet: well within the timeouts of clients."""
_OVER: Final = frozenset({RequestState.EXPIRED, RequestState.WITHDRAWN, RequestState.CONSUMED})
"""What can be waited for no more. One that was rejected is found by the call itself, and one that was superseded has a successor."""


class Holds:
    """Settles held calls of clients."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def settle(self, held: Held, incoming: Incoming, again: Again) -> Settled:
        """The end of it, as far as this request can wait for one, and what a client is told of a call that still waits."""
        return await _Settling(self._gate, incoming, again).settle(held)


class _Settling:
    """One held call of one client."""

    def __init__(self, gate: Gate, incoming: Incoming, again: Again) -> None:
        self._gate = gate
        self._incoming = incoming
        self._again = again
        self._hold_s = gate.settings.gateway.hold_s

    async def settle(self, held: Held) -> Settled:
        viewed = await self._look(held)
        if held.request is None or viewed is None or self._hold_s <= 0:
            return self._told(held, viewed)
        form = self._confirmable(held, viewed)
        if form is None:
            return await (self._wait_in_rounds(held) if self._incoming.is_modern else self._tell_and_wait(held, viewed))
        result, said = await self._confirm(held, viewed, form)
        if said is not None or not isinstance(result, Held):
            return result, said
        # Confirmed, and others must approve.
        return await (self._wait_in_rounds(result) if self._incoming.is_modern else self._wait(result, self._hold_s))

    async def _confirm(self, held: Held, viewed: Viewed, form: JsonObject) -> Settled:
        """The same call, made again once its user has said yes or no; where they have not, or that is not recorded, it is told at once."""
        verdict = await self._ask_to_confirm(form)
        if verdict is None:
            return self._told(held, viewed)
        is_cast = await self._vote(viewed, verdict)
        result, said = await self._made_again(held, 0)
        if said is None and isinstance(result, Held) and not is_cast:
            return self._told(result, await self._look(result))
        return result, said

    # waiting

    async def _wait_in_rounds(self, held: Held) -> Settled:
        for _ in range(WAITS):
            try:
                await ask_before(self._incoming.link, {})
            except CannotAsk:  # there is no room for one more that waits
                return self._told(held, await self._look(held))
            result, said = await self._made_again(held, self._hold_s / WAITS)
            if said is not None or not isinstance(result, Held):
                return result, said
            held = result
        return self._told(held, await self._look(held), waited_s=self._hold_s)

    async def _tell_and_wait(self, held: Held, viewed: Viewed) -> Settled:
        """One form says what is held. Its user need not answer: where people decide meanwhile, it is taken back."""
        form = wording.notice(viewed, self._gate.settings)
        if held.request is None or not self._incoming.client.takes(form):
            return self._told(held, viewed)
        until = time.monotonic() + self._hold_s
        asking = asyncio.ensure_future(self._is_accepted(form))
        deciding = asyncio.ensure_future(self._state(held.request, self._hold_s))
        async with _ended_at_last(asking, deciding):
            await asyncio.wait({asking, deciding}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not deciding.done() and not asking.result():
                return self._told(held, viewed)
        return await self._wait(held, max(0.0, until - time.monotonic()))

    async def _wait(self, held: Held, wait_s: float) -> Settled:
        result, said = await self._made_again(held, wait_s)
        if said is not None or not isinstance(result, Held):
            return result, said
        return self._told(result, await self._look(result), waited_s=self._hold_s)

    async def _made_again(self, held: Held, wait_s: float) -> Settled:
        """The same call, made again; where its request is over, so that it would only ask anew, it is not."""
        state = None if held.request is None else await self._state(held.request, 0)
        if state in _OVER:
            return held, ended(held, state)
        async with self._progress(wait_s):
            return await self._again(wait_s), None

    async def _state(self, request: RequestId, wait_s: float) -> RequestState | None:
        """Where the request stands, once it is not open or the time is over; None where that cannot be told: then the call finds out."""
        with suppress(KeyError, LicetError):
            return await self._gate.await_decision(request, wait_s)
        return None

    @asynccontextmanager
    async def _progress(self, wait_s: float) -> AsyncIterator[None]:
        """Meanwhile the client is told that it waits, if it wants to know."""
        if wait_s <= 0:
            yield
            return
        telling = asyncio.ensure_future(self._tell(wait_s))
        async with _ended_at_last(telling):
            yield

    async def _tell(self, wait_s: float) -> None:
        """The seconds that are left, counted up to 0: progress must grow, and the upstream's own begins there."""
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0:
            told = {"progress": -round(left_s, 1), "message": "held: waiting for people to decide"}
            await self._incoming.link.notify(PROGRESS, told)
            await asyncio.sleep(min(TELL_S, left_s))

    # asking

    async def _is_accepted(self, form: JsonObject) -> bool:
        try:
            answers = await ask_before(self._incoming.link, {"held": form})
        except CannotAsk:
            return False
        return answers.get("held", {}).get("action") == "accept"

    def _confirmable(self, held: Held, viewed: Viewed) -> JsonObject | None:
        """The question whether to do this, where this client may be asked it for this user (rule 3)."""
        acting = self._incoming.acting
        waits = any(need.need.kind == "confirmation" and need.missing > 0 for need in viewed.needs)
        if not waits or viewed.state != "open" or viewed.refused is not None or viewed.viewer is None or viewed.request.passkey is True:
            return None
        if not acting.is_named or viewed.viewer != viewed.request.user:
            return None
        form = wording.question(held, viewed)
        return form if form is not None and self._incoming.client.takes(form) else None

    async def _ask_to_confirm(self, form: JsonObject) -> Literal["approve", "reject"] | None:
        """What the user says; None where they say nothing, cannot be asked, or take too long."""
        try:
            async with asyncio.timeout(self._hold_s):
                answers = await ask_before(self._incoming.link, {wording.CONFIRM: form})
        except (CannotAsk, TimeoutError):
            return None
        return _verdict(answers.get(wording.CONFIRM))

    async def _vote(self, viewed: Viewed, verdict: Literal["approve", "reject"]) -> bool:
        """The user's vote, on what was shown; whether it was cast. Where it does not count any more, the call finds out why."""
        credential = self._incoming.acting.credential

        def cast() -> None:
            self._gate.approvals.vote(
                viewed.request.id,
                str(viewed.viewer),
                verdict,
                operating_user=whoever_runs_this().name if credential is None else None,
                credential=credential,
                binding=viewed.binding,
                channel="mcp",
            )

        with suppress(KeyError, LicetError):
            await asyncio.to_thread(cast)
            return True
        return False

    # looking

    async def _look(self, held: Held) -> Viewed | None:
        """The request as it stands, as the user sees it; None where there is none, or it cannot be read."""
        if held.request is None:
            return None
        request = held.request
        try:
            shown = await asyncio.to_thread(lambda: self._gate.approvals.show(request))
        except (KeyError, LicetError):
            return None
        directory, user = self._gate.scene.directory, self._incoming.acting.user
        return stand(shown.request, shown.votes, directory, self._gate.now(), viewer=user)

    def _told(self, held: Held, viewed: Viewed | None, *, waited_s: float = 0) -> Settled:
        return held, held_for(held, viewed, self._gate.settings, waited_s=waited_s)


def _verdict(answer: JsonObject | None) -> Literal["approve", "reject"] | None:
    """A yes is accepted and says so in the form; a no is declined, or accepted with a no. Whoever closes the form has said nothing."""
    action = None if answer is None else answer.get("action")
    content: Any = None if answer is None else answer.get("content")
    if action == "decline":
        return "reject"
    said = content.get(wording.CONFIRM) if action == "accept" and isinstance(content, dict) else None
    return "approve" if said is True else "reject" if said is False else None


@asynccontextmanager
async def _ended_at_last(*tasks: asyncio.Future[Any]) -> AsyncIterator[None]:
    """None of these goes on behind this block."""
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
