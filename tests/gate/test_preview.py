"""Previews: what people vote on, and what has changed since."""

from __future__ import annotations

from typing import Any

import pytest

from licet import Effect
from licet.gate.results import Held, Ok, Result
from licet.testing import vote
from tests.gate.waiting import AMOUNT, approved, superseded
from tests.world import World, world


def call(
    w: World, arguments: Any, tool: str = "billing.adjust", agent: str = "support-bot", user: str | None = "alice", **more: Any
) -> Result:
    with w.gate.acting(agent=agent, user=user, tenant="acme", **more):
        return w.gate.call(tool, arguments)


def test_a_preview_that_differs_holds_the_call_anew_and_says_what_changed(w: World) -> None:
    held = approved(w)
    w.customers["C-1"]["balance"] = 7
    again = w.held(AMOUNT)
    assert again.request != held.request
    assert w.ran == []
    changed = 'the call would now change `balance` of Customer::"C-1" from `7` to `50007`'
    assert again.decision.message.startswith(f"held anew, since {changed}: ")
    assert superseded(w) == {"request": held.request, "event": "supersede", "changed": changed}
    vote(w.gate, again.request, "lena")
    assert isinstance(w.adjust(AMOUNT), Ok)


def test_a_preview_that_shows_less_than_it_did_holds_the_call_anew(w: World) -> None:
    effects = [Effect(target="T", field="a", before=1, after=2), Effect(target="T", field="b", before="x" * 100, after=None)]
    ran = []

    @w.gate.tool("account.wipe", access="destructive", touches={"access"})
    def wipe() -> None:
        ran.append(1)

    @wipe.preview
    def preview() -> list[Effect]:
        return effects

    policies = w.gate.settings.policies / "more.cedar"
    policies.write_text(
        '@id("wipe")\n@require_approval("1 of Group::\\"security-leads\\"")\nforbid (principal, action == Action::"account.wipe", resource);\n'
    )
    first = call(w, {}, tool="account.wipe")
    assert isinstance(first, Held)
    vote(w.gate, first.request, "dana")
    del effects[0]
    less = call(w, {}, tool="account.wipe")
    assert isinstance(less, Held)
    assert "the call would now change less than it did" in less.decision.message
    vote(w.gate, less.request, "dana")
    effects[0] = Effect(target="T", field="b", before="x" * 100, after="y" * 100)
    more = call(w, {}, tool="account.wipe")
    assert isinstance(more, Held)
    assert 'from `"xxxx' in more.decision.message
    assert "y" * 61 not in more.decision.message, "long values are cut"
    assert ran == []


@pytest.mark.parametrize("error", [ValueError("secret"), StopIteration(), GeneratorExit()])
def test_a_preview_that_fails_is_a_denial_that_says_so(error: BaseException) -> None:
    with world() as w:
        failing: list[BaseException] = []
        preview = w.gate.registry.previews["billing.adjust"]
        original = preview.function

        def broken(**arguments: Any) -> Any:
            if failing:
                raise failing[0]
            return original(**arguments)

        preview.function = broken
        failing.append(error)
        kind = type(error).__name__
        denied = w.denied(w.adjust(AMOUNT), "preview_failed", f"({kind})", "nobody can see what the call would change")
        assert "secret" not in denied.decision.message
        assert w.kinds() == ["call", "denial"], "that it was tried is recorded by itself"
        assert w.gate.approvals.all() == ()
        assert isinstance(w.adjust(), Ok), "a call that nobody needs to decide on runs without its preview"


@pytest.mark.parametrize("effects", [None, 5, ["x"], [{"target": 1}], [object()]])
def test_a_preview_that_is_no_list_of_effects_is_a_denial(effects: Any) -> None:
    with world() as w:
        w.gate.registry.previews["billing.adjust"].function = lambda **_: effects
        w.denied(w.adjust(AMOUNT), "preview_failed", "did not return a list of effects")
        assert w.ran == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_preview_that_ends_the_process_is_recorded_first(error: BaseException) -> None:
    def leave(**_: Any) -> Any:
        raise error

    with world() as w:
        w.gate.registry.previews["billing.adjust"].function = leave
        with pytest.raises(type(error)):
            w.adjust(AMOUNT)
        read, record = w.records()
        assert read.envelope.outcome is not None
        assert (read.kind, read.envelope.outcome.status, read.envelope.outcome.code) == ("call", "error", type(error).__name__)
        assert record.envelope.decision is not None
        assert (record.kind, record.envelope.decision.code) == ("denial", "cancelled")
        assert w.ran == []
