"""Secret arguments reach policy and tool as they are, and no byte of the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from licet.gate.results import Held, Ok
from tests.world import CONFIG, POLICIES, World, world_on

PASSWORD = "correct-horse-battery-staple"
TOKEN = "gh" + "p_" + "a1B2" * 9
KEYED = (
    POLICIES
    + """
@id("accounts-may-be-opened")
permit (principal in Role::"support", action == Action::"account.open", resource);
@id("opening-needs-a-lead")
@require_approval("1 of Group::\\"billing-leads\\"")
forbid (principal, action == Action::"account.open", resource) when { context.input.name == "held" };
@id("no-weak-password")
forbid (principal, action == Action::"account.open", resource) when { context.input.password == "weak" };
"""
)


def equip(w: World) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    @w.gate.tool("account.open", access="write", touches={"access"}, secrets=["password"])
    def open_account(name: str, password: str, note: str = "") -> str:
        seen.append({"name": name, "password": password, "note": note})
        return f"opened {name} with {password}"

    return seen


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".cedar")


def test_a_marked_argument_reaches_the_tool_and_no_file(tmp_path: Path) -> None:
    with world_on(tmp_path, CONFIG, KEYED) as w:
        seen = equip(w)
        with w.gate.acting(agent="support-bot", user="alice"):
            result = w.gate.call(
                "account.open", {"name": "x", "password": PASSWORD, "note": f"token {TOKEN} given"}, reason=f"as {PASSWORD} says"
            )
            assert isinstance(result, Ok), result
            assert result.value == f"opened x with {PASSWORD}", "the agent gets what the tool returned"
        assert seen == [{"name": "x", "password": PASSWORD, "note": f"token {TOKEN} given"}]
        intent, outcome = w.records()
        arguments = msgspec.json.decode(intent.payload.arguments)
        assert arguments["password"].startswith(f"(secret text of {len(PASSWORD)} characters, hmac ")
        assert intent.envelope.redactions == ("github_token:arguments", "secret:arguments.password", "secret:reason")
        assert PASSWORD not in (intent.payload.reason or "")
        assert outcome.envelope.redactions == ("secret:result",)
        assert arguments["password"] in msgspec.json.decode(outcome.payload.result), "the same marker wherever it is repeated"
    assert PASSWORD.encode() not in files(tmp_path)
    assert TOKEN.encode() not in files(tmp_path)


def test_policy_decides_on_the_secret_itself(tmp_path: Path) -> None:
    with world_on(tmp_path, CONFIG, KEYED) as w:
        seen = equip(w)
        with w.gate.acting(agent="support-bot", user="alice"):
            result = w.gate.call("account.open", {"name": "x", "password": "weak"})
        assert (result.decision.verdict, result.decision.code) == ("deny", "forbidden")  # type: ignore[union-attr]
        assert seen == []


def test_an_approver_compares_two_requests_by_their_markers_and_the_exact_secret_is_bound(tmp_path: Path) -> None:
    with world_on(tmp_path, CONFIG, KEYED) as w:
        seen = equip(w)
        with w.gate.acting(agent="support-bot", user="alice"):
            first = w.gate.call("account.open", {"name": "held", "password": PASSWORD})
            other = w.gate.call("account.open", {"name": "held", "password": PASSWORD + "!"})
            assert isinstance(first, Held)
            assert isinstance(other, Held)
            assert first.request is not None
            assert other.request is not None
            assert first.request != other.request
            shown = [
                msgspec.json.decode(w.gate.approvals.show(request).request.summary)["arguments"]["password"]
                for request in (first.request, other.request)
            ]
            assert shown[0] != shown[1]
            assert all(text.startswith("(secret text of ") for text in shown)
            w.gate.approvals.vote(first.request, "lena", "approve")
            assert isinstance(w.gate.call("account.open", {"name": "held", "password": PASSWORD + "?"}), Held), (
                "another secret is another call"
            )
            assert isinstance(w.gate.call("account.open", {"name": "held", "password": PASSWORD}), Ok)
        assert [call["password"] for call in seen] == [PASSWORD]
    assert PASSWORD.encode() not in files(tmp_path)


def test_arguments_over_the_limit_are_cut_with_a_digest_of_the_whole(tmp_path: Path) -> None:
    with world_on(tmp_path, CONFIG, KEYED) as w:
        seen = equip(w)
        note = "x" * 100_000 + PASSWORD
        with w.gate.acting(agent="support-bot", user="alice"):
            assert isinstance(w.gate.call("account.open", {"name": "x", "password": PASSWORD, "note": note}), Ok)
        assert seen[0]["note"] == note, "the tool got all of it"
        intent = w.records()[0]
        cut = msgspec.json.decode(intent.payload.arguments)
        assert cut["cut"] is True
        assert cut["bytes"] > 100_000
        assert len(cut["sha256"]) == 64
        assert "cut:arguments" in intent.envelope.redactions
    assert PASSWORD.encode() not in files(tmp_path)
