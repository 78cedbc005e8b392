"""The matrix of permissions as the console shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.world import Browser, ConsoleWorld, console_world, text_of
from tests.world import CONFIG, POLICIES

PEOPLE = """
[users.rita]
tenants = ["acme", "globex"]
roles = ["licet-admin", "licet-auditor"]
[users.otto]
tenants = ["globex"]
roles = ["licet-auditor"]
"""


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world(CONFIG.replace("[groups]", PEOPLE + "[groups]")) as found:
        with found.world.alice():
            found.gate.call("crm.lookup", {"customer_id": "C-1"})
            found.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
        with found.gate.acting(agent="night-bot", tenant="acme"):
            found.gate.call("account.suspend", {"customer_id": "C-1"})
        yield found


@pytest.fixture
def rita(served: ConsoleWorld) -> Browser:
    return served.enter("rita")


def cell(page: str, name: str, tool: str) -> str:
    found = page.partition(f'title="{name}, {tool}: ')[2].partition('"')[0]
    assert found, (name, tool)
    return found


def test_cells_say_what_may_be_and_how_often_it_was(rita: Browser) -> None:
    page = rita.get("/console/permissions").content.decode()
    assert cell(page, "support-bot", "crm.lookup") == "allowed under conditions, 1 call"
    assert cell(page, "support-bot", "billing.adjust") == "allowed, held or denied, by its arguments, 1 call"
    assert cell(page, "support-bot", "account.suspend") == "held, never used"
    assert cell(page, "night-bot", "account.suspend") == "denied, 1 call"
    assert cell(page, "night-bot", "billing.refund") == "denied"
    assert "1 tried" in page


def test_roles_are_compared_too(rita: Browser) -> None:
    page = rita.get("/console/permissions?by=roles").content.decode()
    assert cell(page, "support", "crm.lookup") == "allowed under conditions"
    assert cell(page, "support", "billing.adjust") == "denied"


def test_a_cell_opens_its_rules_and_its_calls(rita: Browser) -> None:
    page = rita.get("/console/permissions/cell?name=support-bot&tool=billing.adjust")
    shown = text_of(page)
    for word in ("billing-writes", "adjust-needs-lead", "tenant-wall", "1 of Group", "Asks for", "1 call"):
        assert word in shown, word
    assert "/console/audit?agent=support-bot&amp;tool=billing.adjust&amp;verdict=hold&amp;since=" in page.content.decode()


def test_a_frozen_agent_is_shown_as_such(served: ConsoleWorld, rita: Browser) -> None:
    served.gate.freeze("agent", "support-bot", reason="odd")
    assert cell(rita.get("/console/permissions").content.decode(), "support-bot", "crm.lookup").startswith("frozen; else allowed")


def test_agents_of_other_tenants_stand_nowhere(served: ConsoleWorld) -> None:
    otto = served.enter("otto")
    page = otto.get("/console/permissions").content.decode()
    assert "free-bot" in page
    assert "support-bot" not in page
    assert "night-bot" not in page
    for name in ("support-bot", "nobody"):
        assert otto.get(f"/console/permissions/cell?name={name}&tool=crm.lookup").status == 404
    assert otto.get("/console/permissions/cell?name=free-bot&tool=none").status == 404


def test_counts_are_of_logs_that_may_be_read(served: ConsoleWorld) -> None:
    with served.gate.acting(agent="free-bot", tenant="acme", user="alice"):
        served.gate.call("crm.lookup", {"customer_id": "C-1"})
    otto, rita = served.enter("otto"), served.enter("rita")
    assert cell(otto.get("/console/permissions").content.decode(), "free-bot", "crm.lookup").endswith("never used")
    assert cell(rita.get("/console/permissions").content.decode(), "free-bot", "crm.lookup").endswith("1 call")


def test_one_look_is_one_reading(served: ConsoleWorld, rita: Browser) -> None:
    def readings() -> int:
        return sum(served.world.kinds(log).count("access") for log in ("acme", "globex", "operator"))

    before = readings()
    rita.get("/console/permissions")
    assert readings() == before + 1
    rita.get("/console/permissions/cell?name=support-bot&tool=crm.lookup")
    assert readings() == before + 2


def test_whoever_may_not_read_the_directory_sees_nothing(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    assert lena.get("/console/permissions").status == 403
    assert lena.get("/console/permissions/cell?name=support-bot&tool=crm.lookup").status == 403


@pytest.mark.parametrize("query", ["by=tools", "start=x", "nope=1"])
def test_what_is_no_matrix_is_refused(rita: Browser, query: str) -> None:
    assert rita.get(f"/console/permissions?{query}").status == 400


def test_a_start_beyond_the_end_is_an_empty_page(rita: Browser) -> None:
    for start in (-5, 10**9):
        assert rita.get(f"/console/permissions?start={start}").status == 200


def test_a_freeze_in_another_tenant_is_told_to_nobody_here(served: ConsoleWorld) -> None:
    served.gate.freeze("agent", "free-bot", tenant="acme", reason="odd")
    otto, rita = served.enter("otto"), served.enter("rita")
    assert "frozen" not in cell(otto.get("/console/permissions").content.decode(), "free-bot", "crm.lookup")
    assert "Frozen" not in text_of(otto.get("/console/inventory")).partition("free-bot")[2]
    assert "frozen" in cell(rita.get("/console/permissions").content.decode(), "free-bot", "crm.lookup")


def test_a_role_that_only_agents_have_is_not_said_to_be_denied() -> None:
    only = '@id("bots") permit (principal is Agent in Role::"security", action == Action::"crm.lookup", resource);'
    with console_world(CONFIG.replace("[groups]", PEOPLE + "[groups]"), only) as found:
        page = found.enter("rita").get("/console/permissions?by=roles").content.decode()
    assert cell(page, "security", "crm.lookup") == "allowed under conditions"
    assert cell(page, "support", "crm.lookup") == "denied"


NOT_OTTO = """
@id("not-otto") forbid (principal == User::"otto", action == Action::"policies.read", resource == Tenant::"operator");
"""
STAGED = """
@id("staging-refunds") permit (principal in Role::"support", action == Action::"billing.refund", resource)
when { context.environment == "staging" };
"""


def test_another_environment_has_another_matrix() -> None:
    config = CONFIG.replace("[groups]", PEOPLE + "[groups]")
    with console_world(config, POLICIES + STAGED, NOT_OTTO) as site:
        with site.world.alice():
            site.gate.call("crm.lookup", {"customer_id": "C-1"})
        rita, otto = site.enter("rita"), site.enter("otto")
        page = rita.get("/console/permissions").content.decode()
        assert cell(page, "night-bot", "billing.refund") == "denied"
        assert cell(page, "support-bot", "crm.lookup").endswith(", 1 call")
        staged = rita.get("/console/permissions?environment=staging").content.decode()
        assert cell(staged, "night-bot", "billing.refund") == "allowed under conditions, never used"
        assert cell(staged, "support-bot", "crm.lookup").endswith(", never used")
        assert "name=support-bot&amp;tool=crm.lookup&amp;environment=staging" in staged
        opened = text_of(rita.get("/console/permissions/cell?name=night-bot&tool=billing.refund&environment=staging"))
        assert "always: staging-refunds" in opened
        assert rita.get("/console/permissions?environment=moon").status == 400
        assert "staging" not in otto.get("/console/permissions").content.decode(), "it is named by policies, which he may not read"
        for path in ("/console/permissions?", "/console/permissions/cell?name=free-bot&tool=crm.lookup&"):
            refused = [otto.get(f"{path}environment={name}") for name in ("staging", "moon")]
            assert [one.status for one in refused] == [400, 400]
            assert len({text_of(one).partition("The server's log")[0] for one in refused}) == 1
