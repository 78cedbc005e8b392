"""The world of the pages about subjects and denials: two tools that can be undone, an auditor, and an admin of each tenant."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from tests.console.world import ConsoleWorld
from tests.gate.test_undo import UNDO, populate
from tests.server.world import Reply
from tests.world import CONFIG, POLICIES, world

PEOPLE = CONFIG.replace("[users.lena]\n", '[users.lena]\nroles = ["licet-auditor"]\n') + (
    '[users.ada]\ntenants = ["acme"]\nroles = ["licet-admin", "support", "billing"]\n'
    '[users.greta]\ntenants = ["globex"]\nroles = ["licet-admin"]\n'
    '[users.bert]\ntenants = ["acme"]\nroles = ["licet-admin"]\n'
    '[users.rita]\ntenants = ["acme", "globex"]\nroles = ["licet-auditor"]\n'
)
"""`lena` audits, `rita` does in both tenants, `ada` administrates and may use tools, `bert` administrates only, `greta` does so in the other tenant."""
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


@contextmanager
def subject_world(policies: str = "", own: str | None = None) -> Iterator[ConsoleWorld]:
    """That world, with more policies, or other permissions of its own."""
    with world(PEOPLE, {"policies.cedar": POLICIES + UNDO + policies, OWN_FILE: default_text() if own is None else own}) as inner:
        populate(inner)
        made = ConsoleWorld(inner)
        try:
            yield made
        finally:
            made.close()


def at(id_: str = "C-1", type_: str = "Customer", tenant: str = "acme", act: str = "", **more: str) -> str:
    """The address of a subject's page."""
    return f"/console/subjects{act}?{urlencode({'tenant': tenant, 'type': type_, 'id': id_, **more})}"


def look_up(served: ConsoleWorld, customer: str = "C-1", **more: str) -> None:
    """A read by the support agent for alice."""
    with served.world.alice(**more):
        served.gate.call("crm.lookup", {"customer_id": customer})


def sentences(page: Reply) -> list[str]:
    """What the page of a subject says, an event each, without the link to its record."""
    return [
        " ".join(html.unescape(re.sub(r"<[^>]+>", "", one.partition("</p>")[0].partition('<p class="say3">')[2])).split()).partition(
            " record "
        )[0]
        for one in page.content.decode().split('<li class="event')[1:]
    ]
