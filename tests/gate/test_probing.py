"""What a probe is given, and what it is believed."""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest

from licet import Secret
from licet.errors import CatalogInvalid, SettlementRefused
from licet.gate.opening import OpenLedger
from licet.gate.probing import Probed
from licet.gate.results import Failed
from licet.ledger.erasure import erase
from licet.ledger.vault import Subject
from licet.model import CallId
from tests.gate.proof import assert_whole
from tests.gate.test_kill import killed
from tests.gate.unseen import LIMIT_S, add_payments, add_probe, lost, settlement_of
from tests.world import CONFIG, World, world, world_on


@pytest.fixture(autouse=True)
def _payments(w: World) -> None:
    add_payments(w.gate)


def unsettled(w: World, call: CallId, answer: Any, why: str) -> Probed:
    """The probe is asked, and settles nothing."""
    before = w.kinds()
    probed = w.gate.probe_unknown(call)
    assert (probed.call, probed.answer, probed.settled, probed.why) == (call, answer, None, why)
    assert w.kinds() == before
    assert call in [found.call for found in w.gate.unknown()]
    return probed


def test_a_tool_without_a_probe_leaves_its_calls_as_they_are(w: World) -> None:
    unsettled(w, lost(w), None, "`bank.pay` has no probe in this process")


def test_a_probe_that_cannot_tell_settles_nothing(w: World) -> None:
    asked = add_probe(w, None)
    unsettled(w, lost(w), None, "its probe cannot tell")
    assert len(asked) == 1


@pytest.mark.parametrize("answer", [1, 0, "True", [], object(), 1.0], ids=lambda answer: type(answer).__name__)
def test_what_is_not_an_answer_settles_nothing(w: World, answer: Any) -> None:
    add_probe(w, answer)
    unsettled(w, lost(w), None, f"its probe answered with a `{type(answer).__name__}`, which is no answer")


