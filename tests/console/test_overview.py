"""The overview says what needs somebody, counts what this one may read, and settles and verifies by the functions of the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from tests.console.subjects import HOSTILE, PEOPLE, subject_world
from tests.console.world import ConsoleWorld, text_of
from tests.gate.unseen import add_payments, lost
from tests.world import POLICIES, world

HERE = "/console/overview"


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with world(PEOPLE, {"policies.cedar": POLICIES, OWN_FILE: default_text()}) as inner:
        add_payments(inner.gate)
        made = ConsoleWorld(inner)
        try:
            yield made
        finally:
            made.close()


def test_one_begins_at_the_overview_who_may_read_the_log_and_else_at_the_inbox(served: ConsoleWorld) -> None:
    assert served.enter("lena").get("/console").headers["location"] == HERE
    assert served.enter("dana").get("/console").headers["location"] == "/console/inbox"
    assert served.enter("dana").get(HERE).status == 403


def test_calls_and_denials_are_counted_and_lead_to_the_explorer(served: ConsoleWorld) -> None:
    served.world.adjust(2_500)
    served.world.adjust(2_500, "G-1")
    served.world.held()
    for back in ("1h", "24h", "7d", "30d"):
        page = served.enter("lena").get(f"{HERE}?range={back}")
        text = text_of(page)
        assert "Allow 2 Hold 1 Deny 1" in text, (back, text[200:600])
        assert "billing.adjust 1 +1" in text
        assert "Waiting for a vote 1" in text
        assert f"/console/audit?range={back}&amp;tool=billing.adjust&amp;verdict=deny" in page.content.decode()


def test_one_look_is_one_reading(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    before = served.world.kinds("acme").count("access") + served.world.kinds("operator").count("access")
    lena.get(HERE)
    after = served.world.kinds("acme").count("access") + served.world.kinds("operator").count("access")
    assert after - before == 1


def test_another_tenant_is_neither_counted_nor_listed(served: ConsoleWorld) -> None:
    served.world.adjust(2_500)
    served.world.held()
    served.gate.freeze("agent", "support-bot", reason=HOSTILE, tenant="acme")
    text = text_of(served.enter("greta").get(HERE))
    assert "Allow 0 Hold 0 Deny 0" in text
    assert "billing.adjust" not in text
    assert "Waiting for a vote 0" in text
    assert "Nothing is stopped" in text


def test_what_is_frozen_is_listed_and_escaped(served: ConsoleWorld) -> None:
    served.gate.freeze("agent", "support-bot", reason=HOSTILE, tenant="acme")
    page = served.enter("lena").get(HERE).content.decode()
    assert "support-bot" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("query", ["range=1y", "range=", "range=24h&x=1", "range=%3Cscript%3E"])
def test_absurd_parameters_are_refused(served: ConsoleWorld, query: str) -> None:
    assert served.enter("lena").get(f"{HERE}?{query}").status == 400


def test_the_newest_checkpoint_is_verified_at_each_look_and_nothing_more_is_said(served: ConsoleWorld) -> None:
    served.world.adjust(2_500)
    served.gate.ledger.notary.turn()
    lena = served.enter("lena")
    text = text_of(lena.get(HERE))
    assert "Ledger Signed checkpoint verified just now, records not" in text
    assert "its signature, its root. " in text
    assert "its signature, its root, that it goes on from" in text_of(lena.get(HERE))
    assert "Sealed to #" in text


def test_the_whole_ledger_is_verified_where_somebody_asks(served: ConsoleWorld) -> None:
    served.world.adjust(2_500)
    assert served.enter("lena").post(f"{HERE}/verify", {"form_token": "0" * 64}).status == 403
    lena = served.enter("lena")
    assert "Verify all records" in text_of(lena.get(HERE))
    done = lena.send(HERE, f"{HERE}/verify")
    assert (done.status, done.headers["location"]) == (303, f"{HERE}#ledger")
    assert "Ledger Verified all" in text_of(lena.get(HERE))


def test_who_may_not_verify_is_not_offered_it_and_refused() -> None:
    narrowed = '\n@id("not-bert")\nforbid (principal == User::"bert", action == Action::"records.verify", resource);\n'
    with subject_world(own=default_text() + narrowed) as served:
        served.world.adjust(2_500)
        bert = served.enter("bert")
        assert "Waiting for a vote" in text_of(bert.get(HERE))
        assert "Verify all records" not in text_of(bert.get(HERE))
        assert bert.send(HERE, f"{HERE}/verify").status == 403
        assert "Ledger Verified all" not in text_of(bert.get(HERE))


def test_an_unknown_end_is_settled_by_whoever_may(served: ConsoleWorld) -> None:
    call = lost(served.world)
    there = f"/console/unknown/{call}"
    assert "Outcomes to settle 1" in text_of(served.enter("ada").get(HERE))
    assert served.enter("greta").get(there).status in {403, 404}
    assert served.enter("greta").send("/console/you", there, {"status": "ok", "reason": "seen"}).status in {403, 404}
    bert = served.enter("bert")
    assert "How did this call end?" in text_of(bert.get(there))
    assert bert.post(there, {"form_token": "0" * 64, "status": "ok", "reason": "seen"}).status == 403
    assert bert.send(there, there, {"status": "perhaps", "reason": "seen"}).status in {400, 422}
    assert [one.call for one in served.gate.unknown()] == [call]
    assert bert.send(there, there, {"status": "ok", "reason": HOSTILE}).headers["location"] == f"{HERE}#settle"
    assert served.gate.unknown() == ()
    assert bert.get(there).status == 404


def test_the_seal_is_for_whoever_may_read(served: ConsoleWorld) -> None:
    served.world.adjust(2_500)
    served.gate.ledger.notary.turn()
    assert "Sealed to #" in text_of(served.enter("lena").get("/console/inbox"))
    assert "Sealed to #" not in text_of(served.enter("dana").get("/console/inbox"))
