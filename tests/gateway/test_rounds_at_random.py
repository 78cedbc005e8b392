"""Clients that ask, answer, repeat, vanish and come too late, in any order: each work ends once, and nothing is left of any."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from licet.gateway.incoming import Incoming
from licet.gateway.link import CannotAsk
from licet.gateway.messages import RpcError
from licet.gateway.request_state import StateRefused
from licet.gateway.rounds import Rounds, ask_before
from licet.model import JsonObject
from tests.gateway.holding import MODERN_FORMS
from tests.gateway.world import GatewayWorld, gateway_world

FORM: JsonObject = {"method": "elicitation/create", "params": {"message": "which?", "requestedSchema": {"type": "object"}}}
STEPS = 150


class Crowd:
    """Some callers, what each was told last and before, and how often each work was begun and ended."""

    def __init__(self, w: GatewayWorld, seed: int) -> None:
        self.w = w
        self.random = random.Random(seed)
        self.rounds = Rounds(w.gate, parked=6, parked_each=3, lifetime_s=0.05)
        self.open: list[tuple[str, JsonObject]] = []
        self.used: list[tuple[str, JsonObject]] = []
        self.begun: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    async def step(self) -> None:
        match self.random.randrange(6):
            case 0 | 1:
                await self.tell(self.random.choice(["alice", "lena"]), None)
            case 2 | 3 if self.open:
                await self.tell(*self.open.pop(self.random.randrange(len(self.open))))
            case 4 if self.used:
                user, told = self.random.choice(self.used)
                with pytest.raises(StateRefused):
                    await self.rounds.answer(self.incoming(user, told), self.refused)
            case 5 if self.open:
                user, told = self.random.choice(self.open)
                with pytest.raises(StateRefused):
                    await self.rounds.answer(self.incoming("alice" if user == "lena" else "lena", told), self.refused)
            case _:
                await asyncio.sleep(self.random.choice([0, 0, 0.06]))

    async def tell(self, user: str, told: JsonObject | None) -> None:
        """One request, which its client may give up."""
        asking = asyncio.ensure_future(self.rounds.answer(self.incoming(user, told), self.work()))
        if self.random.random() < 0.2:
            await asyncio.sleep(0)
            asking.cancel()
        try:
            result = await asking
        except (asyncio.CancelledError, CannotAsk, RpcError):
            result = {}
        if told is not None:
            self.used.append((user, told))
        if result.get("resultType") == "input_required":
            self.open.append((user, result))

    def incoming(self, user: str, told: JsonObject | None) -> Incoming:
        params: JsonObject = {"name": "crm__ask", "arguments": {}}
        if told is not None:
            params["requestState"] = told["requestState"]
            answered = {key: {"action": "accept"} for key in told.get("inputRequests", {}) if self.random.random() < 0.8}
            params["inputResponses"] = answered
        return self.w.incoming("tools/call", params, client=MODERN_FORMS, user=user)

    def work(self) -> Any:
        number, plan = len(self.begun), [self.random.randrange(4) for _ in range(self.random.randrange(4))]

        async def work(incoming: Incoming) -> JsonObject:
            self.begun[number] += 1
            try:
                for kind in plan:
                    if kind == 0:
                        await ask_before(incoming.link, {})
                    elif kind == 1:
                        await asyncio.gather(incoming.link.ask({"a": FORM}), incoming.link.ask({"a": FORM, "b": FORM}))
                    else:
                        await incoming.link.ask({"a": FORM})
                    await asyncio.sleep(0)
                return {"resultType": "complete"}
            finally:
                self.ended[number] += 1

        return work

    async def refused(self, incoming: Incoming) -> JsonObject:
        raise AssertionError("this is refused before anything is begun")


@pytest.mark.parametrize("seed", range(8))
def test_each_work_ends_once_and_nothing_is_left_of_it(tmp_path: Path, seed: int) -> None:
    async def main(w: GatewayWorld) -> None:
        crowd = Crowd(w, seed)
        for _ in range(STEPS):
            await crowd.step()
        await crowd.rounds.close()
        assert crowd.begun == crowd.ended
        assert set(crowd.begun.values()) == {1}
        assert len(crowd.begun) > STEPS // 10
        rounds = crowd.rounds
        assert (rounds._pieces, rounds._by_id, rounds._rooms) == (set(), {}, Counter())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with gateway_world(tmp_path) as w:
        asyncio.run(main(w))
