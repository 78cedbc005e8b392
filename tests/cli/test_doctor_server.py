"""`licet doctor` on `[server]`: what is exposed, what is missing, and who may do everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from licet.cli.doctor_server import server_findings
from licet.cli.finding import Finding
from licet.config import loads
from licet.policy.own import default_text

ROLES = 'roles = ["licet-agent", "licet-approver", "licet-auditor", "licet-admin"]\n'


def look(folder: Path, server: str = "", own: str | None = None) -> list[Finding]:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "licet.cedar").write_text(default_text() if own is None else own)
    return list(
        server_findings(loads(f'environment = "production"\n{ROLES}[tenants.acme]\n[server]\n{server}', file=folder / "licet.toml"))
    )


def levels(findings: list[Finding]) -> dict[str, int]:
    return {level: sum(finding.level == level for finding in findings) for level in ("ok", "warn", "fail")}


def test_what_init_writes_is_sound(tmp_path: Path) -> None:
    assert levels(look(tmp_path)) == {"ok": 1, "warn": 0, "fail": 0}


def test_nothing_is_said_where_nothing_is_served(tmp_path: Path) -> None:
    settings = loads('environment = "production"', file=tmp_path / "licet.toml")
    assert list(server_findings(settings)) == []


def test_a_server_without_permissions_of_its_own_is_told(tmp_path: Path) -> None:
    settings = loads('environment = "production"\n[server]\nlisten = "0.0.0.0:8181"', file=tmp_path / "licet.toml")
    (finding,) = server_findings(settings)
    assert (finding.level, finding.next) == ("fail", "`licet init --own-policies` writes one")
    assert "`licet.cedar` is missing" in finding.message


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ('listen = "0.0.0.0:8181"\npublic_url = "https://licet.example.com"', "in the clear"),
        ('metrics = "0.0.0.0:9181"', "metrics at `0.0.0.0:9181` are shown to whoever reaches it"),
        ('listen = "0.0.0.0:8181"\ntls_certificate = "c.pem"\ntls_key = "k.pem"', "`server.public_url` is missing"),
    ],
    ids=["clear", "metrics", "url"],
)
def test_what_is_exposed_is_a_warning_with_the_next_step(tmp_path: Path, server: str, words: str) -> None:
    findings = look(tmp_path, server)
    assert levels(findings) == {"ok": 1, "warn": 1, "fail": 0}
    assert words in findings[-1].message
    assert findings[-1].next


def test_a_private_key_that_others_read_fails(tmp_path: Path) -> None:
    key = tmp_path / "k.pem"
    key.write_text("key")
    key.chmod(0o640)
    findings = look(tmp_path, 'tls_certificate = "c.pem"\ntls_key = "k.pem"')
    assert [finding.message for finding in findings if finding.level == "fail"] == [f"others can read the private key `{key}`"]
    key.chmod(0o600)
    assert levels(look(tmp_path, 'tls_certificate = "c.pem"\ntls_key = "k.pem"'))["fail"] == 0


def test_policies_that_do_not_load_fail(tmp_path: Path) -> None:
    (finding,) = look(tmp_path, own="permit (")
    assert finding.level == "fail"
    assert "`licet.cedar` does not load" in finding.message


def test_a_permit_for_whoever_has_a_credential_is_a_warning(tmp_path: Path) -> None:
    own = '@id("all")\npermit (principal, action, resource);\n@id("named")\npermit (principal in Role::"licet-admin", action, resource);\n'
    (finding,) = look(tmp_path, own=own)
    assert finding.level == "warn"
    assert finding.message == "`licet.cedar` permits whoever has any credential: `all`"
