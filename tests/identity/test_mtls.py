"""Client certificates: whose one is, by its names and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from licet.config import loads
from licet.errors import CallerRefused, NotAuthenticated
from licet.identity.authenticated import AskedCaller
from licet.identity.authenticator import Authenticator
from licet.identity.directory import Directory
from licet.identity.mtls import Certificates
from tests.identity.people import CONFIG, FILE

BEGINS = datetime(2026, 11, 1, tzinfo=UTC)
ENDS = BEGINS + timedelta(days=30)
SUPPORT = ("uri:spiffe://acme/support-bot",)


@cache
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def certificate(names: Sequence[str] = SUPPORT, subject: tuple[tuple[x509.ObjectIdentifier, str], ...] = ()) -> bytes:
    """DER of a certificate with these names, each `uri:...` or `dns:...`."""
    kinds = {"uri": x509.UniformResourceIdentifier, "dns": x509.DNSName}
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key().public_key())
    builder = builder.serial_number(1).not_valid_before(BEGINS).not_valid_after(ENDS)
    if names:
        found = [kinds[kind](value) for kind, _, value in (one.partition(":") for one in names)]
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
    return builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.DER)


class Door:
    def __init__(self, config: str = CONFIG) -> None:
        self.now = BEGINS + timedelta(days=1)
        self.use(config)
        self.certificates = Certificates(lambda: self.settings, lambda: self.directory, lambda: int(self.now.timestamp() * 1_000_000))

    def use(self, config: str) -> None:
        self.settings = loads(config, file=FILE)
        self.directory = Directory.from_settings(self.settings)


def refused(door: Door, der: bytes) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated) as caught:
        door.certificates.verify(der)
    assert door.certificates.find_known(der) is None
    return caught.value


def test_an_agent_is_known_by_a_uri_and_speaks_for_itself_alone() -> None:
    who = Door().certificates.verify(certificate())
    assert (who.method, who.user, who.agents, who.users, who.roles) == ("mtls", None, ("support-bot",), (), ("support",))
    assert who.tenants == ("acme",)
    assert who.expires_at == int(ENDS.timestamp()) * 1_000_000
    with pytest.raises(CallerRefused) as caught:
        who.calling(AskedCaller(user="alice"))
    assert caught.value.code == "not_in_scope"


def test_a_service_is_known_by_a_dns_name() -> None:
    assert Door().certificates.verify(certificate(("dns:importer.acme.test",))).services == ("importer",)


def test_a_person_is_known_by_the_whole_subject() -> None:
    subject = ((NameOID.ORGANIZATION_NAME, "Globex"), (NameOID.COMMON_NAME, "gina"))
    who = Door().certificates.verify(certificate((), subject))
    assert (who.user, who.agents, who.tenants) == ("gina", (), ("acme", "globex"))


@pytest.mark.parametrize(
    ("names", "subject"),
    [
        (("uri:spiffe://acme/support-bot/",), ()),
        (("uri:spiffe://ACME/support-bot",), ()),
        (("dns:spiffe://acme/support-bot",), ()),
        (("dns:*.acme.test",), ()),
        (("dns:importer.acme.test.evil.example",), ()),
        ((), ((NameOID.COMMON_NAME, "importer.acme.test"),)),
        ((), ((NameOID.COMMON_NAME, "gina"),)),
        ((), ((NameOID.COMMON_NAME, "gina,O=Globex"),)),
        ((), ()),
    ],
    ids=["slash", "case", "kind", "wildcard", "longer", "DNS name in CN", "half a subject", "comma in CN", "no name"],
)
def test_a_name_that_only_looks_alike_names_nobody(names: tuple[str, ...], subject: tuple[tuple[x509.ObjectIdentifier, str], ...]) -> None:
    caught = refused(Door(), certificate(names, subject))
    assert (caught.code, caught.reason) == ("unknown_login", "unknown_login")


def test_a_certificate_with_names_of_several_is_nobodys() -> None:
    assert refused(Door(), certificate((*SUPPORT, "dns:importer.acme.test"))).reason == "certificate_of_several"


def test_names_of_one_may_be_several() -> None:
    door = Door(CONFIG.replace('"x509|uri:spiffe://acme/support-bot"', '"x509|uri:spiffe://acme/support-bot", "x509|dns:bot.acme.test"'))
    assert door.certificates.verify(certificate((*SUPPORT, "dns:bot.acme.test"))).agents == ("support-bot",)


def test_a_certificate_is_good_for_its_days_also_on_an_open_connection() -> None:
    door = Door()
    door.certificates.verify(certificate())
    assert door.certificates.find_known(certificate()) is not None
    door.now = ENDS
    assert door.certificates.find_known(certificate()) is None
    assert refused(door, certificate()).reason == "expired"
    door.now = BEGINS - timedelta(seconds=1)
    assert refused(door, certificate()).reason == "expired"


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----"], ids=["empty", "short", "PEM"])
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    assert refused(Door(), der).reason == "malformed_certificate"


def test_who_was_disabled_or_unmapped_is_refused_at_once() -> None:
    subject = ((NameOID.ORGANIZATION_NAME, "Globex"), (NameOID.COMMON_NAME, "gina"))
    door, gina = Door(), certificate((), subject)
    door.certificates.verify(gina)
    door.use(CONFIG.replace("[users.gina]", "[users.gina]\ndisabled = true"))
    assert refused(door, gina).reason == "user_unknown_or_disabled"
    door.use(CONFIG.replace('"x509|subject:CN=gina,O=Globex"', '"x509|subject:CN=other"'))
    assert refused(door, gina).code == "unknown_login"


def test_the_header_says_who_speaks_where_both_are_shown() -> None:
    door = Authenticator(certificates=Door().certificates)
    assert door.authenticate(None, certificate()).agents == ("support-bot",)
    assert door.find_known(None, certificate()) is not None
    with pytest.raises(NotAuthenticated) as caught:
        door.authenticate("Bearer a.b.c", certificate())
    assert caught.value.reason == "kind_not_accepted"
    assert door.find_known("Bearer a.b.c", certificate()) is None
