"""Attacks on a vote that takes a passkey: by another door, with what was signed for something else, by somebody else, twice at one moment."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from licet import Gate
from licet.cli import main
from licet.config import loads
from licet.errors import VoteRefused
from licet.gate.credentials import list_credentials
from licet.gate.plans import PlannedCall
from licet.gate.results import Held, Ok
from licet.identity.api_keys import KeyContent
from licet.ledger.passkeys import challenge_of
from licet.model import PlanId, RequestId
from licet.testing import Clock
from tests.attacks.console_site import attacked, attacked_config
from tests.console.authenticator import PRESENT, VERIFIED, Authenticator, client_data, coded
from tests.console.test_passkeys import add, asked_of, begin, cast, sign
from tests.console.world import SAME, Browser, ConsoleWorld, text_of
from tests.gate.proof import assert_whole
from tests.server.world import Reply
from tests.world import POLICIES, World, populate, world

RISKY = 'passkey_for = ["money"]\n'
CONFIRMED = """
@id("refund-is-confirmed")
@require_confirmation
forbid (principal, action == Action::"billing.refund", resource);
"""


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with attacked(RISKY) as made:
        yield made
        assert_whole(made.gate)


class Voter:
    """Lena, signed in, with a passkey."""

    def __init__(self, served: ConsoleWorld) -> None:
        self.browser = served.enter("lena")
        self.key = Authenticator()
        assert add(self.browser, self.key).status == 200


@pytest.fixture
def lena(served: ConsoleWorld) -> Voter:
    return Voter(served)


def held(served: ConsoleWorld, amount: int = 50_000) -> str:
    """The page of a request that waits."""
    return f"/console/inbox/{served.world.held(amount).request}"


def planned(served: ConsoleWorld, *calls: PlannedCall) -> tuple[PlanId, str]:
    """A plan that waits, and its page."""
    with served.world.alice():
        found = served.gate.plan(calls)
    assert found.plan is not None
    return found.plan, f"/console/inbox/plans/{found.plan}"


def adjusting(amount: int) -> PlannedCall:
    return PlannedCall("billing.adjust", {"customer_id": "C-1", "amount_cents": amount})


NOTE = PlannedCall("notes.write", {"customer_id": "C-1", "text": "t", "way": "held"})


def steps_of(browser: Browser, page: str) -> dict[str, str]:
    shown = browser.get(page).content.decode()
    return {name: f"approve.{binding}" for name, binding in re.findall(r'name="(step_\d+)"[^>]*value="approve\.([0-9a-f]{64})"', shown)}


def nothing_was_done(served: ConsoleWorld) -> None:
    assert "vote" not in served.world.kinds()
    assert isinstance(served.world.adjust(50_000), Held)
    assert [tool for tool, _ in served.world.ran if tool == "billing.adjust"] == []


# another door


def test_no_door_takes_an_approval_of_what_is_risky_without_a_passkey(served: ConsoleWorld, lena: Voter) -> None:
    page = held(served)
    request, desk = RequestId(page.rpartition("/")[2]), served.gate.approvals
    binding = served.gate.approvals.show(request).request
    shown = lena.browser.get(page).content.decode().partition('name="binding" value="')[2][:64]
    key = served.gate.credentials.issue(KeyContent(name="lena's", tenants=("acme",), user="lena"), expires_s=None).key
    vote = {"verdict": "approve", "binding": shown}
    there = f"/api/v1/requests/{request}/votes"
    assert binding.passkey is True
    reply = served.post(there, key, vote)
    assert (reply.status, reply.code) == (403, "passkey_needed")
    for more in ({"signed": None}, {"assertion": ""}, {"credential": "x"}, {"channel": "mcp"}, {"passkey": False}):
        assert served.post(there, key, {**vote, **more}).status == 400
    for headers in ({"cookie": f"__Host-licet={lena.browser.cookie}"}, {"authorization": f"Bearer {lena.browser.cookie}"}):
        assert served.post(there, None, vote, headers={**SAME, **headers}).status == 401
    for given in ("", "null", " ", "{}", "[]", "0", '{"id":""}', "[" * 5_000):
        assert cast(lena.browser, page, given).status in {400, 403}
    for verdict in ("APPROVE", "approve ", "approved", "approve\u0000"):
        assert cast(lena.browser, page, "", verdict).status == 400
    fields = {"binding": shown, "verdict": "approve", "comment": ""}
    for more in ({"needs": "false"}, {"signed": "1"}, {"channel": "mcp"}, {"credential": "x"}):
        assert lena.browser.send(page, f"{page}/vote", {**fields, **more}).status == 400
    with pytest.raises(VoteRefused, match="is signed with a passkey"):
        desk.vote(request, "lena", "approve")
    with pytest.raises(VoteRefused):
        desk.vote(request, "lena", "approve", channel="mcp")
    nothing_was_done(served)


def test_a_plan_takes_no_risky_step_in_with_a_harmless_one(served: ConsoleWorld, lena: Voter) -> None:
    plan, page = planned(served, NOTE, adjusting(50_000))
    steps = steps_of(lena.browser, page)
    assert set(steps) == {"step_1", "step_2"}
    key = served.gate.credentials.issue(KeyContent(name="lena's", tenants=("acme",), user="lena"), expires_s=None).key
    votes = [{"step": number, "verdict": "approve", "binding": steps[f"step_{number}"][8:]} for number in (1, 2)]
    assert served.post(f"/api/v1/plans/{plan}/votes", key, {"votes": votes}).code == "passkey_needed"
    assert served.post(f"/api/v1/plans/{plan}/votes", key, {"votes": votes[1:]}).code == "passkey_needed"
    assert lena.browser.send(page, f"{page}/vote", steps).status == 403
    with pytest.raises(VoteRefused, match="is signed with a passkey"):
        served.gate.approvals.vote_plan(plan, "lena", {1: "approve", 2: "approve"})
    assert "vote" not in served.world.kinds()  # not that on the harmless step either
    alone = json.dumps(lena.key.answer(challenge_of([])))
    assert lena.browser.send(page, f"{page}/vote", {**steps, "assertion": alone}).status == 422
    assert lena.browser.send(page, f"{page}/vote", {"step_1": steps["step_1"]}).status == 303  # which takes none
    assert [tool for tool, _ in served.world.ran if tool != "crm.lookup"] == []


def test_the_command_line_takes_no_approval_of_what_is_risky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = attacked_config(RISKY)
    (tmp_path / "licet.toml").write_text(config)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text(POLICIES)

    def call() -> Any:
        with Gate(loads(config, file=tmp_path / "licet.toml")) as gate:
            return populate(World(gate, Clock())).adjust(50_000)

    request = call().request
    monkeypatch.chdir(tmp_path)
    for arguments in (["approve", request, "--as", "lena"], ["approve", request, "--as", "lena", "--comment", "x", "--json"]):
        said = CliRunner().invoke(main, ["approvals", *arguments])
        assert said.exit_code == 6
        assert "passkey" in said.output
    found = call()
    assert isinstance(found, Held)
    assert found.request == request
    assert CliRunner().invoke(main, ["approvals", "deny", request, "--as", "lena"]).exit_code == 0  # no takes none


def test_a_client_that_asks_its_user_confirms_nothing_that_takes_a_passkey() -> None:
    with world(attacked_config(RISKY), POLICIES + CONFIRMED) as there:
        with there.alice():
            found = there.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 100})
        assert isinstance(found, Held)
        assert found.request is not None
        with pytest.raises(VoteRefused) as refused:
            there.gate.approvals.vote(found.request, "alice", "approve", channel="mcp")
        assert refused.value.code == "passkey_needed"
        assert "vote" not in there.kinds()
        assert there.gate.approvals.vote(found.request, "alice", "reject", channel="mcp").request.state == "rejected"


# what was signed for something else


def test_what_was_signed_for_anything_else_is_no_vote(served: ConsoleWorld, lena: Voter) -> None:
    page, other = held(served), held(served, 60_000)
    browser, key = lena.browser, lena.key
    plan, plan_page = planned(served, adjusting(70_000), adjusting(80_000))
    both = sign(browser, plan_page, key)
    signing_in, _ = begin(served)
    registering = asked_of(browser)
    wanted = challenge_of_page(browser, page)
    for name, assertion in {
        "another request": sign(browser, other, key),
        "a plan": both,
        "a no": sign(browser, page, key, verdict="reject"),
        "another voter": sign(browser, page, key, voter="alice"),
        "another comment": sign(browser, page, key, comment="but"),
        "signing in": json.dumps(key.answer(signing_in)),
        "adding a passkey": json.dumps(key.answer(registering)),
        "nothing": json.dumps(key.answer(challenge_of([]))),
        "making a passkey": json.dumps(key.answer(wanted, kind="webauthn.create")),
        "paying": json.dumps(key.answer(wanted, kind="payment.get")),
        "another origin": json.dumps(key.answer(wanted, origin="https://licet.example.com.evil.example")),
        "a frame elsewhere": json.dumps(framed(key, wanted)),
        "nobody there": json.dumps(key.answer(wanted, flags=VERIFIED)),
        "nobody verified": json.dumps(key.answer(wanted, flags=PRESENT)),
        "no flags": json.dumps(key.answer(wanted, flags=0)),
        "cut": json.dumps({**key.answer(wanted), "authenticator_data": coded(key.data(PRESENT | VERIFIED)[:36])}),
        "no signature": json.dumps({**key.answer(wanted), "signature": ""}),
        "a signature of another time": json.dumps({**key.answer(wanted), "signature": key.answer(signing_in)["signature"]}),
        "padded": json.dumps({**key.answer(wanted), "signature": key.answer(wanted)["signature"] + "="}),
        "long": json.dumps({**key.answer(wanted), "signature": "A" * 30_000}),
    }.items():
        assert cast(browser, page, assertion).status in {400, 422}, name
    step = steps_of(browser, plan_page)
    assert browser.send(plan_page, f"{plan_page}/vote", {"step_1": step["step_1"], "assertion": both}).status == 422
    assert browser.send(plan_page, f"{plan_page}/vote", {**step, "comment": "but", "assertion": both}).status == 422
    swapped = {"step_1": step["step_2"], "step_2": step["step_1"], "assertion": both}
    assert browser.send(plan_page, f"{plan_page}/vote", swapped).status in {409, 422}
    assert plan is not None
    nothing_was_done(served)
    assert cast(browser, page, sign(browser, page, key)).status == 303  # and this is one


def challenge_of_page(browser: Browser, page: str) -> bytes:
    """What the script of the page would have signed."""
    seen: list[bytes] = []

    class Looking(Authenticator):
        def answer(self, challenge: bytes | str, **more: Any) -> dict[str, str]:
            assert isinstance(challenge, bytes)
            seen.append(challenge)
            return super().answer(challenge, **more)

    sign(browser, page, Looking())
    return seen[0]


def framed(key: Authenticator, challenge: bytes) -> dict[str, str]:
    """Signed in a frame of another site's page."""
    data, client = key.data(PRESENT | VERIFIED), client_data("webauthn.get", challenge, key.origin, crossOrigin=True)
    signature = key.sign(data + hashlib.sha256(client).digest())
    return {"id": coded(key.id), "client_data": coded(client), "authenticator_data": coded(data), "signature": coded(signature)}


