"""The inventory, and stopping things from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from licet.gate.results import Denied, Ok
from tests.console.world import Browser, ConsoleWorld, console_world, text_of
from tests.world import CONFIG

PEOPLE = """
[users.rita]
tenants = ["acme", "globex"]
roles = ["licet-admin", "licet-auditor"]
[users.otto]
tenants = ["globex"]
roles = ["licet-auditor"]
[users.adam]
tenants = ["acme"]
roles = ["licet-admin"]
"""
MARKUP = '"><script>alert(1)</script>'


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    config = CONFIG.replace("[groups]", PEOPLE + "[groups]").replace("[agents.night-bot]\n", '[agents.night-bot]\nowner = "carl"\n')
    with console_world(config) as found:
        with found.world.alice():
            found.gate.call("crm.lookup", {"customer_id": "C-1"})
            found.gate.call("crm.lookup", {"customer_id": "C-2"})
        yield found


@pytest.fixture
def rita(served: ConsoleWorld) -> Browser:
    return served.enter("rita")


def thing(browser: Browser, name: str, of: str = "agents") -> str:
    page = browser.get(f"/console/inventory?of={of}").content.decode()
    found = next(part for part in page.split('<li class="panel thing"') if f">{name}</a></h2>" in part)
    return " ".join(re.sub(r"<[^>]+>", " ", found).split())


def test_agents_say_who_answers_for_them_and_how_they_are_used(rita: Browser) -> None:
    bot = thing(rita, "support-bot")
    for word in (
        "for a user",
        "nobody is named",
        "Calls 2",
        "Denied 1",
        "billing security support",
        "never used in 90 days",
        "billing.refund",
    ):
        assert word in bot, (word, bot)
    night = thing(rita, "night-bot")
    assert "Answers for it carl" in night
    assert "not in 90 days" in night


def test_tools_say_what_they_touch_and_how_they_are_used(rita: Browser) -> None:
    tool = thing(rita, "billing.adjust", "tools")
    assert "write touches money" in tool
    assert "Calls 0" in tool
    assert "Calls 2" in thing(rita, "crm.lookup", "tools")


def test_an_agent_is_frozen_and_lifted(served: ConsoleWorld, rita: Browser) -> None:
    form = "/console/freezes/place?scope=agent&name=support-bot"
    assert "Every call of it is denied from the moment" in text_of(rita.get(form))
    done = rita.send(form, "/console/freezes/place", {"scope": "agent", "name": "support-bot", "tenant": "acme", "reason": f"odd {MARKUP}"})
    assert (done.status, done.headers["location"]) == (303, "/console/freezes")
    assert isinstance(served.world.adjust(100), Denied)
    bot = thing(rita, "support-bot")
    assert "Frozen" in bot
    assert "by rita: odd" in bot
    page = rita.get("/console/freezes").content.decode()
    assert "<script>alert" not in page
    lift = re.search(r'action="(/console/freezes/[^"]+/lift)"', page)
    assert lift is not None
    assert rita.send("/console/freezes", lift[1], {"reason": "it was a test"}).status == 303
    assert isinstance(served.world.adjust(100), Ok)
    assert rita.send("/console/freezes/place", lift[1], {"reason": "again"}).status in {404, 409}
    frozen = [record for record in served.world.records() if record.kind == "freeze"]
    assert len(frozen) == 2


def test_a_form_that_is_sent_twice_stops_once(served: ConsoleWorld, rita: Browser) -> None:
    form = "/console/freezes/place"
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', rita.get(form).content.decode())
    assert token is not None
    fields = {"form_token": token[1], "scope": "agent", "name": "support-bot", "tenant": "acme", "reason": " odd\u202e amounts "}
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: rita.post(form, fields), range(4)))
    assert {(reply.status, reply.headers["location"]) for reply in replies} == {(303, "/console/freezes")}
    (standing,) = served.gate.freezes()
    assert served.world.kinds().count("freeze") == 1
    for other in ({"reason": "another"}, {"name": "night-bot"}, {"scope": "tool", "name": "crm.lookup"}, {"tenant": ""}):
        assert rita.post(form, {**fields, **other}).status == 303
    assert served.enter("adam").send(form, form, {name: value for name, value in fields.items() if name != "form_token"}).status == 303
    assert len(served.gate.freezes()) == 6  # another reason, thing, kind, place and person are each another freeze
    served.gate.lift(standing.id, reason="it was a test", by="rita")
    assert rita.post(form, fields).status == 303  # what was lifted is placed again by whoever sends it again
    assert len(served.gate.freezes()) == 6


@pytest.mark.parametrize(("scope", "name"), [("all", ""), ("tenant", "acme"), ("session", "s-1")])
def test_each_kind_that_the_form_offers_is_placed_once(served: ConsoleWorld, rita: Browser, scope: str, name: str) -> None:
    form = "/console/freezes/place"
    assert f'<option value="{scope}">' in rita.get(form).content.decode()
    for _ in range(2):
        assert rita.send(form, form, {"scope": scope, "name": name, "tenant": "", "reason": "stop"}).status == 303
    (standing,) = served.gate.freezes()
    assert standing.scope == scope


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"scope": "agent", "name": "support-bot", "reason": ""}, 400),
        ({"scope": "agent", "name": "nobody-bot", "reason": "x"}, 422),
        ({"scope": "agent", "name": "", "reason": "x"}, 422),
        ({"scope": "planet", "name": "earth", "reason": "x"}, 400),
        ({"scope": "agent", "name": "support-bot", "tenant": "nowhere", "reason": "x"}, 404),
    ],
)
def test_what_cannot_be_frozen_says_why(rita: Browser, fields: dict[str, str], status: int) -> None:
    reply = rita.send("/console/freezes/place", "/console/freezes/place", fields)
    assert reply.status == status, text_of(reply)


def test_only_whoever_may_freezes_and_only_there(served: ConsoleWorld) -> None:
    lena, otto, adam = served.enter("lena"), served.enter("otto"), served.enter("adam")
    for path in ("/console/inventory", "/console/freezes", "/console/freezes/place"):
        assert lena.get(path).status == 403
    assert otto.get("/console/freezes/place").status == 403
    assert "Freeze…" not in otto.get("/console/inventory").content.decode()
    fields = {"scope": "agent", "name": "free-bot", "reason": "x"}
    assert otto.send("/console/freezes", "/console/freezes/place", fields).status == 403
    assert adam.send("/console/freezes/place", "/console/freezes/place", {**fields, "tenant": "globex"}).status == 404
    assert adam.post("/console/freezes/place", {**fields, "tenant": "acme", "form_token": "0" * 64}).status == 403
    assert served.gate.freezes() == ()


def test_agents_of_other_tenants_stand_nowhere(served: ConsoleWorld) -> None:
    page = served.enter("otto").get("/console/inventory").content.decode()
    assert "free-bot" in page
    assert "support-bot" not in page
    assert "Calls" in page


def test_one_look_is_one_reading(served: ConsoleWorld, rita: Browser) -> None:
    def readings() -> int:
        return sum(served.world.kinds(log).count("access") for log in ("acme", "globex", "operator"))

    before = readings()
    rita.get("/console/inventory")
    assert readings() == before + 1


@pytest.mark.parametrize("query", ["of=people", "start=x", "nope=1"])
def test_what_is_no_inventory_is_refused(rita: Browser, query: str) -> None:
    assert rita.get(f"/console/inventory?{query}").status == 400