@pytest.mark.parametrize("error", [RuntimeError("token 17"), TimeoutError(), SystemExit(0), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_probe_that_raises_settles_nothing_and_its_message_is_kept_to_itself(w: World, error: BaseException) -> None:
    add_probe(w, error)
    unsettled(w, lost(w), None, f"its probe failed with `{type(error).__name__}`")


@pytest.mark.parametrize("error", [ValueError("token 17"), TimeoutError(), SystemExit(0), asyncio.CancelledError()], ids=repr)
def test_an_asynchronous_probe_that_raises_settles_nothing(w: World, error: BaseException) -> None:
    @w.gate.probe("bank.pay")
    async def was_paid(customer_id: str, amount_cents: int, on: date) -> bool:
        await asyncio.sleep(0)
        raise error

    unsettled(w, lost(w), None, f"its probe failed with `{type(error).__name__}`")


@pytest.mark.parametrize("answer", [True, False])
def test_an_asynchronous_probe_is_awaited(w: World, answer: bool) -> None:  # noqa: FBT001
    @w.gate.probe("bank.pay")
    async def was_paid(customer_id: str, amount_cents: int, on: date) -> bool:
        await asyncio.sleep(0)
        return answer

    probed = w.gate.probe_unknown(lost(w))
    assert probed.settled is not None
    assert probed.settled.status == ("ok" if answer else "not_executed")


def test_a_probe_may_be_asked_from_within_an_event_loop(w: World) -> None:
    @w.gate.probe("bank.pay")
    async def was_paid(customer_id: str, amount_cents: int, on: date) -> bool:
        await asyncio.sleep(0)
        return True

    call = lost(w)

    async def ask() -> Probed:
        return w.gate.probe_unknown(call)

    assert asyncio.run(ask()).settled is not None


@pytest.mark.parametrize("is_async", [False, True])
def test_a_probe_that_is_late_settles_nothing_not_even_when_it_answers(w: World, is_async: bool) -> None:  # noqa: FBT001
    answered = threading.Event()

    async def later(customer_id: str, amount_cents: int, on: date) -> bool:
        try:
            await asyncio.sleep(LIMIT_S * 4)
        finally:
            answered.set()
        return True

    def late(customer_id: str, amount_cents: int, on: date) -> bool:
        answered.wait(LIMIT_S * 4)
        answered.set()
        return True

    w.gate.probe("bank.pay")(later if is_async else late)
    call = lost(w)
    unsettled(w, call, None, f"its probe did not answer within {LIMIT_S:g} s")
    assert answered.wait(5)
    assert w.kinds() == ["intent", "outcome"]


def test_a_probe_of_a_tool_without_a_limit_is_bounded_as_resolvers_are(tmp_path: Path) -> None:
    killed(tmp_path, "in the tool")
    with world_on(tmp_path, config=f"{CONFIG}\n[limits]\nresolver_timeout_s = 0.1\n") as w:

        @w.gate.probe("billing.adjust")
        def slow(customer_id: str, amount_cents: int) -> bool:
            w.release.wait(5)
            return True

        (found,) = w.gate.unknown()
        unsettled(w, found.call, None, "its probe did not answer within 0.1 s")
        w.release.set()


@pytest.mark.parametrize("place", ["in memory", "in a file"])
def test_a_no_settles_nothing_while_a_thread_may_still_do_it_and_a_yes_does(place: str, tmp_path: Path) -> None:
    with world() if place == "in memory" else world_on(tmp_path) as w:
        answer = False

        @w.gate.tool("account.wipe", access="destructive", touches={"access"}, timeout_s=0.05)
        def wipe() -> str:
            w.release.wait(10)
            return "wiped"

        @wipe.probe
        def is_wiped() -> bool:
            return answer

        with w.alice():
            result = w.gate.call("account.wipe", {})
        assert isinstance(result, Failed)
        unsettled(w, result.call, False, "it has not happened yet, but its process lives and may still be at it")
        answer = True
        probed = w.gate.probe_unknown(result.call)
        assert probed.settled is not None
        assert probed.settled.status == "ok"
        w.release.set()


def test_a_no_is_believed_once_the_gate_that_made_the_call_is_closed(tmp_path: Path) -> None:
    def with_wipe(w: World) -> None:
        @w.gate.tool("account.wipe", access="destructive", touches={"access"}, timeout_s=0.05)
        def wipe() -> None:
            w.release.wait(10)

        wipe.probe(lambda: False)

    with world_on(tmp_path) as w:
        with_wipe(w)
        with w.alice():
            call = w.gate.call("account.wipe", {}).call
    with world_on(tmp_path) as later:
        with_wipe(later)
        probed = later.gate.probe_unknown(call)
        assert probed.settled is not None
        assert probed.settled.status == "not_executed"
        w.release.set()


def test_arguments_that_were_erased_are_not_made_up(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        add_payments(w.gate)
        asked = add_probe(w, answer=True)
        call = lost(w)
        with OpenLedger(w.gate.settings, w.clock, create=False) as ledger:
            erase(ledger.operator(w.gate.settings, "olga"), ledger.manifest, Subject("acme", "Customer", "C-1"), "asked by letter")
        unsettled(w, call, None, "its arguments were erased, so its probe was not run")
        assert asked == []
        assert_whole(w.gate)


def test_arguments_that_a_record_does_not_hold_whole_are_not_made_up(w: World) -> None:
    asked: list[str] = []

    @w.gate.tool("bank.note", access="write", touches={"access"}, timeout_s=LIMIT_S)
    async def note(text: str, pin: Annotated[str | None, Secret] = None) -> None:
        await asyncio.sleep(60)

    @note.probe
    def is_noted(text: str, pin: Annotated[str | None, Secret] = None) -> bool:
        asked.append(text)
        return True

    def given_up(**arguments: Any) -> CallId:
        with w.alice():
            return w.gate.call("bank.note", arguments).call

    long, hidden, token = given_up(text="x" * 70_000), given_up(text="y", pin="1234"), given_up(text="ghp_" + "a1B2c3D4e5F6" * 3)
    beginning, end = "the log does not hold all of its arguments (", "), so its probe was not run"
    unsettled(w, long, None, f"{beginning}cut:arguments{end}")
    unsettled(w, hidden, None, f"{beginning}secret:arguments.pin{end}")
    assert asked == []
    whole = given_up(text="z")
    assert w.gate.probe_unknown(whole).settled is not None
    redactions = w.records()[4].envelope.redactions
    assert redactions, "a credential in an argument is hidden too"
    unsettled(w, token, None, f"{beginning}{', '.join(redactions)}{end}")
    assert asked == ["z"]


def died(folder: Path) -> CallId:
    """A payment by a tool whose definition is another one later."""
    with world_on(folder) as w:

        @w.gate.tool("bank.pay", access="write", touches={"access"}, timeout_s=LIMIT_S)
        async def pay(to: str, amount_cents: int) -> None:
            await asyncio.sleep(60)

        with w.alice():
            return w.gate.call("bank.pay", {"to": "A-1", "amount_cents": 7}).call


def test_a_tool_that_was_only_described_anew_is_still_probed(tmp_path: Path) -> None:
    call = died(tmp_path)
    with world_on(tmp_path) as w:

        @w.gate.tool("bank.pay", access="write", touches={"access"}, description="Pay, as ever.")
        def pay(to: str, amount_cents: int) -> None: ...

        @pay.probe
        def is_paid(to: str, amount_cents: int) -> bool:
            return (to, amount_cents) == ("A-1", 7)

        assert w.gate.probe_unknown(call).answer is True


def test_a_tool_that_no_longer_takes_the_arguments_is_not_probed(tmp_path: Path) -> None:
    call = died(tmp_path)
    with world_on(tmp_path) as w:

        @w.gate.tool("bank.pay", access="write", touches={"access"})
        def pay(to: str, cents: int) -> None: ...

        @pay.probe
        def is_paid(to: str, cents: int) -> bool:
            raise AssertionError

        probed = w.gate.probe_unknown(call)
        assert (probed.answer, probed.settled) == (None, None)
        assert str(probed.why).startswith("`bank.pay` as it is defined now does not take its arguments, so its probe was not run: ")


def test_a_tool_that_would_fill_in_what_was_not_sent_is_not_probed(tmp_path: Path) -> None:
    call = died(tmp_path)
    with world_on(tmp_path) as w:

        @w.gate.tool("bank.pay", access="write", touches={"access"})
        def pay(to: str, amount_cents: int, currency: str = "EUR") -> None: ...

        @pay.probe
        def is_paid(to: str, amount_cents: int, currency: str = "EUR") -> bool:
            raise AssertionError

        unsettled(w, call, None, "`bank.pay` as it is defined now reads other arguments than were sent, so its probe was not run")


def test_a_probe_cannot_be_a_method(w: World) -> None:
    class Desk:
        @w.gate.tool("desk.close", access="write")
        def close(self, ticket: str) -> None: ...

        def is_closed(self, ticket: str) -> bool:
            return bool(ticket)

    with pytest.raises(CatalogInvalid, match="asked when no object is at hand"):
        w.gate.probe("desk.close")(Desk.is_closed)


def test_the_probe_of_a_method_is_asked_without_its_object(w: World) -> None:
    class Desk:
        @w.gate.tool("desk.close", access="write", touches={"access"}, timeout_s=LIMIT_S)
        async def close(self, ticket: str) -> None:
            await asyncio.sleep(60 + len(ticket))

    @w.gate.probe("desk.close")
    def is_closed(ticket: str) -> bool:
        return ticket == "T-1"

    with w.alice(), pytest.raises(Exception, match="did not end within its time"):
        asyncio.run(Desk().close("T-1"))
    (found,) = w.gate.unknown()
    assert w.gate.probe_unknown(found.call).answer is True


def test_what_was_settled_while_the_probe_ran_stands(w: World) -> None:
    call = lost(w)

    @w.gate.probe("bank.pay")
    def was_paid(customer_id: str, amount_cents: int, on: date) -> bool:
        w.gate.settle(call, "not_executed", reason="the bank has called")
        return True

    with pytest.raises(SettlementRefused, match="somebody else has settled it") as caught:
        w.gate.probe_unknown(call)
    assert caught.value.code == "already_settled"
    assert settlement_of(w)["by"] == "person"
    assert w.kinds() == ["intent", "outcome", "outcome"]
