"""Policies as the console shows them: what is in force, and drafts that are looked at and forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from tests.console.world import Browser, ConsoleWorld, console_world, text_of
from tests.world import CONFIG, POLICIES, world_on

PEOPLE = """
[users.rita]
tenants = ["acme", "globex"]
roles = ["licet-admin"]
[users.audrey]
tenants = ["acme"]
roles = ["licet-auditor"]
"""
FILE = "policies/policies.cedar"
MARKUP = '"><script>alert(1)</script>'


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world(CONFIG.replace("[groups]", PEOPLE + "[groups]")) as found:
        yield found


@pytest.fixture
def rita(served: ConsoleWorld) -> Browser:
    return served.enter("rita")


def file_of(browser: Browser) -> str:
    found = re.search(r'href="/console/policies/file\?file=([^"#]+)"', browser.get("/console/policies").content.decode())
    assert found is not None
    return found[1].replace("%2F", "/")


def draft(browser: Browser, file: str, text: str) -> tuple[int, str]:
    reply = browser.send(f"/console/policies/draft?file={file}", "/console/policies/draft", {"file": file, "text": text})
    return reply.status, text_of(reply)


def test_every_policy_is_listed_with_its_line(rita: Browser) -> None:
    page = text_of(rita.get("/console/policies"))
    for word in (
        "support-reads",
        "adjust-needs-lead",
        "adjustments over $100 need a billing lead",
        "tenant-wall",
        "permit",
        "forbid",
        "hold",
    ):
        assert word in page
    file = file_of(rita)
    shown = rita.get(f"/console/policies/file?file={file}").content.decode()
    line = POLICIES.splitlines().index('@id("support-reads")') + 1
    assert f'<li id="L{line}"><a href="#L{line}" aria-label="Line {line}">{line}</a><span>@id(&#34;support-reads&#34;)</span>' in shown


def test_a_draft_that_would_load_shows_what_changes_and_changes_nothing(served: ConsoleWorld, rita: Browser) -> None:
    file = file_of(rita)
    before = served.gate.scene.engine.bundle.digest
    status, shown = draft(rita, file, POLICIES.replace("1000000", "2000").replace("\n", "\r\n"))
    assert status == 200
    assert "It would load" in shown
    assert "+when { context.input.amount_cents <= 2000 };" in shown
    assert "support-reads" not in shown.partition("The whole text")[0]
    assert served.gate.scene.engine.bundle.digest == before
    assert "It is what is in force already" in draft(rita, file, POLICIES)[1]


def test_a_draft_that_would_not_load_says_so_at_its_line(rita: Browser) -> None:
    file = file_of(rita)
    broken = POLICIES.replace('Role::"billing"', 'Role::"biling"')
    line = next(number for number, text in enumerate(broken.splitlines(), 1) if "biling" in text)
    status, shown = draft(rita, file, broken)
    assert status == 422
    assert "It would not load" in shown
    assert re.search(rf"line {line - 1}\b|line {line}\b", shown), shown
    for text in ("", "permit (", MARKUP, "\x00" * 3):
        reply = rita.send(f"/console/policies/draft?file={file}", "/console/policies/draft", {"file": file, "text": text})
        assert reply.status in {400, 422}, text
        assert b"<script>alert" not in reply.content


def test_a_draft_of_a_file_that_is_not_there_and_one_that_is_too_long_are_refused(rita: Browser) -> None:
    assert draft(rita, file_of(rita), "x" * 1_000_001)[0] in {400, 413}
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', rita.get("/console/policies").content.decode())
    assert token is not None
    for file in ("../licet.toml", "/etc/passwd", "policies/none.cedar"):
        assert rita.post("/console/policies/draft", {"form_token": token[1], "file": file, "text": "x"}).status == 404
        assert rita.get(f"/console/policies/file?file={file}").status == 404


def test_only_whoever_may_read_those_of_the_installation_sees_any(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    for path in (
        "",
        "/file?file=policies/policies.cedar",
        "/draft?file=policies/policies.cedar",
        "/history",
        f"/compare?digest={'a' * 64}",
    ):
        assert lena.get(f"/console/policies{path}").status in {403, 404}
    assert "/console/policies" not in lena.get("/console/inbox").content.decode()


def test_history_shows_what_was_put_into_force(served: ConsoleWorld, rita: Browser) -> None:
    page = rita.get("/console/policies/history").content.decode()
    digest = served.gate.scene.engine.bundle.digest
    assert digest[:16] in page
    compared = text_of(rita.get(f"/console/policies/compare?digest={digest}"))
    assert '+@id("support-reads")' in compared
    assert rita.get(f"/console/policies/compare?digest={'a' * 64}").status == 404
    assert rita.get("/console/policies/compare?digest=abc").status == 400
    assert "access" in served.world.kinds("operator")


def test_the_oldest_version_that_is_shown_is_compared_with_the_one_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.console.policies.VERSIONS", 2)
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / OWN_FILE).write_text(default_text())
    with world_on(tmp_path, CONFIG.replace("[groups]", PEOPLE + "[groups]")) as inner:
        made = ConsoleWorld(inner)
        try:
            rita = made.enter("rita")
            for number in (1, 2):
                more = f'@id("more-{number}")\nforbid (principal == Agent::"night-bot", action, resource);\n'
                (folder / "all.cedar").write_text(POLICIES + more)
                assert rita.send("/console/policies", "/console/policies/reload").status == 303
            links = re.findall(r'href="(/console/policies/compare[^"]+)"', rita.get("/console/policies/history").content.decode())
            assert len(links) == 2
            assert all("before=" in link for link in links)
            oldest = text_of(rita.get(links[1].replace("&amp;", "&")))
            assert '+@id("more-1")' in oldest
            assert "support-reads" not in oldest
        finally:
            made.close()


def test_a_form_needs_its_token(rita: Browser) -> None:
    for path in ("/console/policies/draft", "/console/policies/test", "/console/policies/reload"):
        assert rita.post(path, {"form_token": "0" * 64}).status == 403


def test_a_reload_puts_into_force_what_the_files_say(rita: Browser) -> None:
    reply = rita.send("/console/policies", "/console/policies/reload")
    assert (reply.status, reply.headers["location"]) == (303, "/console/policies")