def test_what_was_signed_for_a_vote_opens_no_session_and_adds_no_passkey(served: ConsoleWorld, lena: Voter) -> None:
    page = held(served)
    vote = json.loads(sign(lena.browser, page, lena.key))
    signing_in, cookie = begin(served)
    for challenge in (signing_in, coded(challenge_of_page(lena.browser, page))):
        fields = {"challenge": challenge, **vote, "next": "/console"}
        reply = served.form("/console/passkeys/sign-in", fields, {**SAME, "cookie": cookie})
        assert reply.status == 403
        assert "__Host-licet=" not in reply.headers.get("set-cookie", "")
    answer = {**Authenticator().register(signing_in), "name": "x"}
    assert lena.browser.send("/console/you", "/console/you/passkeys", answer).status == 403
    mine = Authenticator().register(asked_of(lena.browser))
    fields = {"challenge": mine["challenge"], **lena.key.answer(mine["challenge"])}
    assert served.form("/console/passkeys/sign-in", fields, {**SAME, "cookie": cookie}).status == 403


def test_a_vote_that_was_signed_is_cast_once_whatever_happens_to_its_request(served: ConsoleWorld, lena: Voter) -> None:
    page = held(served)
    signed = sign(lena.browser, page, lena.key)
    assert cast(lena.browser, page, signed).status == 303
    assert cast(lena.browser, page, signed).status in {400, 403, 409}
    assert lena.browser.send(page, f"{page}/take-back").status == 303
    assert cast(lena.browser, page, signed).status == 422  # the second vote is another one
    assert isinstance(served.world.adjust(50_000), Held)
    assert cast(lena.browser, page, sign(lena.browser, page, lena.key)).status == 303
    assert isinstance(served.world.adjust(50_000), Ok)
    again = held(served)  # exactly the same call
    assert again != page
    assert cast(lena.browser, again, signed).status == 422
    served.world.clock.advance(timedelta(minutes=16))
    assert cast(lena.browser, again, signed).status in {400, 409, 422}
    assert [tool for tool, _ in served.world.ran].count("billing.adjust") == 1


