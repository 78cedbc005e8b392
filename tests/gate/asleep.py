"""Callers that wait for people, in threads and tasks of this process, and how a test knows that they do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import pytest

from licet import Gate
from licet.gate.results import Result
from licet.gate.waiting import Waiting
from licet.model import RequestId
from tests.gate.waiting import AMOUNT
from tests.world import World

Way = Literal["thread", "task"]
WAYS: tuple[Way, ...] = ("thread", "task")
ways = pytest.mark.parametrize("way", WAYS)
LONG_S = 60.0
"""How long callers wait for what a test then does."""


def waiting_of(gate: Gate) -> Waiting:
    """Who waits at this gate."""
    house = gate._house
    assert house is not None
    return house.waiting


def until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Return as soon as it holds; fail if it never does."""
    over = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < over, "what was waited for did not come about"
        time.sleep(0.002)


def asleep(w: World, count: int = 1) -> None:
    """So many callers wait, and the watcher has seen them."""
    waiting = waiting_of(w.gate)
    until(lambda: len(waiting._waiters) == count and not waiting._unseen)


def nobody_waits(w: World) -> None:
    """Nothing is left of those who waited: no entry and no thread."""
    waiting = waiting_of(w.gate)
    assert not waiting._waiters
    until(lambda: waiting._thread is None)


def adjust(w: World, way: Way, amount_cents: int = AMOUNT, *, wait: float | None = LONG_S, **more: Any) -> Result:
    """An adjustment by the support agent for alice, which waits."""
    arguments = {"customer_id": "C-1", "amount_cents": amount_cents}

    async def main() -> Result:
        return await w.gate.acall("billing.adjust", arguments, wait=wait, **more)

    with w.alice():
        return asyncio.run(main()) if way == "task" else w.gate.call("billing.adjust", arguments, wait=wait, **more)


def start(pool: ThreadPoolExecutor, w: World, way: Way, *args: Any, **more: Any) -> Future[Result]:
    """The same, in the background; it sleeps by the time this returns."""
    w.gate.seal()
    found = pool.submit(adjust, w, way, *args, **more)
    asleep(w)
    return found


def the_request(w: World) -> RequestId:
    """The only request that is open or approved."""
    (shown,) = w.gate.approvals.waiting()
    return shown.request.id


def kinds(w: World) -> list[str]:
    """The kinds of the records, without those of previews."""
    return [kind for kind in w.kinds() if kind != "call"]


WITH_LEAD = """
@id("{tool}-needs-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"{tool}", resource);
"""


def reload(w: World, policies: str) -> None:
    """These policies are in force from now on."""
    for file in w.gate.settings.policies.glob("*.cedar"):
        file.write_text(policies)
    house = w.gate._house
    if house is not None:
        house._revision = -1  # as if something had been registered: everything is put into force anew
    w.gate.seal()
