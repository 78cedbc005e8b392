"""Windows and environments at the gate: an approval opens no window that has closed, and none in another environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from licet.config import Settings
from licet.errors import ConfigInvalid, VoteRefused
from licet.gate.gate import Gate
from licet.gate.results import Denied, Held, Ok, Result
from licet.model import RequestState
from licet.testing import vote
from tests.gate.waiting import AMOUNT, asked
from tests.world import CONFIG, POLICIES, World, world, world_on

BERLIN = CONFIG.replace('environment = "production"', 'environment = "production"\ntimezone = "Europe/Berlin"')
LEADS = BERLIN.replace('billing-leads = ["lena", "alice", "gina"]', 'billing-leads = ["lena", "omar", "alice", "gina"]')
DEPLOY = (
    POLICIES
    + """
@id("security-deploys")
permit (principal in Role::"security", action == Action::"deploy.run", resource is Server);

@id("deploys-need-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
@expires("12h")
forbid (principal, action == Action::"deploy.run", resource);

@id("office-hours")
@reason("production changes from Monday to Friday, nine to five")
forbid (principal, action == Action::"deploy.run", resource)
when { resource.environment == "production" }
unless { context.local.weekday <= 5 && context.local.hour >= 9 && context.local.hour < 17 };

@id("freeze-days")
@reason("nothing changes on the days before Christmas")
forbid (principal, action == Action::"deploy.run", resource)
when { ["2026-12-23", "2026-12-24"].contains(context.local.date) };
"""
)


class Server(Struct):
    """A machine, of an environment of its own."""

    tenant: str
    environment: str


@contextmanager
def yard(config: str = BERLIN, policies: str = DEPLOY, folder: Path | None = None) -> Iterator[tuple[World, dict[str, str]]]:
    """The world with servers; a test moves one by writing its environment. It is Monday, ten o'clock in Berlin."""
    with world(config, policies) if folder is None else world_on(folder, config, policies) as w:
        servers = {"S-1": "production", "S-2": "staging"}

        @w.gate.resource("Server")
        def server(identifier: str) -> Server | None:
            return Server("acme", servers[identifier]) if identifier in servers else None

        @w.gate.tool("deploy.run", access="write", touches={"production"}, targets="Server::{server}")
        def deploy(server: str) -> str:
            w.ran.append(("deploy.run", {"server": server}))
            return "deployed"

        yield w, servers


def deploy(w: World, server: str = "S-1") -> Result:
    with w.alice():
        return w.gate.call("deploy.run", {"server": server})


def until(w: World, moment: datetime) -> None:
    w.clock.advance(moment - w.clock())


def held(result: Result) -> Held:
    assert isinstance(result, Held), result
    return result


def test_what_was_approved_inside_the_window_is_denied_outside_it_and_nothing_runs() -> None:
    with yard() as (w, _):
        request = asked(held(deploy(w)))
        vote(w.gate, request, "lena")
        until(w, datetime(2026, 1, 5, 16, 0, tzinfo=UTC))
        denied = w.denied(deploy(w), "forbidden", "denied by `office-hours`", "production changes from Monday to Friday, nine to five")
        assert denied.decision.obligations == ()
        assert w.ran == []
        assert w.gate.store.get_request(request).state is RequestState.APPROVED, "the window closed, and nobody took the approval away"


def test_what_was_approved_runs_inside_the_window_and_again_asks_anew() -> None:
    with yard() as (w, _):
        vote(w.gate, asked(held(deploy(w))), "lena")
        until(w, datetime(2026, 1, 5, 15, 59, 59, tzinfo=UTC))
        assert isinstance(deploy(w), Ok)
        assert w.ran == [("deploy.run", {"server": "S-1"})]
        held(deploy(w))


def test_nobody_is_asked_outside_the_window() -> None:
    with yard() as (w, _):
        until(w, datetime(2026, 1, 10, 10, 0, tzinfo=UTC))
        w.denied(deploy(w), "forbidden", "`office-hours`")
        held(deploy(w, "S-2"))
        assert len(w.gate.approvals.all()) == 1
        until(w, datetime(2026, 12, 22, 23, 0, tzinfo=UTC))  # midnight in Berlin
        w.denied(deploy(w, "S-2"), "forbidden", "`freeze-days`")


@pytest.mark.parametrize(("moved", "kind"), [("production", Held), ("dev", Held)])
def test_an_approval_in_one_environment_is_none_in_another(moved: str, kind: type[Result]) -> None:
    with yard() as (w, servers):
        first = held(deploy(w, "S-2"))
        vote(w.gate, asked(first), "lena")
        servers["S-2"] = moved
        again = deploy(w, "S-2")
        assert isinstance(again, kind)
        assert isinstance(again, Held)
        assert again.request != first.request
        assert w.ran == []
        servers["S-2"] = "staging"
        assert isinstance(deploy(w, "S-2"), Ok), "where it was approved, it runs"


def test_an_approval_under_one_gate_s_environment_is_none_under_another_s(tmp_path: Path) -> None:
    with yard(BERLIN.replace('"production"', '"staging"'), folder=tmp_path) as (w, _):
        request = asked(held(deploy(w, "S-2")))
        vote(w.gate, request, "lena")
    with yard(folder=tmp_path) as (w, _):
        assert held(deploy(w, "S-2")).request != request
        assert w.ran == []


def test_a_record_keeps_the_local_time_that_policy_saw_and_only_where_one_reads_it() -> None:
    with yard() as (w, _):
        deploy(w)
        w.adjust()
        contexts = [record.payload.context or {} for record in w.records() if record.kind in {"hold", "intent"}]
        assert [context.get("local") for context in contexts] == [{"weekday": 1, "hour": 10, "minute": 0, "date": "2026-01-05"}, None]
        assert all(context["now"] == contexts[0]["now"] for context in contexts)


def test_the_same_moment_is_another_time_in_another_zone() -> None:
    with yard(CONFIG) as (w, _):
        until(w, datetime(2026, 1, 5, 16, 30, tzinfo=UTC))
        held(deploy(w))
    with yard(CONFIG.replace('"production"', '"production"\ntimezone = "Asia/Tokyo"', 1)) as (w, _):
        w.denied(deploy(w), "forbidden", "`office-hours`")  # six in the evening


def test_a_zone_that_there_is_not_keeps_a_gate_from_opening_though_the_settings_were_made_in_python(tmp_path: Path) -> None:
    store, keys = f"sqlite:{tmp_path / 'licet.db'}", f"file:{tmp_path / 'licet.key'}"
    gate = Gate(Settings(environment="test", timezone="Europe/Berln", store=store, keys=keys, policies=tmp_path))
    with pytest.raises(ConfigInvalid, match="`timezone` is `Europe/Berln`, which is no time zone; did you mean `Europe/Berlin`"):
        gate.seal()


# what stands beside an obligation


def annotated(more: str, policy: str = "adjust-needs-lead") -> str:
    return POLICIES.replace(f'@id("{policy}")', f'@id("{policy}") {more}')


SURE = '\n@id("sure") @require_confirmation {} forbid (principal, action == Action::"billing.adjust", resource) when {{ context.input.amount_cents > 10000 }};'  # fmt: skip


@pytest.mark.parametrize(
    ("policies", "minutes"),
    [
        (POLICIES, 15),
        (annotated('@expires("5m")'), 5),
        (annotated('@expires("2h")'), 120),
        (annotated('@expires("5m")') + SURE.format('@expires("2m")'), 2),
        (annotated('@expires("5m")') + SURE.format(""), 5),
        (annotated('@expires("2h")') + SURE.format(""), 15),
        (annotated('@expires("2h")') + SURE.format('@expires("1h")'), 60),
    ],
)
def test_a_request_lives_as_long_as_its_policies_say(policies: str, minutes: int) -> None:
    with world(CONFIG, policies) as w:
        found = w.gate.store.get_request(asked(w.held(AMOUNT)))
        assert found.expires_at - found.opened_at == timedelta(minutes=minutes)


@pytest.mark.parametrize(("after_s", "kind"), [(299.999, Ok), (300, Held)])
def test_an_approval_is_used_up_to_the_moment_that_its_policy_says(after_s: float, kind: type[Result]) -> None:
    with world(CONFIG, annotated('@expires("5m")')) as w:
        vote(w.gate, asked(w.held(AMOUNT)), "lena")
        w.clock.advance(after_s)
        assert isinstance(w.adjust(AMOUNT), kind)


def test_a_vote_past_the_time_that_its_policy_says_is_refused() -> None:
    with world(CONFIG, annotated('@expires("5m")')) as w:
        request = asked(w.held(AMOUNT))
        w.clock.advance(300)
        with pytest.raises(VoteRefused) as caught:
            vote(w.gate, request, "lena")
        assert caught.value.code == "expired"


@pytest.mark.parametrize("more", ['@expires("5m")', '@separation("agent-owner")'])
def test_an_annotation_that_came_after_the_approval_holds_the_call_anew(tmp_path: Path, more: str) -> None:
    with world_on(tmp_path, CONFIG) as w:
        first = w.held(AMOUNT)
        vote(w.gate, asked(first), "lena")
    with world_on(tmp_path, CONFIG, annotated(more)) as w:
        again = w.held(AMOUNT)
        assert again.request != first.request
        assert again.decision.message.startswith(
            "held anew, since policy `adjust-needs-lead` now asks for something that was not decided on"
        )
        assert w.ran == []


OWNED = LEADS.replace("[agents.support-bot]", '[agents.support-bot]\nowner = "lena"')
APART = annotated('@separation("agent-owner")')


def test_the_owner_of_the_agent_has_no_vote_and_somebody_else_has() -> None:
    with world(OWNED, APART) as w:
        first = w.held(AMOUNT)
        assert "approval of 1 member of `billing-leads`, the agent's owner not counted, is required" in first.decision.message
        for verdict in ("approve", "reject"):
            with pytest.raises(VoteRefused) as caught:
                w.gate.approvals.vote(asked(first), "lena", verdict)
            assert caught.value.code == "agent_owner"
        vote(w.gate, asked(first), "omar")
        assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_vote_of_who_became_the_agent_s_owner_no_longer_counts(tmp_path: Path) -> None:
    with world_on(tmp_path, LEADS, APART) as w:
        vote(w.gate, asked(w.held(AMOUNT)), "lena")
    with world_on(tmp_path, OWNED, APART) as w:
        again = w.held(AMOUNT)
        assert w.ran == []
        vote(w.gate, asked(again), "omar")
        assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_call_that_only_the_agent_s_owner_could_approve_is_denied_at_once() -> None:
    with world(OWNED.replace('"lena", "omar", ', '"lena", '), APART) as w:
        result = w.adjust(AMOUNT)
        assert isinstance(result, Denied)
        w.denied(result, "nobody_can_approve", "`adjust-needs-lead` asks for the approval of 1 of `billing-leads`")
        assert w.gate.approvals.all() == ()