def test_a_passkey_that_is_not_the_voters_and_good_here_signs_nothing(served: ConsoleWorld, lena: Voter) -> None:
    page = held(served)
    wanted = challenge_of_page(lena.browser, page)
    theirs, elsewhere, revoked, unknown = (Authenticator() for _ in range(4))
    dana = served.enter("dana")
    assert add(dana, theirs).status == 200
    elsewhere.rp_id, elsewhere.origin = "evil.example", "https://evil.example"
    elsewhere.give_to(served.gate, "lena")  # as if it had been registered there
    assert add(lena.browser, revoked).status == 200
    credential = next(
        one.id for one in reversed(list_credentials(served.gate.store, served.gate.now())) if one.user == "lena" and one.kind == "passkey"
    )
    stolen = Authenticator()
    stolen.id = lena.key.id
    for key in (theirs, unknown, stolen):
        assert cast(lena.browser, page, json.dumps(key.answer(wanted))).status == 422
    signed = json.dumps(revoked.answer(wanted))
    ids = {one.id for one in list_credentials(served.gate.store, served.gate.now()) if one.kind == "passkey" and one.user == "lena"}
    assert credential in ids
    for one in ids:
        served.gate.credentials.revoke(one, reason="lost")
    assert cast(lena.browser, page, signed).status == 422
    assert cast(lena.browser, page, json.dumps(lena.key.answer(wanted))).status == 422
    assert "you have none that is good here" in text_of(lena.browser.get(page))
    nothing_was_done(served)


