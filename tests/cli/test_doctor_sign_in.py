"""`licet doctor` on providers by which people sign in: it asks them, and says what is missing."""

from __future__ import annotations

import time
from pathlib import Path

from licet.cli.doctor_sign_in import sign_in_findings
from licet.config import loads
from tests.console.provider import provider

CONFIG = """
environment = "production"
[tenants.acme]
[users.lena]
tenants = ["acme"]
logins = [{login}]
[server]
{server}
[[identity.issuers]]
issuer = "{issuer}"
audience = "licet-api"
jwks = "{issuer}/keys"
[identity.issuers.sign_in]
name = "corp"
client_id = "licet-console"
client_secret = "env:OIDC_SECRET"
"""


def look(folder: Path, issuer: str, *, secret: str = "known", server: str = "", login: bool = True) -> list[tuple[str, str]]:
    config = CONFIG.format(issuer=issuer, server=server, login=f'"{issuer}|00u1"' if login else "")
    settings = loads(config, file=folder / "licet.toml")
    return [(one.level, one.message) for one in sign_in_findings(settings, {"OIDC_SECRET": secret})]


def test_a_provider_that_answers_is_well(tmp_path: Path) -> None:
    with provider(time.time) as peer:
        assert look(tmp_path, peer.issuer) == [("ok", "`corp` answers, and calls itself as licet.toml does")]


def test_what_is_missing_is_said_and_the_secret_is_not(tmp_path: Path) -> None:
    with provider(time.time) as peer:
        peer.metadata = {"issuer": "https://another.example.com"}
        found = look(tmp_path, peer.issuer, secret="", server='listen = "0.0.0.0:8181"', login=False)
    assert [level for level, _ in found] == ["fail", "warn", "fail", "fail"]
    assert "`server.public_url` is missing" in found[0][1]
    assert "no user has a login" in found[1][1]
    assert found[2][1] == "the secret of `corp` cannot be had: the environment variable `OIDC_SECRET` is not set"
    assert "it calls itself another issuer" in found[3][1]


def test_a_provider_that_is_not_there_fails(tmp_path: Path) -> None:
    with provider(time.time) as peer:
        issuer = peer.issuer
    ((level, message),) = look(tmp_path, issuer)
    assert level == "fail"
    assert message.startswith("nobody can sign in by `corp`: ")


def test_nothing_is_said_where_nobody_signs_in_so(tmp_path: Path) -> None:
    assert list(sign_in_findings(loads('environment = "production"', file=tmp_path / "licet.toml"), {})) == []
