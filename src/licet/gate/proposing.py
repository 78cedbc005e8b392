"""The half of the gate for calls that somebody else executes: propose, report, look; see gate/remote.py for the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any

from licet.gate.acting import Acting, ActingBlock, acting_for
from licet.gate.async_driver import AsyncDriver
from licet.gate.checks import caller_of
from licet.gate.draft import Draft
from licet.gate.house import OpenHouse
from licet.gate.pipeline import examine, govern
from licet.gate.remote import CallReport, CallSeen, MayReport, ReportReceipt, find_seen
from licet.gate.results import Proposed
from licet.gate.sync_driver import SyncDriver
from licet.gate.undo import reversal_of
from licet.gate.waiting import Repeated, asked_for
from licet.ledger.record import microseconds
from licet.model import CallId, Decision


class Proposing:
    """What a gate offers to whoever has its calls executed elsewhere. `acting` is who proposes or reports; by default who acts now."""

    _token: object
    _clock: Callable[[], datetime]

    def _opened(self) -> OpenHouse:
        raise NotImplementedError

    def _draft(
        self,
        tool: str,
        unverified_arguments: Mapping[str, Any] | bytes | str,
        idempotency_key: str | None,
        reason: str | None,
        *,
        wait: float | None = None,
        undoes: CallId | None = None,
    ) -> Draft:
        raise NotImplementedError

    def propose(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        *,
        acting: Acting | None = None,
        idempotency_key: str | None = None,
        wait: float | None = None,
    ) -> Proposed:
        """Propose a call that somebody else executes: `Permitted` where it may be executed now, once, and must be reported.

        With an idempotency key a call is permitted once; a repeat gives the outcome that was reported, or says that there is none yet.
        `wait` and what is raised are as for `call`.
        """
        return self._propose(self._remote_draft(tool, arguments, acting, idempotency_key=idempotency_key, wait=wait))

    async def apropose(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        *,
        acting: Acting | None = None,
        idempotency_key: str | None = None,
        wait: float | None = None,
    ) -> Proposed:
        """As `propose`, on the running event loop."""
        return await self._apropose(self._remote_draft(tool, arguments, acting, idempotency_key=idempotency_key, wait=wait))

    def propose_undo(self, call: CallId, *, acting: Acting | None = None, wait: float | None = None) -> Proposed:
        """Propose the reverse of a call that reported its effects, to be executed by somebody else. Raises as `undo`."""
        return self._propose(self._undo_of(call, acting, wait))

    async def apropose_undo(self, call: CallId, *, acting: Acting | None = None, wait: float | None = None) -> Proposed:
        """As `propose_undo`, on the running event loop."""
        return await self._apropose(self._undo_of(call, acting, wait))

    def report(self, call: CallId, report: CallReport, *, acting: Acting | None = None) -> ReportReceipt:
        """Say how a permitted call ended. It is durable when this returns; the same report again is answered with the first's receipt.

        Raises `ReportRefused` (`no_such_call`, `not_permitted`, `not_remote`, `already_reported`, `bad_report` ...), `CallerRefused`,
        `StoreError`.
        """
        house = self._opened()
        caller = caller_of(acting or acting_for(self._token), house.scene)
        return house.reporter.report(house.scene, call, report, lambda whose: whose.is_of(caller))

    async def areport(
        self, call: CallId, report: CallReport, *, acting: Acting | None = None, may: MayReport | None = None
    ) -> ReportReceipt:
        """As `report`, on the running event loop. `may` says whose calls can be reported, where that is more than one caller."""
        house = self._opened()
        if may is None:
            caller = caller_of(acting or acting_for(self._token), house.scene)
            return await house.reporter.areport(house.scene, call, report, lambda whose: whose.is_of(caller))
        return await house.reporter.areport(house.scene, call, report, may)

    async def acheck(self, tool: str, arguments: Mapping[str, Any] | bytes | str, *, acting: Acting) -> Decision:
        """What would happen: the decision on this call now. Records and executes nothing (resolvers are asked, previews are not)."""
        house = self._opened()
        draft = self._remote_draft(tool, arguments, acting, idempotency_key=None, wait=None)
        return await AsyncDriver(house.services).run(examine(draft, house.house.grounds(), run_preview=False))

    def find_call(self, call: CallId) -> CallSeen:
        """Where a call stands, whoever asks: who shows it to somebody sees to whose it is (`CallSeen.caller`).

        Raises `KeyError` where there is none, `StoreError`, `IntegrityBroken`.
        """
        found = find_seen(self._opened().store, call)
        if found is None:
            raise KeyError(f"no call `{call}`")
        return found

    def _remote_draft(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        acting: Acting | None,
        *,
        idempotency_key: str | None,
        wait: float | None,
        undoes: CallId | None = None,
    ) -> Draft:
        with nullcontext() if acting is None else ActingBlock(self._token, acting):
            draft = self._draft(tool, arguments, idempotency_key, None, wait=wait, undoes=undoes)
        draft.remote = True
        return draft

    def _undo_of(self, call: CallId, acting: Acting | None, wait: float | None) -> Draft:
        house = self._opened()
        found = reversal_of(house.store, house.scene, acting or acting_for(self._token), call, remote=True)
        return self._remote_draft(found.tool, found.arguments, acting, idempotency_key=found.key, wait=wait, undoes=found.undoes)

    def _propose(self, draft: Draft) -> Proposed:
        """The end of this call, whoever executes it: it is made again while it is held and waits."""
        if not draft.acting.wait_s:
            return self._propose_once(draft)
        calls = Repeated(draft, self._now_us)
        wait_out = self._opened().waiting.wait_out
        return calls.told(*wait_out(lambda held: self._propose_once(calls.next(held)), asked_for, draft.acting.wait_s, calls.is_stopped))

    async def _apropose(self, draft: Draft) -> Proposed:
        if not draft.acting.wait_s:
            return await self._apropose_once(draft)
        calls = Repeated(draft, self._now_us)
        wait_out = self._opened().waiting.wait_out_async
        return calls.told(
            *await wait_out(lambda held: self._apropose_once(calls.next(held)), asked_for, draft.acting.wait_s, calls.is_stopped)
        )

    def _propose_once(self, draft: Draft) -> Proposed:
        house = self._opened()
        return SyncDriver(house.services, house.portal).run(govern(draft, house.house))

    async def _apropose_once(self, draft: Draft) -> Proposed:
        house = self._opened()
        try:
            return await AsyncDriver(house.services).run(govern(draft, house.house))
        except asyncio.CancelledError:
            if draft.remote and draft.intended is not None:  # nobody was told that it is permitted, so nobody executes it
                house.house.clerk.close_intent_later(draft, "cancelled", "whoever proposed the call went away before it was permitted")
            raise

    def _now_us(self) -> int:
        return microseconds(self._clock())