def test_a_passkey_of_another_address_signs_what_was_registered_there_and_nothing_here(served: ConsoleWorld, lena: Voter) -> None:
    page = held(served)
    wanted = challenge_of_page(lena.browser, page)
    for rp_id, origin in (
        ("evil.example", "https://evil.example"),
        ("example.com", "https://example.com"),
        ("licet.example.com", "http://licet.example.com"),
    ):
        forged = Authenticator(rp_id=rp_id, origin=origin)
        assert add(lena.browser, forged).status == 403
        forged.id = lena.key.id
        forged.private = lena.key.private  # even by the right key
        assert cast(lena.browser, page, json.dumps(forged.answer(wanted))).status == 422
    nothing_was_done(served)


# what is asked changes


def test_what_was_approved_before_passkeys_were_asked_for_runs_nothing_after(served: ConsoleWorld) -> None:
    settings = served.gate.settings
    off = replace(settings, approvals=replace(settings.approvals, passkey_for=()))
    served.gate.reload(off)
    page = held(served)
    lena = served.enter("lena")
    assert cast(lena, page, "").status == 303
    assert "approved" in text_of(lena.get(page)).lower()
    served.gate.reload(settings)
    found = served.world.adjust(50_000)
    assert isinstance(found, Held)
    assert "passkey" in found.decision.message
    assert f"/console/inbox/{found.request}" != page
    assert cast(lena, f"/console/inbox/{found.request}", "").status == 403
    assert [tool for tool, _ in served.world.ran] == []


