"""The inbox: who sees what, what stands on the page, and the vote."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from licet.gate.credentials import list_credentials
from licet.gate.results import Held, Ok
from licet.model import RequestId
from tests.console.world import Browser, ConsoleWorld, console_world, text_of
from tests.gate.proof import assert_whole

AMOUNT = 50_000


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world() as made:
        yield made
        assert_whole(made.gate)


def held(served: ConsoleWorld) -> RequestId:
    request = served.world.held(AMOUNT).request
    assert request is not None
    return request


def suspended(served: ConsoleWorld) -> RequestId:
    with served.world.alice():
        found = served.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(found, Held)
    assert found.request is not None
    return found.request


def cast(browser: Browser, request: str, verdict: str = "approve", comment: str = "") -> Any:
    shown = browser.get(f"/console/inbox/{request}").content.decode()
    binding = shown.partition('name="binding" value="')[2][:64]
    fields = {"binding": binding, "verdict": verdict, "comment": comment}
    return browser.send(f"/console/inbox/{request}", f"/console/inbox/{request}/vote", fields)


def votes(served: ConsoleWorld) -> list[tuple[str, str, str | None, str | None]]:
    details = [record.payload.detail for record in served.world.records() if record.kind == "vote" and record.payload.detail]
    return [(one["vote"]["voter"], one["vote"]["verdict"], one["vote"]["comment"], one["vote"]["credential"]) for one in details]


def test_an_approver_sees_what_would_change_before_who_asks_and_why_it_is_held(served: ConsoleWorld) -> None:
    request = held(served)
    lena = served.enter("lena")
    assert f'href="/console/inbox/{request}?show=mine"' in lena.get("/console/inbox").content.decode()
    text = text_of(lena.get(f"/console/inbox/{request}")).partition("touches money")[2]
    places = [text.index(part) for part in ("min left", "What would change", "balance", "Who asks", "Why held", "0 of 1 votes", "Binds")]
    assert places == sorted(places)
    assert f"100 {100 + AMOUNT}" in text
    assert "Last vote needed." in text


def test_a_vote_is_recorded_with_its_voter_their_session_and_what_they_said(served: ConsoleWorld) -> None:
    request = held(served)
    lena = served.enter("lena")
    reply = cast(lena, request, comment=" as agreed ")
    assert (reply.status, reply.headers["location"]) == (303, f"/console/inbox/{request}")
    session = next(one.id for one in list_credentials(served.gate.store, served.gate.now()) if one.kind == "session")
    assert votes(served) == [("lena", "approve", "as agreed", session)]
    assert "Approved" in text_of(lena.get(f"/console/inbox/{request}"))
    assert isinstance(served.world.adjust(AMOUNT), Ok)


def test_a_rejected_call_does_not_run(served: ConsoleWorld) -> None:
    request = held(served)
    assert cast(served.enter("lena"), request, "reject").status == 303
    assert votes(served)[0][:3] == ("lena", "reject", None)
    assert served.world.ran == []


def test_who_may_not_vote_has_no_buttons_and_is_told_why(served: ConsoleWorld) -> None:
    request = held(served)
    alice = served.enter("alice")
    page = alice.get(f"/console/inbox/{request}")
    assert 'name="verdict"' not in page.content.decode()
    assert "You may not vote on this one: `alice` is the one this call is made for, and nobody approves their own." in text_of(page)


def test_who_may_not_vote_cannot_by_a_form_either(served: ConsoleWorld) -> None:
    request = held(served)
    binding = served.enter("lena").get(f"/console/inbox/{request}").content.decode().partition('name="binding" value="')[2][:64]
    alice = served.enter("alice")
    reply = alice.send("/console/inbox", f"/console/inbox/{request}/vote", {"binding": binding, "verdict": "approve"})
    assert reply.status == 403
    assert votes(served) == []


def test_somebody_of_another_tenant_finds_nothing(served: ConsoleWorld) -> None:
    request = held(served)
    gina = served.enter("gina")
    reply = gina.get(f"/console/inbox/{request}")
    assert reply.status == 404
    assert request not in gina.get("/console/inbox?show=all").content.decode()


def test_a_vote_on_something_else_than_was_looked_at_moves_nothing(served: ConsoleWorld) -> None:
    request = held(served)
    lena = served.enter("lena")
    reply = lena.send("/console/inbox", f"/console/inbox/{request}/vote", {"binding": "0" * 64, "verdict": "approve"})
    assert reply.status == 409
    assert votes(served) == []


def test_a_form_without_its_token_moves_nothing(served: ConsoleWorld) -> None:
    request = held(served)
    lena, other = served.enter("lena"), served.enter("lena")
    for token in ("", "0" * 64, other.cookie):
        reply = lena.post(f"/console/inbox/{request}/vote", {"form_token": token, "binding": "0" * 64, "verdict": "approve"})
        assert reply.status == 403
        assert "load the page again" in text_of(reply)
    assert votes(served) == []


def test_of_two_browsers_that_vote_at_one_moment_one_vote_stands(served: ConsoleWorld) -> None:
    request = held(served)
    browsers = [served.enter("lena"), served.enter("lena")]
    with ThreadPoolExecutor(2) as pool:
        statuses = [reply.status for reply in pool.map(lambda one: cast(one, request), browsers)]
    assert 303 in statuses
    assert [one[0] for one in votes(served)] == ["lena"]


def test_nothing_that_an_agent_wrote_is_markup(served: ConsoleWorld) -> None:
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    with served.world.alice(reason=hostile):
        found = served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": AMOUNT})
    assert isinstance(found, Held)
    page = served.enter("lena").get(f"/console/inbox/{found.request}").content.decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_every_page_loads_nothing_from_elsewhere_and_runs_nothing_of_its_own(served: ConsoleWorld) -> None:
    request = held(served)
    lena = served.enter("lena")
    for path in ("/console/inbox", f"/console/inbox/{request}", "/console/inbox/none", "/console/nothing"):
        reply = lena.get(path)
        page = reply.content.decode()
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'nonce-")
        assert "require-trusted-types-for 'script'" in policy
        assert not any(bad in page for bad in ("http://", "https://", " style=", "javascript:", " onclick", "<script>"))
        assert (reply.headers["x-frame-options"], reply.headers["cache-control"]) == ("DENY", "no-store")


def test_the_menu_and_the_tabs_say_how_many_wait(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    assert 'class="count"' not in lena.get("/console/inbox").content.decode()
    held(served)
    assert "Yours 1 All open 1 Decided" in text_of(lena.get("/console/inbox"))
    assert "Inbox 1 waiting" in text_of(lena.get("/console/inbox?show=all"))
    assert "Inbox 1 waiting" in text_of(lena.get("/console/you"))
    assert "waiting" not in text_of(served.enter("alice").get("/console/inbox?show=all"))  # she may not vote on her own


def test_somebody_who_approves_nothing_sees_what_was_asked_for_them(served: ConsoleWorld) -> None:
    with served.gate.acting(agent="support-bot", user="alice"):
        found = served.gate.call("account.suspend", {"customer_id": "C-1"})
    assert isinstance(found, Held)
    alice, carl = served.enter("alice"), served.enter("carl")
    assert str(found.request) in alice.get("/console/inbox?show=all").content.decode()
    page = alice.get(f"/console/inbox/{found.request}")
    assert page.status == 200
    assert "Withdraw this request" in text_of(page)
    assert str(found.request) not in carl.get("/console/inbox?show=all").content.decode()
    assert carl.get(f"/console/inbox/{found.request}").status == 404
    assert "Inbox" in text_of(carl.get("/console/inbox"))


def test_who_was_too_late_is_shown_what_has_become_of_it(served: ConsoleWorld) -> None:
    request = held(served)
    first, second = served.enter("lena"), served.enter("lena")
    binding = second.get(f"/console/inbox/{request}").content.decode().partition('name="binding" value="')[2][:64]
    assert cast(first, request, "reject").status == 303
    reply = second.send("/console/inbox", f"/console/inbox/{request}/vote", {"binding": binding, "verdict": "approve"})
    assert reply.status == 409
    text = text_of(reply)
    assert "This was not counted, and nothing was changed by it" in text
    assert "Rejected" in text
    assert 'name="verdict"' not in reply.content.decode()
    assert f'hx-get="/console/inbox/{request}"' in reply.content.decode()  # not the address of the form, which is no page


def test_after_a_vote_the_page_says_what_it_has_brought_about(served: ConsoleWorld) -> None:
    request = held(served)
    lena = served.enter("lena")
    cast(lena, request)
    assert "You approved it. The agent may make this call now, once." in text_of(lena.get(f"/console/inbox/{request}"))
    assert isinstance(served.world.adjust(AMOUNT), Ok)
    assert "You approved it. The call was made." in text_of(lena.get(f"/console/inbox/{request}"))


def test_of_two_votes_the_first_says_that_one_more_is_needed(served: ConsoleWorld) -> None:
    request = suspended(served)
    dana, omar = served.enter("dana"), served.enter("omar")
    text = text_of(dana.get(f"/console/inbox/{request}"))
    assert "0 of 2 votes You may vote, as dana dana-two and omar may vote" in text or "You may vote, as dana omar may vote" in text
    assert cast(dana, request).status == 303
    assert "You approved it. 1 more vote needed." in text_of(dana.get(f"/console/inbox/{request}"))
    assert "`dana-two` has voted on it already" in text_of(served.enter("dana-two").get(f"/console/inbox/{request}"))
    assert "Last vote needed." in text_of(omar.get(f"/console/inbox/{request}"))


def test_a_vote_is_taken_back_and_the_call_waits_again(served: ConsoleWorld) -> None:
    request = suspended(served)
    dana = served.enter("dana")
    here = f"/console/inbox/{request}"
    assert "Take your vote back" not in text_of(dana.get(here))
    cast(dana, request)
    assert dana.send(here, f"{here}/take-back").status == 303
    assert "0 of 2 votes" in text_of(dana.get(here))
    assert [record.kind for record in served.world.records()].count("vote") == 2  # the vote, and that it was taken back
    reply = dana.send(here, f"{here}/take-back")
    assert reply.status == 409
    assert "This was not counted" in text_of(reply)


def test_a_request_is_withdrawn_by_whom_it_was_made_for_and_by_nobody_else(served: ConsoleWorld) -> None:
    request = held(served)
    here = f"/console/inbox/{request}"
    lena, alice, carl = served.enter("lena"), served.enter("alice"), served.enter("carl")
    assert "Withdraw this request" not in text_of(lena.get(here))
    assert lena.send(here, f"{here}/withdraw").status in {403, 404}
    assert carl.send("/console/inbox", f"{here}/withdraw").status == 404
    assert served.gate.store.get_request(request).state == "open"
    assert alice.send(here, f"{here}/withdraw").status == 303
    assert served.gate.store.get_request(request).state == "withdrawn"
    assert cast(lena, request).status in {400, 409}
    assert votes(served) == []
    assert alice.send("/console/inbox", f"{here}/withdraw").status == 409


def test_withdrawing_and_taking_back_need_the_pages_own_token(served: ConsoleWorld) -> None:
    request = held(served)
    alice = served.enter("alice")
    for act in ("withdraw", "take-back"):
        assert alice.post(f"/console/inbox/{request}/{act}", {"form_token": "0" * 64}).status == 403
        assert alice.get(f"/console/inbox/{request}/{act}").status == 405
    assert served.gate.store.get_request(request).state == "open"


def test_a_tenant_that_is_chosen_in_the_side_narrows_the_list(served: ConsoleWorld) -> None:
    request = held(served)
    lena = served.enter("lena")
    for place, found in (("acme", True), ("globex", True), ("nowhere", True)):  # a place that she may not look at is none
        page = lena.get("/console/inbox", headers={"cookie": f"__Host-licet={lena.cookie}; __Host-licet-place={place}"})
        assert (request in page.content.decode()) is found


def test_characters_that_nobody_sees_are_written_out(served: ConsoleWorld) -> None:
    served.world.customers["C-1\u202e\u200b"] = {"tenant": "acme", "vip": False, "balance": 1, "suspended": False}
    with served.world.alice():
        found = served.gate.call("billing.adjust", {"customer_id": "C-1\u202e\u200b", "amount_cents": AMOUNT})
    if not isinstance(found, Held):
        return  # refused before anybody is asked, which is as good
    page = served.enter("lena").get(f"/console/inbox/{found.request}").content.decode()
    assert "\u202e" not in page
    assert "\u200b" not in page
    assert "\\u202e\\u200b" in page
