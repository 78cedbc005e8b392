"""What people do in the demo: each time as from a process of its own, which knows the ledger and the directory and nothing else."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from licet.approvals.desk import Desk, Shown
from licet.approvals.viewed import Asked
from licet.cli.demo_plan import PlannedFreeze, PlannedLift, PlannedVote, Said
from licet.cli.demo_seen import Seen
from licet.cli.loading import utc_now
from licet.config import Settings
from licet.errors import FreezeRefused, VoteRefused
from licet.gate.freeze import Freezer, Froze, Known
from licet.gate.gate import Gate
from licet.gate.opening import OpenLedger
from licet.identity.directory import Directory
from licet.model import CallId, Effect, PlanId, RequestId, RequestState


class Matter(Struct, frozen=True):
    """What later steps can be about: the calls that a step made, and what people were asked on their account."""

    calls: tuple[CallId, ...]
    request: RequestId | None = None
    plan: PlanId | None = None


def vote(settings: Settings, about: Matter, planned: PlannedVote) -> Seen:
    """The vote has been cast, on a request or on all steps of a plan that wait, by somebody who was shown what would change."""
    if about.request is None and about.plan is None:
        return Seen(verdict="refused", code="no_request", reason="that call was not held: nobody is asked for anything", calls=about.calls)
    with OpenLedger(settings, utc_now) as ledger:
        desk = Desk(ledger.store, ledger.writer, Directory.from_settings(settings), settings.environment, utc_now)
        shown = _shown(desk, about)
        calls = about.calls if about.plan is None else tuple([one.request.call for one in shown])
        effects = tuple(_effects(shown))
        try:
            for one in shown if about.plan is None else ():
                desk.vote(one.request.id, planned.voter, planned.verdict, operating_user=getpass.getuser())
            if about.plan is not None:
                verdicts = dict.fromkeys([one.request.step for one in shown], planned.verdict)
                desk.vote_plan(about.plan, planned.voter, verdicts, operating_user=getpass.getuser())
        except VoteRefused as refused:
            return Seen(verdict="refused", code=refused.code, reason=str(refused), calls=calls)
        return _of_vote(_shown(desk, about), calls, effects)


def freeze(settings: Settings, tenant: str, planned: PlannedFreeze) -> tuple[Seen, Froze]:
    """The agent is stopped in its tenant, in every process. Raises `FreezeRefused`."""
    known = Known(settings.agents, settings.services, settings.tenants, None)
    with _freezer(settings) as freezer:
        froze = freezer.freeze(known, "agent", planned.agent, reason=planned.reason, tenant=tenant, by=planned.by)
    reason = f"{froze.freeze.what}, by {planned.by}: {planned.reason}"
    return Seen(verdict="frozen", code="frozen", reason=reason, receipt=froze.receipt), froze


def lift(gate: Gate, froze: Froze, planned: PlannedLift) -> Seen:
    """The freeze stands no more, unless it is not this person's to lift. Done in the application, which therefore knows it at once."""
    try:
        lifted = gate.lift(froze.freeze.id, reason=planned.reason, by=planned.by)
    except FreezeRefused as refused:
        return Seen(verdict="refused", code=refused.code, reason=str(refused), receipt=froze.receipt)
    return Seen(verdict="lifted", code="lifted", reason=f"{lifted.freeze.what} goes on", receipt=lifted.receipt)


@contextmanager
def _freezer(settings: Settings) -> Iterator[Freezer]:
    with OpenLedger(settings, utc_now) as ledger:
        yield Freezer(
            ledger.store,
            ledger.writer,
            directory=Directory.from_settings(settings),
            rules=settings.freeze,
            environment=settings.environment,
            now=utc_now,
            operating_user=getpass.getuser(),
        )


def _shown(desk: Desk, about: Matter) -> tuple[Shown, ...]:
    if about.plan is not None:
        return desk.plan(about.plan)
    assert about.request is not None
    return (desk.show(about.request),)


def _effects(shown: tuple[Shown, ...]) -> Iterator[Effect]:
    for one in shown:
        yield from msgspec.json.decode(one.request.summary, type=Asked).preview or ()


def _of_vote(shown: tuple[Shown, ...], calls: tuple[CallId, ...], effects: tuple[Effect, ...]) -> Seen:
    states = {one.request.state for one in shown}
    if RequestState.OPEN in states:
        missing = sum(need.missing for one in shown for need in one.standing.needs)
        return Seen(verdict="counted", code="open", reason=f"{missing} more must agree", calls=calls, effects=effects)
    verdict: Said = "rejected" if RequestState.REJECTED in states else "approved"
    exactly = "for exactly this call, once" if len(shown) == 1 else f"for exactly these {len(shown)} calls, each once, in this order"
    return Seen(verdict=verdict, code=min(states), reason=exactly, calls=calls, effects=effects)