def test_what_takes_a_passkey_takes_one_when_settings_ask_for_none_any_more(served: ConsoleWorld, lena: Voter) -> None:
    page, settings = held(served), served.gate.settings
    for classes in ((), ("production",), ("destructive",)):
        served.gate.reload(replace(settings, approvals=replace(settings.approvals, passkey_for=classes)))
        assert cast(lena.browser, page, "").status == 403
        with pytest.raises(VoteRefused, match="is signed with a passkey"):
            served.gate.approvals.vote(RequestId(page.rpartition("/")[2]), "lena", "approve")
    nothing_was_done(served)


# at one moment


def at_once(count: int, act: Any) -> list[Any]:
    together, found = Barrier(count), list[Any]()

    def run(number: int) -> None:
        together.wait()
        found.append(act(number))

    threads = [Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_vote_from_many_browsers_at_one_moment_is_one_and_runs_the_call_once(served: ConsoleWorld, lena: Voter) -> None:
    page = held(served)
    browsers = [lena.browser, *[served.enter("lena") for _ in range(5)]]
    signed = sign(lena.browser, page, lena.key)
    forms = [fields_of(browser, page, signed) for browser in browsers]

    def press(number: int) -> Reply:
        return browsers[number].post(f"{page}/vote", forms[number])

    found = [reply.status for reply in at_once(len(browsers), press)]
    assert found.count(303) == 1
    assert set(found) <= {303, 403, 409, 422}
    assert served.world.kinds().count("vote") == 1
    results = at_once(8, lambda _: served.world.adjust(50_000))
    assert sum(isinstance(result, Ok) for result in results) == 1
    assert [tool for tool, _ in served.world.ran] == ["billing.adjust"]


def fields_of(browser: Browser, page: str, assertion: str) -> dict[str, str]:
    shown = browser.get(page).content.decode()
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', shown)
    assert token is not None
    binding = shown.partition('name="binding" value="')[2][:64]
    return {"form_token": token[1], "binding": binding, "verdict": "approve", "comment": "", "assertion": assertion}


def test_a_yes_a_no_and_a_withdrawal_at_one_moment_leave_one_of_them(served: ConsoleWorld, lena: Voter) -> None:
    alice = served.enter("alice")
    for amount in (50_001, 50_002, 50_003):
        page = held(served, amount)
        yes = fields_of(lena.browser, page, sign(lena.browser, page, lena.key))
        no = {**yes, "verdict": "reject", "assertion": ""}
        away = {"form_token": fields_of(alice, page, "")["form_token"]}
        acts = [
            lambda yes=yes, page=page: lena.browser.post(f"{page}/vote", yes).status,
            lambda no=no, page=page: lena.browser.post(f"{page}/vote", no).status,
            lambda away=away, page=page: alice.post(f"{page}/withdraw", away).status,
        ]
        found = at_once(3, lambda number, acts=acts: acts[number]())
        state = served.gate.approvals.show(RequestId(page.rpartition("/")[2])).request.state
        assert 303 in found
        assert state in {"approved", "rejected", "withdrawn"}
        result = served.world.adjust(amount)
        assert isinstance(result, Ok) == (state == "approved")
