"""Gateways, and what is behind them, killed at each step of a call: what reached an upstream is known, none twice, and nothing is orphaned."""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from licet.cli import main
from licet.testing import Read
from tests.attacks.behind import DONE, Asked
from tests.attacks.mcp_site import UNSEEN, Guarded, guarded
from tests.attacks.serving import PATIENCE_S, Replica
from tests.cli.wrapping import wait_for

pytestmark = pytest.mark.heavy

SMALL = {"id": "C-1", "amount": 5}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path / "site") as made:
        yield made


def asking(site: Guarded, arguments: Any, on: Replica, **params: Any) -> threading.Thread:
    """A client whose call is under way, which sees its server die."""

    def ask() -> None:
        with pytest.raises(UNSEEN):
            site.call("crm__set", arguments, params=params, on=on)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def die(replica: Replica) -> None:
    replica.process.send_signal(signal.SIGKILL)
    replica.process.wait(PATIENCE_S)


def story(found: list[Read]) -> list[tuple[str, str | None]]:
    """Each record's kind, and how the call ended where it says so."""
    return [(one.kind, None if one.envelope.outcome is None else one.envelope.outcome.status) for one in found]


def test_a_gateway_that_dies_between_intent_and_sending_leaves_the_call_known(site: Guarded) -> None:
    first = site.serve()

    def dying(_: Asked) -> None:
        die(first)

    site.crm.methods["server/discover"] = dying
    asking(site, SMALL, first).join()
    assert site.crm.calls == []
    del site.crm.methods["server/discover"]
    site.serve()
    assert site.call("crm__set", {"id": "C-2", "amount": 1})["content"] == DONE["content"]
    site.close()
    assert story(site.records()) == [("intent", None), ("recovery", "unknown"), ("intent", None), ("outcome", "ok")]
    assert site.crm.ids() == ["C-2"]


def test_a_gateway_that_dies_with_a_call_at_its_upstream_leaves_it_known_and_does_not_repeat_it(site: Guarded) -> None:
    first = site.serve()

    def dying(_: Asked) -> None:
        die(first)

    site.crm.answering = dying
    asking(site, SMALL, first).join()
    site.serve()
    site.close()
    assert story(site.records()) == [("intent", None), ("recovery", "unknown")]
    assert site.crm.ids() == ["C-1"]
    unknown = CliRunner().invoke(main, ["--config", str(site.folder / "licet.toml"), "audit", "unknown", "--json"])
    assert [one["tool"] for one in json.loads(unknown.stdout)["data"]["calls"]] == ["crm__set"]


def test_a_gateway_that_dies_while_people_decide_leaves_the_request_to_the_next_one(tmp_path: Path) -> None:
    held = {"id": "C-1", "amount": 500}
    with guarded(tmp_path / "site", hold_s=60) as site:
        first = site.serve()
        told = site.call("crm__set", held, on=first)
        waiting = asking(site, held, first, requestState=told["requestState"])
        second = site.serve()
        (shown,) = site.waiting("lena")
        die(first)
        waiting.join()
        site.vote("lena", shown, "approve")
        again = site.call("crm__set", held, params={"requestState": told["requestState"]}, on=second)
        assert again["content"] == DONE["content"]
        once_more = site.call("crm__set", held, params={"requestState": told["requestState"]}, on=second)
        assert "requestState" in once_more  # the approval was used: it is held anew
        site.close()
        assert site.crm.ids() == ["C-1"]
        assert [kind for kind, _ in story(site.records()) if kind != "hold"] == ["vote", "intent", "outcome"]


@pytest.mark.parametrize("number", range(2))
def test_whatever_reached_an_upstream_of_gateways_that_die_under_load_is_known_and_was_sent_once(site: Guarded, number: int) -> None:
    chance = random.Random(number)
    site.crm.answering = lambda _: DONE if site.crm.over.wait(chance.random() / 20) is not None else None
    over, numbers = threading.Event(), itertools.count()
    told: list[str] = []

    def ask() -> None:
        while not over.is_set():
            name = f"{next(numbers)}"
            with suppress(*UNSEEN):
                answer = site.call("crm__set", {"id": name, "amount": 5}, on=chance.choice(site.replicas[-2:]))
                if answer.get("content") == DONE["content"]:
                    told.append(name)

    site.serve(), site.serve()
    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    for _ in range(6):
        more = len(told) + chance.randrange(5, 30)
        wait_for(lambda more=more: len(told) >= more)  # type: ignore[misc]
        die(site.replicas[-2])
        site.serve()
    over.set()
    for client in clients:
        client.join()
    site.close()
    found = site.records()
    ends = {str(one.envelope.call): one.envelope.outcome for one in found if one.kind in {"outcome", "recovery"}}
    intents = {
        str(json.loads(bytes(one.payload.arguments or b"{}"))["id"]): str(one.envelope.call) for one in found if one.kind == "intent"
    }
    reached = site.crm.ids()
    assert max(Counter(reached).values()) == 1
    assert set(reached) <= set(intents)
    assert set(told) <= set(reached)
    status = {name: ends[call].status for name, call in intents.items()}  # type: ignore[union-attr]
    assert {status[name] for name in told} == {"ok"}
    assert set(status.values()) <= {"ok", "unknown", "not_executed"}
    assert not [name for name in reached if status[name] == "not_executed"]
    assert "unknown" in status.values()
