"""`[identity]` and `logins`: strictly read, nobody mapped twice, nothing that could let a stranger in."""

from __future__ import annotations

import pytest

from licet.config import loads
from licet.config.identity import IdentitySettings
from licet.errors import ConfigInvalid
from tests.identity.people import CONFIG, FILE, ISSUER


def refused(config: str) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        loads(config, file=FILE)
    return str(caught.value)


def with_issuer(line: str) -> str:
    return CONFIG.replace('audience = "licet"', f'audience = "licet"\n{line}')


def test_without_a_word_keys_and_certificates_are_accepted_and_no_issuer() -> None:
    assert loads('environment = "test"', file=FILE).identity == IdentitySettings(api_keys=True, certificates=True, issuers=())


def test_an_issuer_is_read_with_its_defaults() -> None:
    (issuer,) = loads(CONFIG, file=FILE).identity.issuers
    assert (issuer.issuer, issuer.audience, issuer.jwks) == (ISSUER, "licet", f"{ISSUER}/keys")
    assert issuer.algorithms == ("RS256", "PS256", "ES256", "EdDSA")
    assert (issuer.types, issuer.leeway_s, issuer.refresh_s, issuer.refetch_s, issuer.outage_s) == (("at+jwt",), 30, 300, 30, 86_400)
    assert dict(issuer.roles) == {"team-billing": "billing", "team-auditors": "licet-auditor"}


def test_keys_in_a_file_lie_beside_licet_toml() -> None:
    config = CONFIG.replace(f'jwks = "{ISSUER}/keys"', 'jwks = "file:keys.json"')
    assert loads(config, file=FILE).identity.issuers[0].jwks == f"file:{FILE.parent / 'keys.json'}"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (with_issuer('algorithms = ["HS256"]'), "identity.issuers[0].algorithms"),
        (with_issuer('algorithms = ["none"]'), "identity.issuers[0].algorithms"),
        (with_issuer("algorithms = []"), "identity.issuers[0].algorithms"),
        (with_issuer("types = []"), "identity.issuers[0].types"),
        (with_issuer('leeway = "1h"'), "is longer than 300 seconds"),
        (with_issuer('leeway = "soon"'), "is not a duration"),
        (with_issuer('audiences = ["x"]'), "is not a known key; did you mean `audience`?"),
        (with_issuer("groups = {x = 'billing-leads'}"), "`identity.issuers[0].groups`"),
        (with_issuer("tenants = {x = 'acme'}"), "is required beside `tenants`"),
        (with_issuer("tenant_claim = 'tid'\ntenants = {x = 'nowhere'}"), "maps `x` to `nowhere`, which is not a tenant"),
        (CONFIG.replace('"licet.calls" = "licet-agent"', "x = 'two words'"), "maps `x` to `two words`, which cannot be a role"),
        (CONFIG.replace(f'"{ISSUER}/keys"', '"http://idp.example.com/keys"'), "is on another machine and not https"),
        (CONFIG.replace(f'"{ISSUER}/keys"', '"https://a:b@idp.example.com/keys"'), "identity.issuers[0].jwks"),
        (CONFIG.replace(f'issuer = "{ISSUER}"', f'issuer = "{ISSUER}|x"'), "is not an issuer's name"),
        (CONFIG.replace(f'issuer = "{ISSUER}"', 'issuer = "x509"'), "is not an issuer's name"),
        (CONFIG + f'[[identity.issuers]]\nissuer = "{ISSUER}"\naudience = "b"\njwks = "{ISSUER}/k"\n', "which is there twice"),
        (CONFIG.replace("00u2", "00u1"), "`users.gina.logins` in `/srv/app/licet.toml` has `https://idp.example.com|00u1`, as"),
        (CONFIG.replace("|00u2", "|support-bot-client"), "as `agents.support-bot.logins` has: a login is of one alone"),
        (CONFIG.replace(f"{ISSUER}|00u1", "https://evil.example|00u1"), "whose issuer is not among `[[identity.issuers]]`"),
        (CONFIG.replace(f"{ISSUER}|00u1", "00u1"), "which is not `ISSUER|SUBJECT`"),
        (CONFIG.replace(f"{ISSUER}|00u1", f"{ISSUER}|"), "which is not `ISSUER|SUBJECT`"),
        (CONFIG.replace("x509|dns:", "x509|email:"), "which is not `x509|uri:...`, `x509|dns:...` or `x509|subject:...`"),
    ],
)
def test_what_could_let_a_stranger_in_does_not_load(config: str, words: str) -> None:
    assert config != CONFIG
    assert words in refused(config)
