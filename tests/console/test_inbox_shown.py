"""What stands on the page of a request: whose it is, of which tenant, and every part of what a vote binds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from licet import Effect
from licet.console.wording import plain, text_or_value
from licet.gate.results import Held, Ok
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from tests.console.world import Browser, ConsoleWorld, console_world, text_of
from tests.world import CONFIG, POLICIES, world

CONFIRMED = """
@id("refund-is-confirmed")
@require_confirmation
@reason("refunds are confirmed by whom they are for")
forbid (principal, action == Action::"billing.refund", resource);
"""
LETTERS = """
@id("letters-need-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"letter.send", resource);
@id("letters")
permit (principal, action == Action::"letter.send", resource);
"""


def refund(served: ConsoleWorld) -> Held | Ok:
    with served.world.alice():
        result = served.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 100})
    assert isinstance(result, Held | Ok)
    return result


def cast(browser: Browser, request: str) -> Any:
    here = f"/console/inbox/{request}"
    binding = browser.get(here).content.decode().partition('name="binding" value="')[2][:64]
    return browser.send("/console/inbox", f"{here}/vote", {"binding": binding or "0" * 64, "verdict": "approve"})


def test_the_person_whom_it_is_for_confirms_and_nobody_else() -> None:
    with console_world(policies=POLICIES + CONFIRMED) as served:
        held = refund(served)
        assert isinstance(held, Held)
        alice, lena, carl = served.enter("alice"), served.enter("lena"), served.enter("carl")
        assert str(held.request) in alice.get("/console/inbox").content.decode()
        text = text_of(alice.get(f"/console/inbox/{held.request}"))
        assert "0 of 1 confirmations You may confirm, as alice" in text
        assert "refunds are confirmed by whom they are for" in text
        assert "You may not vote on this one" in text_of(lena.get(f"/console/inbox/{held.request}"))
        assert cast(lena, str(held.request)).status == 403
        assert cast(carl, str(held.request)).status == 404
        assert cast(alice, str(held.request)).status == 303
        assert isinstance(refund(served), Ok)


@contextmanager
def letters() -> Iterator[ConsoleWorld]:
    """A world with a tool that writes to two customers at once."""
    with world(CONFIG, {"policies.cedar": POLICIES + LETTERS, OWN_FILE: default_text()}) as inner:

        @inner.gate.tool("letter.send", access="write", targets=["Customer::{first}", "Customer::{second}"])
        def send(first: str, second: str, text: str) -> str:
            return "sent"

        @send.preview
        def preview(first: str, second: str, text: str) -> list[Effect]:
            return [Effect(target=f'Customer::"{one}"', field="letter", before=None, after=text) for one in (first, second)]

        inner.customers["C-3"] = {"tenant": "acme", "vip": False, "balance": 0, "suspended": False}
        made = ConsoleWorld(inner)
        try:
            yield made
        finally:
            made.close()


def test_a_preview_of_several_targets_names_each_of_them_and_cuts_no_text() -> None:
    with letters() as served:
        text = "Dear customer,\n\n" + "we have <b>credited</b> you. " * 40 + "\n\u202egnorw\u202c the end"
        with served.world.alice():
            found = served.gate.call("letter.send", {"first": "C-1", "second": "C-3", "text": text})
        assert isinstance(found, Held), found
        page = served.enter("lena").get(f"/console/inbox/{found.request}").content.decode()
        for name in ("C-1", "C-3"):
            assert f"Customer {name}, letter" in page
        assert page.count("we have &lt;b&gt;credited&lt;/b&gt; you. ") == 40 * 3  # both effects, and the argument
        assert "\\u202egnorw\\u202c the end" in page
        assert "\u202e" not in page


def test_a_tenant_that_is_chosen_narrows_the_list_and_the_counts() -> None:
    more = 'lena]\ntenants = ["acme", "globex"]'
    with console_world(CONFIG.replace('lena]\ntenants = ["acme"]', more)) as served:
        request = served.world.held(50_000).request
        with served.gate.acting(agent="free-bot", user="gina", tenant="globex"):
            other = served.gate.call("billing.adjust", {"customer_id": "G-1", "amount_cents": 50_000})
        assert isinstance(other, Held)
        lena = served.enter("lena")
        for place, shown in (("", {request, other.request}), ("acme", {request}), ("globex", {other.request})):
            page = lena.get("/console/inbox", headers={"cookie": f"__Host-licet={lena.cookie}; __Host-licet-place={place}"})
            assert {one for one in (request, other.request) if str(one) in page.content.decode()} == shown
            assert f"Yours {len(shown)} All open {len(shown)}" in text_of(page)


def test_what_licet_knows_stands_apart_from_what_the_agent_says() -> None:
    with console_world() as served, served.world.alice(reason="trust me, vip true"):
        found = served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
        assert isinstance(found, Held)
        text = text_of(served.enter("lena").get(f"/console/inbox/{found.request}"))
        said, known = text.index("The agent says"), text.index("Licet knows")
        assert said < text.index("trust me, vip true") < known < text.index("of tenant acme, vip false")


def test_unseen_characters_are_written_out_and_the_rest_is_as_it_is() -> None:
    assert plain("Ünïcode, 日本 and 😀 stay") == "Ünïcode, 日本 and 😀 stay"
    assert plain("a\u200bb\u202ec\x00\n\u3164\ufeff\u00ad") == "a\\u200bb\\u202ec\\u0000\\u000a\\u3164\\ufeff\\u00ad"
    assert text_or_value("one line") == '"one line"'
    assert text_or_value("two\nlines\u200b") == '"two\nlines\\u200b"'
    assert text_or_value({"a": [1, None, True]}) == '{"a":[1,null,true]}'
