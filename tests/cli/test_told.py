from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.output import LABEL_WIDTH
from licet.ledger.record import Envelope, Kind, PayloadEntry
from licet.ledger.told import TELLERS, Told
from tests.cli.conftest import Licet, envelope

PSEUDONYM = "6f1c" * 8
CUSTOMER = f"Customer::{PSEUDONYM}"


def told(kind: Kind, *targets: str, **detail: Any) -> Told:
    envelope = Envelope(
        v=1, log="acme", kind=kind, id="i", at=0, boot="b", environment="production", targets=targets, payload=PayloadEntry("c", 1)
    )
    return TELLERS[kind](envelope, detail)


TOLD = {
    "a search": (
        told(
            "access", verb="search", operating_user="root", records=20, payloads=True, filter={"user": "alice", "kinds": ["hold", "vote"]}
        ),
        "root read 20 records, with `licet audit search --user alice --kind hold --kind vote`",
    ),
    "a story": (
        told("access", verb="audit show", operating_user="root", records=1, payloads=True, filter={"reference": "acme:7"}),
        "root read 1 record, with `licet audit show acme:7`",
    ),
    "an export without payloads": (
        told("access", verb="audit export", operating_user="root", records=1_200, payloads=False, filter={"format": "csv"}),
        "root read 1,200 records, without payloads, with `licet audit export --format csv`",
    ),
    "a search for somebody who is not known": (
        told(
            "access", verb="tail", operating_user="root", records=0, payloads=True, filter={"user": {"unknown": "ab" * 16}, "follow": True}
        ),
        "root read 0 records, with `licet audit tail --user (unknown, abababababab) --follow`",
    ),
    "an erasure": (
        told("erasure", CUSTOMER, by="root", reason="request 7", payloads=3, logs=["acme"], requests=["r"]),
        f"root erased the Customer recorded as {CUSTOMER}, so that 3 payloads cannot be opened any more, and withdrew 1 request: request 7",
    ),
    "an erasure of nobody's requests": (
        told("erasure", CUSTOMER, by="root", reason="request 7", payloads=1, logs=["acme"], requests=[]),
        f"root erased the Customer recorded as {CUSTOMER}, so that 1 payload cannot be opened any more: request 7",
    ),
    "retention": (
        told("erasure", "Payloads::0-11", "Payloads::13-20", by="root", reason="retention", payloads=20, before=1_763_802_000_000_000),
        "root dropped 20 payloads older than 2025-11-22 09:00:00: those of the records 0-11 and 13-20: retention",
    ),
    "a freeze of an agent": (
        told("freeze", "Agent::support-bot", act="freeze", by="lena", operating_user="root", reason="it loops"),
        "lena froze the agent `support-bot` of tenant `acme`: it loops",
    ),
    "a freeze of a tenant by nobody of the directory": (
        told("freeze", "Tenant::acme", act="freeze", by=None, operating_user="root", reason="a breach"),
        "root froze the tenant `acme`: a breach",
    ),
    "a freeze of everything": (
        told("freeze", "Everything::*", act="freeze", by=None, operating_user="root", reason="a breach"),
        "root froze everything: a breach",
    ),
    "a freeze whose payload was erased": (told("freeze", "Session::s-1"), "somebody froze the session `s-1` of tenant `acme`"),
    "a lift by two": (
        told("freeze", "Freeze::f-1", act="lift", by="lena", second="dana", operating_user="root", reason="mended"),
        "lena and dana lifted the freeze f-1: mended",
    ),
    "a hold of a customer": (
        told("legal_hold", CUSTOMER, by="root", act="hold", reason="case 9"),
        f"root placed a legal hold on the Customer recorded as {CUSTOMER}, which is neither erased nor dropped as long as it stands: case 9",
    ),
    "a hold of everything": (
        told("legal_hold", "Tenant::acme", by="root", act="hold", reason="case 9"),
        "root placed a legal hold on everything in the log `acme`, which is neither erased nor dropped as long as it stands: case 9",
    ),
    "a release": (
        told("legal_hold", "Hold::h-1", by="root", act="release", reason="closed"),
        "root released the legal hold h-1: closed",
    ),
    "another signing key": (
        told("key_rotation", **{"by": "root", "act": "rotate_signing", "from": "o+1+A", "to": "o+2+B"}),
        "root let another key sign the log: o+2+B, endorsed by the one before",
    ),
    "a retired key": (
        told("key_rotation", "Key::new", by="root", act="retire", keys=["old"], to="new"),
        "root retired the key old: new secrets lie under new",
    ),
    "another key for secrets": (
        told("key_rotation", "Key::new", by="root", act="rewrap", keys=["old"], to="new", secrets=5, signing_keys=1),
        "root put 5 secrets and 1 signing key under the key new; nothing lies under old any more",
    ),
    "a twin": (
        told("admin", twin="c", tool="billing.adjust"),
        "a call reached for another tenant: billing.adjust; its record is call c",
    ),
    "a backup": (
        told("admin", by="root", act="backup", file="monday.db", bytes=1_572_864),
        "root made the backup monday.db (1.5 MiB)",
    ),
    "a restore": (
        told("admin", **{"by": "root", "act": "restore", "from": "monday.db", "kept": "licet.db.before-1", "reason": "a drill"}),
        "root put the backup monday.db in the ledger's place; what was there is kept as licet.db.before-1: a drill",
    ),
    "a loss": (
        told("admin", by="root", act="accept_loss", origin="licet.invalid/ab", size=4, reason="the disk died"),
        "root accepted that records are lost, and the head log began anew; before, it was licet.invalid/ab with 4 entries in its head log: the disk died",
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_was_done_to_the_ledger_is_told_in_one_sentence(name: str) -> None:
    one, sentence = TOLD[name]
    assert one.sentence == sentence


@pytest.mark.parametrize("name", TOLD)
def test_the_word_before_it_fits_its_column(name: str) -> None:
    assert len(f"· {TOLD[name][0].word}") <= LABEL_WIDTH


def test_a_loss_is_a_warning_a_freeze_stops_and_all_else_is_a_note() -> None:
    stopping = {name for name in TOLD if name.startswith(("a freeze of", "a freeze whose"))}
    assert {name for name, (one, _) in TOLD.items() if one.mark == "deny"} == stopping
    assert {name for name, (one, _) in TOLD.items() if one.mark not in {"note", "deny"}} == {"a loss"}
    assert TOLD["a loss"][0].mark == "warn"


@pytest.mark.parametrize("kind", TELLERS)
def test_it_is_told_without_a_payload_too(kind: Kind) -> None:
    assert kind in get_args(Kind)
    assert told(kind).sentence
    assert "None" not in told(kind, CUSTOMER).sentence


def test_whom_an_erasure_was_about_is_told_without_a_payload() -> None:
    assert (
        told("erasure", CUSTOMER).sentence
        == f"somebody erased the Customer recorded as {CUSTOMER}, so that payloads cannot be opened any more"
    )


def test_what_the_command_line_really_does_is_told_whole(licet: Licet, used: Path) -> None:
    for command in (
        "audit search --user alice --kind denial",
        "audit tail --lines 3",
        "audit prove acme:0 -o proof",
        "audit export --format csv --no-payloads -o all.csv",
        "audit hold --tenant acme --subject Customer/C-1 --reason case",
        "db backup copy.db",
        "keys rotate-signing",
    ):
        assert licet(*command.split()).exit_code == Exit.OK, command
    (hold,) = envelope(licet("--json", "audit", "holds"))["data"]
    for command in (
        f"audit release {hold['id']} --reason closed",
        "audit erase --tenant acme --subject Customer/C-1 --reason request --yes",
        "audit prune --older-than 1s --dry-run",
    ):
        assert licet(*command.split()).exit_code == Exit.OK, command
    kinds = [word for kind in TELLERS for word in ("--kind", kind)]
    lines = envelope(licet("--json", "audit", "search", *kinds))["data"]["records"]
    sentences = [DIFFERS.sub("~", line["sentence"].removeprefix(f"{operating_user()} ")) for line in reversed(lines)]
    assert sorted(sentences) == sorted(SENTENCES)


DIFFERS = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|licet\.invalid/[^,\s]+|[0-9.]+ KiB|[0-9,]+ records")
SENTENCES = (
    "a call reached for another tenant: crm.lookup; its record is call ~",
    "erased the Customer recorded as Customer::~, so that 5 payloads cannot be opened any more, and withdrew 1 request: request",
    "let another key sign the log: ~, endorsed by the one before",
    "made the backup copy.db (~)",
    "placed a legal hold on the Customer recorded as Customer::~, which is neither erased nor dropped as long as it stands: case",
    "read 1 record, without payloads, with `licet audit prove acme:0 --output proof`",
    "read ~, with `licet audit search --kind denial --user alice`",
    "read ~, with `licet audit tail`",
    "read ~, without payloads, with `licet audit export --format csv --output all.csv`",
    "released the legal hold ~: closed",
)
