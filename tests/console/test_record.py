"""The page of a record: what it says, the proof of it, what it is when somebody has edited the store, and who sees none of it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from licet.ledger.verify_lines import verify_proof_lines
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from tests.console.subjects import HOSTILE, PEOPLE, at, look_up, subject_world
from tests.console.world import ConsoleWorld, text_of
from tests.gate.proof import assert_whole
from tests.gate.test_undo import done, undo
from tests.world import POLICIES, world_on


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def place(served: ConsoleWorld, kind: str, log: str = "acme") -> str:
    """The address of the newest record of a kind."""
    return f"/console/audit/{log}/{max(number for number, one in enumerate(served.world.kinds(log)) if one == kind)}"


def test_a_record_begins_with_its_sentence_and_its_proof_is_computed(served: ConsoleWorld) -> None:
    with served.world.alice(reason=HOSTILE):
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500})
    page = served.enter("lena").get(place(served, "outcome"))
    text = text_of(page)
    assert page.status == 200
    assert "Verified just now" in text
    for check in ("Bytes hash to leaf", "Payload opens the commitment", "leads to the root of acme", "in the head log", "is signed by"):
        assert check in text
    assert "Not pinned: no witness is set up" in text
    assert "<script>alert" not in page.content.decode()


def test_what_an_agent_wrote_stands_apart(served: ConsoleWorld) -> None:
    with served.world.alice(reason=HOSTILE):
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500})
    page = served.enter("lena").get(place(served, "intent")).content.decode()
    quoted = page.partition("<blockquote>")[2].partition("</blockquote>")[0]
    assert "&lt;script&gt;alert(1)" in quoted
    assert page.count("alert(1)") == quoted.count("alert(1)") == HOSTILE.count("alert(1)")


def test_what_an_agent_wrote_stands_apart_on_the_page_of_a_held_call_too(served: ConsoleWorld) -> None:
    with served.world.alice(reason=HOSTILE):
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000})
    page = served.enter("lena").get(place(served, "hold")).content.decode()
    quoted = page.partition("<blockquote>")[2].partition("</blockquote>")[0]
    assert page.count("alert(1)") == quoted.count("alert(1)") == HOSTILE.count("alert(1)")


def test_arguments_effects_and_the_deciding_policy_are_shown(served: ConsoleWorld) -> None:
    served.world.adjust(2_500)
    browser = served.enter("lena")
    allowed = text_of(browser.get(place(served, "intent")))
    assert "amount_cents 2500" in allowed
    assert "Allowed by billing-writes" in allowed
    assert "policies/policies.cedar:10" in allowed
    assert '10 @id("billing-writes")' in allowed
    ended = text_of(browser.get(place(served, "outcome")))  # the same call: what was decided is told with what came of it
    assert "amount_cents 2500" in ended
    assert "Allowed by billing-writes" in ended


def test_the_path_tells_what_was_held_voted_on_and_done(served: ConsoleWorld) -> None:
    held = served.world.held(50_000)
    assert held.request is not None
    served.gate.approvals.vote(held.request, "lena", "approve", comment="checked <b>twice</b>")
    served.world.adjust(50_000)
    page = served.enter("lena").get(place(served, "outcome"))
    text = text_of(page)
    assert "Hold → Approved → Allow → Done" in text
    assert "checked <b>twice</b>" in text
    assert "checked <b>" not in page.content.decode()
    assert f"/console/inbox/{held.request}" in served.enter("lena").get(place(served, "hold")).content.decode()


def test_changes_are_shown_with_before_and_after_and_an_undo_is_linked(served: ConsoleWorld) -> None:
    call = done(served.world, plan="pro")
    browser = served.enter("lena")
    changed = place(served, "outcome")
    before = browser.get(changed)
    assert "<ins>&#34;pro&#34;</ins>" in before.content.decode()
    assert "take this back" not in text_of(before)
    undo(served.world, call)
    assert "take this back" in text_of(browser.get(changed))


def test_a_secret_is_said_to_be_redacted() -> None:
    with subject_world() as served:

        @served.gate.tool("odd.login", access="read", secrets={"token"})
        def login(token: str) -> str:
            return "in"

        with served.world.alice():
            served.gate.call("odd.login", {"token": "hunter2hunter2"})
        kinds = served.world.kinds()
        page = served.enter("lena").get(f"/console/audit/acme/{len(kinds) - 1}")
        assert "redacted, never stored" in text_of(page)
        assert "hunter2" not in page.content.decode()


def test_values_lead_to_the_explorer(served: ConsoleWorld) -> None:
    look_up(served)
    browser = served.enter("lena")
    page = browser.get("/console/audit/acme/0").content.decode()
    for wanted in ("tool=crm.lookup", "agent=support-bot", "user=alice", "target=Customer%2FC-1", "verdict=allow"):
        (path,) = {one for one in re.findall(r'href="(/console/audit\?[^"]+)"', page) if wanted in one}
        assert browser.get(path.replace("&amp;", "&")).status == 200


def test_neighbours_are_the_calls_of_the_same_workflow(served: ConsoleWorld) -> None:
    for workflow in ("w-1", "w-2", "w-1", "w-1"):
        with served.world.alice(workflow=workflow):
            served.gate.call("crm.lookup", {"customer_id": "C-1"})
        served.world.clock.advance(5)
    page = served.enter("lena").get("/console/audit/acme/2").content.decode()
    assert 'href="/console/audit/acme/0" rel="prev"' in page
    assert 'href="/console/audit/acme/3" rel="next"' in page
    assert 'href="/console/traces/w-1?tenant=acme"' in page


def test_out_of_reach_and_not_there_answer_alike(served: ConsoleWorld) -> None:
    look_up(served)
    browser = served.enter("greta")
    answers = [browser.get(path) for path in ("/console/audit/acme/0", "/console/audit/nobody/0", "/console/audit/globex/99")]
    assert {answer.status for answer in answers} == {404}
    assert len({re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "", text_of(answer)) for answer in answers}) == 1
    for act in ("/bytes", "/proof", "/bytes?part=payload"):
        assert browser.get(f"/console/audit/acme/0{act}").status == 404
    assert served.enter("carl").get("/console/audit/acme/0").status == 403


@pytest.mark.parametrize(
    "path",
    ["/console/audit/acme/-1", "/console/audit/acme/x", "/console/audit/acme/99999999999999", "/console/audit/acme/0/bytes?part=salt"],
)
def test_absurd_places_are_refused(served: ConsoleWorld, path: str) -> None:
    look_up(served)
    assert served.enter("lena").get(path).status in {400, 404, 422}


def test_the_bytes_are_exact_and_looking_at_them_is_recorded(served: ConsoleWorld) -> None:
    look_up(served)
    stored = served.gate.store.get_record("acme", 0)
    browser = served.enter("lena")
    assert browser.get("/console/audit/acme/0/bytes?part=envelope").content == stored.envelope
    assert browser.get("/console/audit/acme/0/bytes?part=payload").content == stored.payload
    shown = browser.get("/console/audit/acme/0/bytes").content.decode()
    assert stored.envelope.decode() in html.unescape(shown)
    assert served.world.kinds().count("access") == 3


def test_the_proof_that_is_downloaded_holds_without_the_server(served: ConsoleWorld) -> None:
    look_up(served)
    browser = served.enter("lena")
    line = browser.get("/console/audit/acme/0/proof").content
    vkey = re.search(r"--key '([^']+)'", html.unescape(browser.get("/console/audit/acme/0").content.decode()))
    assert vkey is not None
    proved, problems = verify_proof_lines([line], vkey[1])
    assert not problems
    assert proved[0].index == 0  # type: ignore[union-attr]


def test_who_may_read_and_not_prove_is_told_so() -> None:
    own = default_text().replace(
        'permit (principal in Role::"licet-auditor", action in Action::"auditor", resource);',
        'permit (principal in Role::"licet-auditor", action in [Action::"records.read"], resource);',
    )
    assert 'Action::"records.read"]' in own
    with subject_world(own=own) as served:
        look_up(served)
        browser = served.enter("lena")
        text = text_of(browser.get("/console/audit/acme/0"))
        assert "Not proved here" in text
        assert "Verified" not in text
        assert "Its text is told to whoever may read the policies" in text
        assert "@id(" not in text
        assert browser.get("/console/audit/acme/0/proof").status == 403


def test_what_cannot_be_signed_yet_is_unsealed(served: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up(served)
    browser = served.enter("lena")
    monkeypatch.setattr(type(served.gate.ledger.notary), "turn", lambda _self: None)
    monkeypatch.setattr(type(served.gate.store), "find_head_entry", lambda *_: None)
    text = text_of(browser.get("/console/audit/acme/0"))
    assert "Unsealed" in text
    assert "takes a second or so" in text
    assert "Verified" not in text


def test_a_checkpoint_that_was_edited_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_disk(tmp_path) as served:
        look_up(served)
        browser = served.enter("lena")
        browser.get("/console/audit/acme/0")
        served.gate.ledger.notary.turn()
        monkeypatch.setattr(type(served.gate.ledger.notary), "turn", lambda _self: None)  # else the next one is signed, and whole
        con = apsw.Connection(str(served.gate.settings.store_path))
        con.set_busy_timeout(10_000)  # the notary signs beside it
        con.execute("UPDATE checkpoints SET note = CAST(substr(note, 1, length(note) - 12) || 'AAAAAAAAAA=\n' AS BLOB)")
        con.close()
        text = text_of(browser.get("/console/audit/acme/0"))
        assert "Verified just now" not in text
        assert "Failed: Checkpoint is signed" in text


def test_what_was_erased_is_said_and_the_record_still_proves(served: ConsoleWorld) -> None:
    look_up(served)
    erased = served.enter("ada").send("/console/subjects", at(act="/erase"), {"typed": "C-1", "reason": "request of 12 May"})
    assert erased.status == 303
    text = text_of(served.enter("lena").get("/console/audit/acme/0"))
    assert "cannot be read: it was erased" in text
    assert "C-1" not in text
    assert "Verified just now" in text
    assert "Payload is closed; the commitment to it stays" in text


@contextmanager
def on_disk(folder: Path) -> Iterator[ConsoleWorld]:
    """A console over a store that is a file, so that somebody can edit it."""
    (folder / "policies").mkdir()
    (folder / "policies" / OWN_FILE).write_text(default_text())
    with world_on(folder, PEOPLE, POLICIES) as inner:
        made = ConsoleWorld(inner)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(
            "UPDATE records SET envelope = CAST(replace(CAST(envelope AS TEXT), 'support-bot', 'suppord-bot') AS BLOB) WHERE place = {place}",
            "Failed: Bytes hash to leaf",
            id="envelope",
        ),
        pytest.param("UPDATE records SET leaf = zeroblob(32) WHERE place = {place}", "Failed: Leaf leads to the root of acme", id="leaf"),
        pytest.param(
            "UPDATE records SET leaf = zeroblob(32) WHERE place = {before}", "Failed: Leaf leads to the root of acme", id="neighbour"
        ),
        pytest.param("UPDATE records SET envelope = x'7b7d' WHERE place = {place}", "cannot be read", id="unreadable"),
        pytest.param("UPDATE records SET envelope = x'ff' WHERE place = {place}", "cannot be read", id="no_text"),
        pytest.param("UPDATE payloads SET sealed = zeroblob(length(sealed)) WHERE place = {place}", "Failed: Payload", id="payload"),
        pytest.param("UPDATE heads SET entry = CAST(replace(CAST(entry AS TEXT), 'a', 'b') AS BLOB)", "Broken", id="heads"),
    ],
)
def test_what_somebody_has_edited_is_broken_and_says_where(tmp_path: Path, edit: str, words: str) -> None:
    with on_disk(tmp_path) as served:
        for _ in range(3):
            look_up(served)
        served.gate.ledger.notary.turn()
        browser = served.enter("lena")
        assert "Verified just now" in text_of(browser.get("/console/audit/acme/1"))
        con = apsw.Connection(str(served.gate.settings.store_path))
        con.set_busy_timeout(10_000)  # the notary signs beside it
        base = con.execute("SELECT min(place) FROM records WHERE kind = 'call'").get
        con.execute(edit.format(place=base + 1, before=base))
        assert con.changes() > 0
        con.close()
        page = browser.get("/console/audit/acme/1")
        text = text_of(page)
        assert "Broken" in text
        assert words in text
        assert "licet audit verify" in text
        assert "Verified just now" not in text


def test_one_record_that_was_edited_takes_no_page_down(tmp_path: Path) -> None:
    """Whoever looks for what happened sees the rest, and that this one is broken."""
    with on_disk(tmp_path) as served:
        for _ in range(3):
            look_up(served)
        served.gate.ledger.search().indexer.catch_up()
        browser = served.enter("lena")
        con = apsw.Connection(str(served.gate.settings.store_path))
        con.set_busy_timeout(10_000)  # the notary signs beside it
        con.execute(
            "UPDATE records SET envelope = CAST('{' AS BLOB) WHERE place = (SELECT min(place) + 1 FROM records WHERE kind = 'call')"
        )
        assert con.changes() == 1
        con.close()
        explorer = browser.get("/console/audit?range=all")
        assert explorer.status == 200
        text = text_of(explorer)
        assert "Broken its bytes are not what was written" in text
        assert "crm.lookup" in text
        for path in ("/console/traces", "/console/overview", "/console/audit/acme/0", "/console/audit/acme/2"):
            assert browser.get(path).status == 200, path
