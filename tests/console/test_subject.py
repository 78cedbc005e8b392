"""The page of a subject: what is told of it, to whom, and what is never told."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest

from licet.gate.results import Ok
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from tests.console.world import ConsoleWorld
from tests.gate.proof import assert_whole
from tests.gate.test_undo import UNDO, populate
from tests.world import CONFIG, POLICIES, world

PEOPLE = CONFIG.replace("[users.lena]\n", '[users.lena]\nroles = ["licet-auditor"]\n') + (
    '[users.ada]\ntenants = ["acme"]\nroles = ["licet-admin", "support", "billing"]\n'
    '[users.greta]\ntenants = ["globex"]\nroles = ["licet-admin"]\n'
)


@contextmanager
def subject_world() -> Iterator[ConsoleWorld]:
    """The world with two tools that can be undone, an auditor (`lena`), and an admin of each tenant (`ada`, `greta`)."""
    with world(PEOPLE, {"policies.cedar": POLICIES + UNDO, OWN_FILE: default_text()}) as inner:
        populate(inner)
        made = ConsoleWorld(inner)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def at(id_: str = "C-1", type_: str = "Customer", tenant: str = "acme", act: str = "", **more: str) -> str:
    """The address of a subject's page."""
    return f"/console/subjects{act}?{urlencode({'tenant': tenant, 'type': type_, 'id': id_, **more})}"


def look_up(served: ConsoleWorld, customer: str = "C-1", **more: str) -> None:
    with served.world.alice(**more):
        served.gate.call("crm.lookup", {"customer_id": customer})


def sentences(served: ConsoleWorld, user: str = "lena", **more: str) -> list[str]:
    """What the page says, an event each."""
    content = served.enter(user).get(at(**more)).content.decode()
    return [
        " ".join(html.unescape(re.sub(r"<[^>]+>", "", one.partition("</p>")[0].partition('<p class="say3">')[2])).split())
        for one in content.split('<li class="event')[1:]
    ]


def test_what_happened_is_told_newest_first_and_reads_are_folded(served: ConsoleWorld) -> None:
    look_up(served)
    look_up(served)
    assert isinstance(served.world.adjust(2_500), Ok)
    look_up(served)
    look_up(served, "C-2")
    told = sentences(served)
    assert [one.partition(" record")[0] for one in told] == [
        "support-bot used crm.lookup once, on behalf of alice.",
        "support-bot used billing.adjust with amount_cents 2500, on behalf of alice.",
        "support-bot used crm.lookup twice, on behalf of alice.",
    ]
