"""What a caller is shown by the gateway, and why it is not shown the rest: told to whoever may read policies."""

from __future__ import annotations

from pathlib import Path

from licet.gate.gate import Gate
from licet.identity.authenticated import Authenticated
from licet.server.endpoint import Asked, Serving
from licet.server.gateway_tools import ShownTools, WhoseTools, read
from licet.server.problems import Problem
from tests.gateway.world import gateway_world


def ask(gate: Gate, who: Authenticated, **params: str) -> ShownTools | str:
    """What is answered, or the code of why not."""
    asked = Asked(
        Serving(gate, public_url=None, version="1"),
        who,
        params=WhoseTools(**params),
        body=None,
        raw_body=b"",
        headers={},
        path="/",
        request_id="r",
    )
    try:
        body = read(asked).body
    except Problem as problem:
        return problem.code
    assert isinstance(body, ShownTools)
    return body


def of(*roles: str, tenants: tuple[str, ...] = ("acme",)) -> Authenticated:
    return Authenticated(method="api_key", credential="k", tenants=tenants, roles=roles)


def test_an_auditor_is_told_what_a_caller_is_shown_and_why_not_the_rest(tmp_path: Path) -> None:
    with gateway_world(tmp_path) as w:
        w.gate.seal()
        found = ask(w.gate, of("licet-auditor"), agent="bot", user="alice")
        assert isinstance(found, ShownTools)
        assert found.shown == ("crm__ask", "crm__get", "notes__get")
        assert [(one.name, one.code) for one in found.hidden] == [("crm__set", "no_permit"), ("crm__wipe", "unclassified_tool")]
        assert "no permit could ever match" in found.hidden[0].why
        assert ask(w.gate, of("licet-agent"), agent="bot", user="alice") == "not_permitted"
        assert ask(w.gate, of("licet-auditor"), tenant="globex", agent="bot", user="alice") == "not_found"
        assert ask(w.gate, of("licet-auditor"), agent="stranger") == "unknown_agent"
        assert ask(w.gate, of("licet-auditor", tenants=("*",)), agent="bot") == "tenant_needed"
