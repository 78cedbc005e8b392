"""Tokens: who they say somebody is, and every way in which one is not accepted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from licet.errors import CallerRefused, NotAuthenticated
from licet.identity.authenticated import AskedCaller
from licet.identity.jwt import TOKEN_LIMIT
from tests.identity.issuer import NOW_S, Issuer, claims, edwards, elliptic, encoded, header, hmac_signed, public, rsa, signed
from tests.identity.people import CONFIG, ISSUER

STRANGER = 7
"""The number of a key that the issuer does not have."""


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def refused(issuer: Issuer, token: str, certificate: bytes | None = None) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated) as caught:
        issuer.verify(token, certificate)
    assert issuer.tokens.find_known(token, certificate) is None
    return caught.value


def test_a_person_is_who_their_login_is_mapped_to(issuer: Issuer) -> None:
    who = issuer.accepts()
    assert (who.method, who.user, who.tenants) == ("jwt", "alice", ("acme",))
    assert who.agents == who.services == who.users == who.user_roles == ()
    assert who.expires_at == (NOW_S + 330) * 1_000_000
    with pytest.raises(CallerRefused) as caught:
        who.calling(AskedCaller())
    assert caught.value.code == "no_agent"


def test_with_act_the_agent_speaks_and_the_user_cannot_be_left_out(issuer: Issuer) -> None:
    who = issuer.accepts(act={"sub": "support-bot-client"})
    assert who.user is None
    assert (who.agents, who.users, who.actors) == (("support-bot",), ("alice",), ("support-bot-client",))
    caller = who.calling(AskedCaller())
    assert (caller.tenant, caller.agent, caller.user) == ("acme", "support-bot", "alice")
    for asked in (AskedCaller(user="gina"), AskedCaller(agent="free-bot"), AskedCaller(service="importer"), AskedCaller(tenant="globex")):
        with pytest.raises(CallerRefused) as caught:
            who.calling(asked)
        assert caught.value.code == "not_in_scope"


def test_the_outermost_actor_acts_and_the_chain_is_told(issuer: Issuer) -> None:
    who = issuer.accepts(act={"sub": "support-bot-client", "act": {"sub": "free-bot-client", "act": {"sub": "whoever"}}})
    assert who.agents == ("support-bot",)
    assert who.actors == ("support-bot-client", "free-bot-client", "whoever")


def test_an_agent_that_holds_a_users_token_is_not_the_user(issuer: Issuer) -> None:
    who = issuer.accepts(client_id="support-bot-client")
    assert who.user is None
    assert (who.agents, who.users) == (("support-bot",), ("alice",))


def test_a_machine_speaks_for_itself_alone(issuer: Issuer) -> None:
    who = issuer.accepts(sub="importer-client", client_id="importer-client", scope="openid licet.calls")
    assert (who.user, who.agents, who.services, who.users) == (None, (), ("importer",), ())
    assert who.roles == ("licet-agent",)
    with pytest.raises(CallerRefused) as caught:
        who.calling(AskedCaller(user="alice"))
    assert caught.value.code == "not_in_scope"


def test_a_subject_that_equals_an_agents_client_is_no_agent(issuer: Issuer) -> None:
    token = signed(header(), claims(sub="free-bot-client", client_id="console"))
    assert refused(issuer, token).reason == "client_is_another"
    assert refused(issuer, signed(header(), claims(sub="free-bot-client", client_id=None))).reason == "client_is_another"


def test_two_logins_of_one_agent_may_be_subject_and_client() -> None:
    issuer = Issuer(CONFIG.replace(f'"{ISSUER}|free-bot-client"', f'"{ISSUER}|free-bot-client", "{ISSUER}|5f0c"'))
    assert issuer.accepts(sub="5f0c", client_id="free-bot-client").agents == ("free-bot",)


def test_roles_come_from_mapped_claims_and_are_the_subjects(issuer: Issuer) -> None:
    roles = ["team-billing", "team-auditors", "billing", "billing-leads", 5, None]
    person = issuer.accepts(roles=roles, scope="licet.calls licet-admin")
    assert person.roles == ("billing", "licet-auditor", "licet-agent")
    agent = issuer.accepts(roles=roles, act={"sub": "support-bot-client"})
    assert agent.user_roles == ("billing", "licet-auditor")
    assert agent.roles == ("support",)  # what its user is, it is not
    assert issuer.accepts(roles="team-billing").roles == ("billing",)
    assert issuer.accepts(roles={"team-billing": True}, jti="2").roles == ()


def test_roles_and_tenants_may_lie_deeper_in_the_claims() -> None:
    more = 'roles_claim = "realm_access.roles"\ntenant_claim = "org.id"\n[identity.issuers.tenants]\norg-1 = "acme"\norg-2 = "globex"\n'
    issuer = Issuer(CONFIG.replace("[identity.issuers.roles]", more + "[identity.issuers.roles]"))
    who = issuer.accepts(sub="00u2", org={"id": "org-2"}, realm_access={"roles": ["team-billing"]})
    assert (who.user, who.tenants, who.roles) == ("gina", ("globex",), ("billing",))
    for org in (None, {}, {"id": "org-3"}, {"id": "globex"}, {"id": ["org-2"]}):
        assert refused(issuer, signed(header(), claims(sub="00u2", org=org))).reason == "tenant_not_mapped"
    assert refused(issuer, signed(header(), claims(sub="00u1", org={"id": "org-2"}))).reason == "tenant_not_mapped"  # not alice's


def test_an_agent_acts_only_where_its_user_belongs_too(issuer: Issuer) -> None:
    assert issuer.accepts(sub="00u2", act={"sub": "support-bot-client"}).tenants == ("acme",)
    assert issuer.accepts(sub="00u2", act={"sub": "free-bot-client"}).tenants == ("acme", "globex")


def test_tokens_of_one_login_have_one_credential_and_others_have_another(issuer: Issuer) -> None:
    one, same = issuer.accepts(jti="1"), issuer.accepts(jti="2", iat=NOW_S)
    agent, other = issuer.accepts(act={"sub": "support-bot-client"}), issuer.accepts(sub="00u2")
    assert one.credential == same.credential
    assert len({one.credential, agent.credential, other.credential}) == 3
    assert "00u1" not in one.credential


@pytest.mark.parametrize(
    ("alg", "key"),
    [("RS256", rsa), ("PS256", rsa), ("ES256", elliptic), ("EdDSA", edwards)],
    ids=["RS256", "PS256", "ES256", "EdDSA"],
)
def test_each_algorithm_that_is_allowed_is_understood(alg: str, key: Callable[[], Any]) -> None:
    issuer = Issuer(keys=[public(key(), "one")])
    assert issuer.verify(signed(header(alg=alg), claims(), key(), alg)).user == "alice"


PEM = rsa().as_pem(private=False)
DAY = 86_400

ATTACKS: dict[str, tuple[Callable[[], str], str]] = {
    "no signature, alg none": (lambda: f"{encoded(header(alg='none'))}.{encoded(claims())}.", "malformed"),
    "alg none with a signature": (lambda: f"{encoded(header(alg='none'))}.{encoded(claims())}.AAAA", "algorithm_not_allowed"),
    "alg NoNe": (lambda: f"{encoded(header(alg='NoNe'))}.{encoded(claims())}.AAAA", "algorithm_not_allowed"),
    "HS256 with the public key as PEM": (lambda: hmac_signed(header(alg="HS256"), claims(), PEM), "algorithm_not_allowed"),
    "HS256 with the public key as JWK": (
        lambda: hmac_signed(header(alg="HS256"), claims(), json.dumps(public(rsa(), "one")).encode()),
        "algorithm_not_allowed",
    ),
    "an HMAC under alg RS256": (lambda: hmac_signed(header(), claims(), PEM), "bad_signature"),
    "no algorithm": (lambda: signed(header(alg=None), claims()), "algorithm_not_allowed"),
    "an algorithm that is a list": (lambda: signed(header(alg=["RS256"]), claims()), "algorithm_not_allowed"),
    "an algorithm that is not allowed here": (lambda: signed(header(alg="RS512"), claims(), alg="RS512"), "algorithm_not_allowed"),
    "another algorithm than the key's kind": (lambda: signed(header(alg="ES256"), claims(), elliptic(), "ES256"), "unknown_kid"),
    "signed by a stranger": (lambda: signed(header(), claims(), rsa(STRANGER)), "bad_signature"),
    "a stranger's key in the header": (
        lambda: signed(header(jwk=public(rsa(STRANGER), "one")), claims(), rsa(STRANGER)),
        "bad_signature",
    ),
    "the address of a stranger's keys": (
        lambda: signed(header(jku="https://evil.example/keys", x5u="https://evil.example/c"), claims(), rsa(STRANGER)),
        "bad_signature",
    ),
    "a stranger's certificate": (lambda: signed(header(x5c=["MIIB"]), claims(), rsa(STRANGER)), "bad_signature"),
    "an unknown kid": (lambda: signed(header(kid="two"), claims()), "unknown_kid"),
    "a kid that is a path": (lambda: signed(header(kid="../../../dev/null"), claims()), "unknown_kid"),
    "a kid that is SQL": (lambda: signed(header(kid="' OR 1=1 --"), claims()), "unknown_kid"),
    "a kid that is a number": (lambda: signed(header(kid=1), claims()), "malformed"),
    "a huge kid": (lambda: signed(header(kid="k" * 1_000), claims()), "malformed"),
    "an empty kid": (lambda: signed(header(kid=""), claims()), "malformed"),
    "an id token": (lambda: signed(header(typ="JWT"), claims()), "wrong_type"),
    "a token without a type": (lambda: signed(header(typ=None), claims()), "wrong_type"),
    "a logout token": (lambda: signed(header(typ="logout+jwt"), claims()), "wrong_type"),
    "a critical header": (lambda: signed(header(crit=["exp"], exp=1), claims()), "critical_header"),
    "an empty list of critical headers": (lambda: signed(header(crit=[]), claims()), "critical_header"),
    "an unencoded payload": (lambda: signed(header(b64=False), claims()), "critical_header"),
    "another issuer": (lambda: signed(header(), claims(iss="https://evil.example")), "unknown_issuer"),
    "an issuer with a slash more": (lambda: signed(header(), claims(iss=f"{ISSUER}/")), "unknown_issuer"),
    "an issuer in capitals": (lambda: signed(header(), claims(iss=ISSUER.upper())), "unknown_issuer"),
    "a list of issuers": (lambda: signed(header(), claims(iss=[ISSUER])), "unknown_issuer"),
    "no issuer": (lambda: signed(header(), claims(iss=None)), "unknown_issuer"),
    "another audience": (lambda: signed(header(), claims(aud="billing")), "wrong_audience"),
    "an audience that only begins so": (lambda: signed(header(), claims(aud="licet.example")), "wrong_audience"),
    "no audience": (lambda: signed(header(), claims(aud=None)), "wrong_audience"),
    "no audience at all in a list": (lambda: signed(header(), claims(aud=[])), "wrong_audience"),
    "an audience that is no text": (lambda: signed(header(), claims(aud=["licet", 5])), "wrong_audience"),
    "an audience that is an object": (lambda: signed(header(), claims(aud={"licet": 1})), "wrong_audience"),
    "expired": (lambda: signed(header(), claims(exp=NOW_S - 31)), "expired"),
    "expired at this very second": (lambda: signed(header(), claims(exp=NOW_S - 30)), "expired"),
    "no expiry": (lambda: signed(header(), claims(exp=None)), "no_expiry"),
    "an expiry that is text": (lambda: signed(header(), claims(exp=str(NOW_S + 300))), "malformed_date"),
    "an expiry that is true": (lambda: signed(header(), claims(exp=True)), "malformed_date"),
    "an expiry in milliseconds": (lambda: signed(header(), claims(exp=NOW_S * 1_000)), "malformed_date"),
    "an expiry that is infinite": (
        lambda: signed(header(), json.dumps(claims()).replace(f'"exp": {NOW_S + 300}', '"exp": 1e999')),
        "malformed",
    ),
    "a negative expiry": (lambda: signed(header(), claims(exp=-1)), "malformed_date"),
    "not valid yet": (lambda: signed(header(), claims(nbf=NOW_S + 31)), "not_yet_valid"),
    "issued in the future": (lambda: signed(header(), claims(iat=NOW_S + DAY)), "not_yet_valid"),
    "a claim that stands twice": (
        lambda: signed(header(), json.dumps(claims())[:-1] + ', "sub": "00u2"}'),
        "malformed",
    ),
    "a claim that stands twice, escaped": (
        lambda: signed(header(), json.dumps(claims())[:-1] + ', "\\u0073ub": "00u2"}'),
        "malformed",
    ),
    "an algorithm that stands twice": (
        lambda: signed('{"alg":"none","typ":"at+jwt","kid":"one","alg":"RS256"}', claims()),
        "malformed",
    ),
    "claims that are a list": (lambda: signed(header(), "[1]"), "malformed"),
    "claims that are not JSON": (lambda: signed(header(), "{"), "malformed"),
    "claims that are not UTF-8": (lambda: f"{encoded(header())}.{encoded(bytes([0xFF, 0xFE]))}.AAAA", "malformed"),
    "claims nested too deeply": (lambda: signed(header(), '{"a":' + "[" * 500 + "]" * 500 + "}"), "malformed"),
    "a huge token": (lambda: signed(header(), claims(junk="x" * TOKEN_LIMIT)), "too_large"),
    "a huge header": (lambda: signed(header(junk="x" * 5_000), claims()), "malformed"),
    "two parts": (lambda: f"{encoded(header())}.{encoded(claims())}", "malformed"),
    "an encrypted token": (lambda: "a.b.c.d.e", "malformed"),
    "base64 that is not": (lambda: "!!!.???.###", "malformed"),
    "a signature with padding": (lambda: signed(header(), claims()) + "==", "malformed"),
    "a signature cut short": (lambda: signed(header(), claims())[:-4], "bad_signature"),
    "other claims under the signature": (
        lambda: ".".join((encoded(header()), encoded(claims(sub="00u2")), signed(header(), claims()).split(".")[2])),
        "bad_signature",
    ),
    "another header under the signature": (
        lambda: ".".join((encoded(header(cty="x")), *signed(header(), claims()).split(".")[1:])),
        "bad_signature",
    ),
    "a subject that is a number": (lambda: signed(header(), claims(sub=1)), "malformed_subject"),
    "no subject": (lambda: signed(header(), claims(sub=None)), "malformed_subject"),
    "an empty subject": (lambda: signed(header(), claims(sub="")), "malformed_subject"),
    "a subject with a line break": (lambda: signed(header(), claims(sub="00u1\n")), "malformed_subject"),
    "a client that is a list": (lambda: signed(header(), claims(client_id=["console"])), "malformed_client"),
    "act without a subject": (lambda: signed(header(), claims(act={})), "malformed_act"),
    "act that is text": (lambda: signed(header(), claims(act="support-bot-client")), "malformed_act"),
    "act that is nothing": (lambda: signed(header(), json.dumps(claims())[:-1] + ', "act": null}'), "malformed_act"),
    "act with a number": (lambda: signed(header(), claims(act={"sub": 5})), "malformed_act"),
    "act of another issuer": (
        lambda: signed(header(), claims(act={"sub": "support-bot-client", "iss": "https://evil.example"})),
        "malformed_act",
    ),
    "a broken link in the chain": (lambda: signed(header(), claims(act={"sub": "support-bot-client", "act": 5})), "malformed_act"),
    "a chain without end": (
        lambda: signed(header(), claims(act=json.loads('{"sub":"a","act":' * 20 + '{"sub":"b"}' + "}" * 20))),
        "malformed_act",
    ),
    "a disabled user": (lambda: signed(header(), claims(sub="00u3")), "user_unknown_or_disabled"),
    "an agent for a disabled user": (
        lambda: signed(header(), claims(sub="00u3", act={"sub": "support-bot-client"})),
        "user_unknown_or_disabled",
    ),
    "bound to a key that we cannot check": (lambda: signed(header(), claims(cnf={"jkt": "x"})), "unknown_binding"),
    "bound to two things": (lambda: signed(header(), claims(cnf={"x5t#S256": "x", "jkt": "y"})), "unknown_binding"),
    "bound to nothing": (lambda: signed(header(), claims(cnf={})), "unknown_binding"),
    "bound to a certificate that is not shown": (lambda: signed(header(), claims(cnf={"x5t#S256": "x"})), "certificate_missing"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_as_it_must_be_is_refused(issuer: Issuer, attack: str) -> None:
    token, reason = ATTACKS[attack]
    caught = refused(issuer, token())
    assert caught.reason == reason
    assert (caught.code, str(caught)) == ("invalid_credential", "the credential is not accepted")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sub": "nobody"}, "unknown_login"),
        ({"sub": "alice"}, "unknown_login"),
        ({"sub": "00u1", "act": {"sub": "nobody"}}, "unknown_login"),
        ({"sub": "00u1", "act": {"sub": "support-bot"}}, "unknown_login"),
        ({"sub": "nobody", "act": {"sub": "support-bot-client"}}, "unknown_login"),
        ({"sub": "00u1", "act": {"sub": "00u2"}}, "no_such_delegation"),
        ({"sub": "free-bot-client", "act": {"sub": "support-bot-client"}}, "no_such_delegation"),
    ],
    ids=["a stranger", "a user's name", "a strange actor", "an agent's name", "a strange subject", "a user who acts", "an agent acted for"],
)
def test_a_login_that_is_mapped_to_nobody_is_told_so(issuer: Issuer, changed: dict[str, Any], reason: str) -> None:
    caught = refused(issuer, signed(header(), claims(**changed)))
    assert (caught.code, caught.reason) == ("unknown_login", reason)
    assert "ask whoever runs Licet to map it" in str(caught)


def test_clocks_may_differ_by_the_leeway_and_no_more(issuer: Issuer) -> None:
    for changed in ({"exp": NOW_S - 29}, {"nbf": NOW_S + 30}, {"iat": NOW_S + 30}, {"exp": NOW_S + 10.5}):
        assert issuer.accepts(**changed).user == "alice"


def test_a_token_for_several_audiences_is_for_us_too(issuer: Issuer) -> None:
    assert issuer.accepts(aud=["billing", "licet"]).user == "alice"


@pytest.mark.parametrize("kind", ["AT+JWT", "application/at+jwt"])
def test_the_type_may_be_written_as_a_media_type(issuer: Issuer, kind: str) -> None:
    assert issuer.verify(signed(header(typ=kind), claims())).user == "alice"


def test_a_plain_type_is_accepted_where_it_is_allowed() -> None:
    issuer = Issuer(CONFIG.replace('audience = "licet"', 'audience = "licet"\ntypes = ["at+jwt", "JWT"]'))
    assert issuer.verify(signed(header(typ="JWT"), claims())).user == "alice"


def test_a_bound_token_is_shown_with_its_certificate_or_by_nobody() -> None:
    issuer = Issuer()
    certificate, other = b"the certificate", b"another one"
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()
    token = signed(header(), claims(cnf={"x5t#S256": thumbprint}))
    assert issuer.verify(token, certificate).user == "alice"
    assert issuer.tokens.find_known(token, certificate) is not None
    assert refused(issuer, token, other).reason == "another_certificate"
    assert refused(issuer, token).reason == "certificate_missing"
    assert issuer.tokens.find_known(token, certificate) is not None


def test_where_tokens_must_be_bound_others_are_refused() -> None:
    issuer = Issuer(CONFIG.replace('audience = "licet"', 'audience = "licet"\nbound = true'))
    assert refused(issuer, signed(header(), claims())).reason == "not_bound"


# what was verified before


def test_what_was_verified_is_known_until_it_expires(issuer: Issuer) -> None:
    token = signed(header(), claims())
    assert issuer.tokens.find_known(token, None) is None
    who = issuer.verify(token)
    assert issuer.tokens.find_known(token, None) == who
    issuer.now_s = NOW_S + 329.9
    assert issuer.tokens.find_known(token, None) == who
    issuer.now_s = NOW_S + 330
    assert issuer.tokens.find_known(token, None) is None
    assert refused(issuer, token).reason == "expired"


def test_a_token_dies_with_the_key_that_signed_it(issuer: Issuer) -> None:
    token = signed(header(), claims())
    issuer.verify(token)
    issuer.keys = [public(rsa(1), "two")]
    issuer.clock_s = 299
    assert issuer.tokens.find_known(token, None) is not None
    issuer.clock_s = 300
    assert issuer.tokens.find_known(token, None) is None
    assert refused(issuer, token).reason == "unknown_kid"


def test_a_login_that_was_taken_away_is_refused_at_once(issuer: Issuer) -> None:
    token = signed(header(), claims())
    issuer.verify(token)
    issuer.reload(CONFIG.replace(f'"{ISSUER}|00u1"', ""))
    assert issuer.tokens.find_known(token, None) is None
    assert refused(issuer, token).code == "unknown_login"


def test_a_user_who_was_disabled_is_refused_at_once(issuer: Issuer) -> None:
    token = signed(header(), claims(act={"sub": "support-bot-client"}))
    issuer.verify(token)
    issuer.reload(CONFIG.replace("[users.alice]", "[users.alice]\ndisabled = true"))
    assert issuer.tokens.find_known(token, None) is None
    assert refused(issuer, token).reason == "user_unknown_or_disabled"


def test_an_issuer_that_is_not_accepted_any_more_is_unknown(issuer: Issuer) -> None:
    token = signed(header(), claims())
    issuer.verify(token)
    issuer.reload(
        CONFIG.replace(f'issuer = "{ISSUER}"', 'issuer = "https://other.example"').replace(f'"{ISSUER}|', '"https://other.example|')
    )
    assert refused(issuer, token).reason == "unknown_issuer"
