"""Every list that is told in pages joins to the whole, whatever comes between two pages, and holds nothing of another tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from licet.gate.results import Failed
from licet.identity.api_keys import KeyContent
from tests.gate.unseen import PAID, add_payments
from tests.server.world import ServerWorld, server_world
from tests.world import POLICIES

PAYS = """
@id("pays")
permit (principal, action == Action::"bank.pay", resource);
"""
Make = Callable[[ServerWorld, str, int], str]


@pytest.fixture
def served() -> Iterator[ServerWorld]:
    with server_world(policies=POLICIES + PAYS) as made:
        add_payments(made.gate)
        yield made


def freeze(served: ServerWorld, tenant: str, number: int) -> str:
    body = {"scope": "agent", "name": f"bot-{number}", "tenant": tenant, "reason": "it loops", "anyway": True}
    return str(served.post("/api/v1/freezes", "admin", body).json["id"])


def hold(served: ServerWorld, tenant: str, number: int) -> str:
    return str(served.post("/api/v1/holds", "admin", {"tenant": tenant, "reason": f"lawsuit {number}"}).json["id"])


def key(served: ServerWorld, tenant: str, number: int) -> str:
    content = KeyContent(name=str(number), tenants=(tenant,), roles=("licet-auditor",))
    return served.gate.credentials.issue(content, expires_s=60).credential.id


def unknown(served: ServerWorld, tenant: str, number: int) -> str:
    user, customer = ("gina", "G-1") if tenant == "globex" else ("alice", "C-1")
    with served.gate.acting(agent="free-bot", user=user, tenant=tenant):
        result = served.gate.call("bank.pay", {**PAID, "customer_id": customer, "amount_cents": 700 + number})
    assert isinstance(result, Failed), result
    assert result.status == "timeout"
    return result.call


LISTS = [
    pytest.param("/api/v1/freezes", "freezes", "id", freeze, id="freezes"),
    pytest.param("/api/v1/holds", "holds", "id", hold, id="holds"),
    pytest.param("/api/v1/credentials", "credentials", "id", key, id="credentials"),
    pytest.param("/api/v1/unknown", "calls", "call", unknown, id="unknown"),
]


@pytest.mark.parametrize("step_s", [0, 1], ids=["one moment", "one after another"])
@pytest.mark.parametrize(("path", "name", "id_", "make"), LISTS)
def test_pages_join_to_what_stands_and_hold_nothing_of_another_tenant(
    served: ServerWorld, *, path: str, name: str, id_: str, make: Make, step_s: int
) -> None:
    def made(tenant: str, number: int) -> str:
        served.world.clock.advance(step_s)
        return make(served, tenant, number)

    standing: list[str] = []
    theirs: set[str] = set()
    for number in range(5):
        standing.append(made("acme", number))
        theirs.add(made("globex", number))
    pages, cursor, late = [], "", set()
    while True:
        page = served.get(f"{path}?limit=2{cursor}", "admin-acme")
        assert page.status == 200, page.content
        pages.append([one[id_] for one in page.json[name]])
        if page.json["next"] is None:
            break
        cursor = f"&cursor={page.json['next']}"
        if len(pages) == 1:
            late.add(made("acme", 50))
            theirs.add(made("globex", 51))
    found = [one for page_ids in pages for one in page_ids]
    assert len(found) == len(set(found))
    assert [one for one in found if one in standing] == (standing if step_s else sorted(standing))
    assert set(found) - set(standing) <= late
    assert theirs.isdisjoint(found)
    assert [len(page_ids) for page_ids in pages[:-1]] == [2] * (len(pages) - 1)
    if step_s:
        assert found == [*standing, *late]
    whole = served.get(f"{path}?limit=200", "admin-acme").json
    assert (whole["next"], {one[id_] for one in whole[name]}) == (None, {*standing, *late})


@pytest.mark.parametrize(("path", "name", "id_", "make"), LISTS)
def test_a_last_page_of_ones_own_says_nothing_of_what_others_have_behind_it(
    served: ServerWorld, path: str, name: str, id_: str, make: Make
) -> None:
    for tenant in ("acme", "acme", "globex", "globex"):
        served.world.clock.advance(1)
        make(served, tenant, len(tenant))
    page = served.get(f"{path}?limit=2", "admin-acme").json
    assert (len(page[name]), page["next"]) == (2, None)
    assert served.get(f"{path}?limit=2", "admin").json["next"] is not None
