"""Secrets, pseudonyms and sealed payloads: byte for byte, and what each of them is bound to."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

import licet.ledger.seal
import licet.ledger.vault
from licet.errors import KeyUnavailable, SecretBroken
from licet.ledger.keys import KeyEncryptionKeys, parse_keys
from licet.ledger.record import Actor, Payload, ToolEntry
from licet.ledger.seal import Filing, seal_filing, state
from licet.ledger.vault import LOG_TYPE, Opened, SecretRow, Subject, Vault, expand, log_lookup, payload_aad, payload_key, pseudonym_of
from licet.model import CallId
from tests.ledger.rows import Rows
from tests.store.samples import KEYS

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "sealed_v1.json").read_text(encoding="utf-8"))
LOG: str = VECTORS["log"]
RECORD: dict[str, str] = VECTORS["record"]
SECRETS = [bytes.fromhex(subject["secret"]) for subject in VECTORS["subjects"]]
ALICE, CUSTOMER = Subject(LOG, "User", "alice"), Subject(LOG, "Customer", "C-412")


def mac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def label_key(label: str) -> bytes:
    """RFC 5869, by another implementation."""
    return HKDFExpand(SHA256(), 32, f"licet {label} v1".encode()).derive(SECRETS[0])


# the vectors, by the formulas and nothing of ours


@pytest.mark.parametrize("subject", VECTORS["subjects"], ids=lambda subject: subject["type"])
def test_pseudonym_lookup_and_wrapped_secret_follow_from_the_formulas(subject: dict[str, str]) -> None:
    secret, nonce = bytes.fromhex(subject["secret"]), bytes.fromhex(subject["nonce"])
    name = f"{subject['type']}\0{subject['id']}"
    assert subject["pseudonym"] == mac(secret, f"licet pseudonym v1\0{LOG}\0{name}".encode()).hex()[:32]
    of_log = hashlib.sha256(b"licet log\0" + LOG.encode()).hexdigest()
    assert subject["lookup"] == (of_log if subject["type"] == "Log" else mac(label_key("lookup"), name.encode()).hex())
    aad = f"licet secret v1\0{LOG}\0{subject['pseudonym']}".encode()
    assert subject["wrapped"] == (nonce + AESGCM(bytes.fromhex(VECTORS["key"])).encrypt(nonce, secret, aad)).hex()


@pytest.mark.parametrize("blind", VECTORS["blinds"], ids=lambda blind: blind["label"])
def test_blinds_follow_from_the_formulas(blind: dict[str, str]) -> None:
    assert blind["blind"] == mac(label_key(blind["label"]), blind["text"].encode()).hex()[:32]


def test_the_sealed_payload_and_the_leaf_follow_from_the_formulas() -> None:
    salt, nonce, payload = bytes.fromhex(RECORD["salt"]), bytes.fromhex(RECORD["nonce"]), RECORD["payload"].encode()
    key = HKDF(SHA256(), 32, b"licet payload v1", b"licet payload v1").derive(b"".join(SECRETS))
    aad = b"\0".join(text.encode() for text in ("licet payload v1", LOG, RECORD["kind"], RECORD["call"], RECORD["id"]))
    assert (RECORD["payload_key"], RECORD["aad"]) == (key.hex(), aad.hex())
    assert RECORD["sealed"] == (nonce + AESGCM(key).encrypt(nonce, salt + payload, aad)).hex()
    assert RECORD["commitment"] == hashlib.sha256(salt + payload).hexdigest()
    envelope = json.loads(RECORD["envelope"])
    subjects = [subject["pseudonym"] for subject in VECTORS["subjects"][1:]]
    assert envelope["payload"] == {"commitment": RECORD["commitment"], "length": len(payload), "subjects": subjects}
    assert (envelope["actor"]["user"], envelope["targets"]) == (subjects[0], [f"Customer::{subjects[1]}", "Tenant::acme"])
    assert envelope["key"] == VECTORS["blinds"][0]["blind"]
    assert json.loads(payload)["names"] == {subjects[0]: 'User::"alice"', subjects[1]: 'Customer::"C-412"'}
    assert RECORD["leaf"] == hashlib.sha256(b"\0" + RECORD["envelope"].encode()).hexdigest()


# the vectors, by ours


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn at random is what the vectors say, in the order of drawing."""
    drawn = iter([bytes.fromhex(subject[part]) for subject in VECTORS["subjects"] for part in ("secret", "nonce")])
    monkeypatch.setattr(os, "urandom", lambda _: next(drawn))
    monkeypatch.setattr(licet.ledger.seal, "draw_salt", lambda: bytes.fromhex(RECORD["salt"]))
    monkeypatch.setattr(licet.ledger.vault, "draw_nonce", lambda: bytes.fromhex(RECORD["nonce"]))


def test_sealing_gives_the_bytes_of_the_vectors(fixed: None) -> None:
    keys = parse_keys(VECTORS["key_line"].encode(), "the vectors")
    assert keys.ids == (VECTORS["key_id"],)
    vault = Vault(keys, Rows())
    said = state(
        log=LOG,
        kind="intent",
        id=RECORD["id"],
        at=1_763_802_000_123_457,
        boot="boot-1",
        environment="test",
        call=CallId(RECORD["call"]),
        key=RECORD["idempotency_key"],
        actor=Actor(agent="bot", user="alice"),
        tool=ToolEntry("billing.adjust", "write", "d" * 64),
        targets=(CUSTOMER, Subject(LOG, "Tenant", LOG)),
        payload=Payload(arguments=Raw(b'{"amount_cents":2500,"customer_id":"C-412"}'), reason="double charge — Ümit"),
    )
    batch = seal_filing(vault, Filing((said,)))
    assert [
        {"pseudonym": row.pseudonym, "lookup": row.lookup.hex(), "wrapped": row.wrapped.hex(), "key": row.key} for row in batch.secrets
    ] == [
        {"pseudonym": subject["pseudonym"], "lookup": subject["lookup"], "wrapped": subject["wrapped"], "key": VECTORS["key_id"]}
        for subject in VECTORS["subjects"]
    ]
    (record,) = batch.records
    assert (record.envelope.decode(), record.sealed.hex()) == (RECORD["envelope"], RECORD["sealed"])
    assert [vault.blind(LOG, blind["label"], blind["text"]) for blind in VECTORS["blinds"]] == [
        blind["blind"] for blind in VECTORS["blinds"]
    ]


def kept_rows() -> Rows:
    """The rows of the vectors, as a store would have them."""
    rows = Rows()
    for subject in VECTORS["subjects"]:
        lookup, wrapped = bytes.fromhex(subject["lookup"]), bytes.fromhex(subject["wrapped"])
        rows.keep(SecretRow(subject["pseudonym"], LOG, lookup, VECTORS["key_id"], wrapped))
    return rows


def opened(vault: Vault, *, sealed: str = RECORD["sealed"], log: str = LOG, aad: str = RECORD["aad"]) -> Opened | None:
    subjects = tuple(subject["pseudonym"] for subject in VECTORS["subjects"][1:])
    return vault.open(log, subjects, bytes.fromhex(aad), bytes.fromhex(sealed))


def test_opening_gives_the_payload_and_salt_of_the_vectors() -> None:
    assert opened(Vault(KEYS, kept_rows())) == Opened(bytes.fromhex(RECORD["salt"]), RECORD["payload"].encode())
    assert bytes.fromhex(RECORD["aad"]) == payload_aad(LOG, "intent", RECORD["call"], RECORD["id"])
    assert payload_key(SECRETS).hex() == RECORD["payload_key"]


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=100))
def test_keys_are_derived_as_rfc_5869_says(secret: bytes, info: bytes) -> None:
    assert expand(secret.ljust(32, b"\0"), info) == HKDFExpand(SHA256(), 32, info).derive(secret.ljust(32, b"\0"))
    assert payload_key([secret, info]) == HKDF(SHA256(), 32, b"licet payload v1", b"licet payload v1").derive(secret + info)


# what opens, and what does not


@pytest.mark.parametrize("gone", [0, 1, 2], ids=["of the log", "of the person", "of the target"])
def test_a_payload_whose_secret_is_gone_opens_no_more_whoever_of_them_it_was(gone: int) -> None:
    rows = kept_rows()
    del rows.kept[gone]
    assert opened(Vault(KEYS, rows)) is None


def test_every_flipped_byte_of_a_sealed_payload_is_found() -> None:
    vault, sealed = Vault(KEYS, kept_rows()), bytes.fromhex(RECORD["sealed"])
    for at in range(len(sealed)):
        flipped = sealed[:at] + bytes([sealed[at] ^ (1 << at % 8)]) + sealed[at + 1 :]
        with pytest.raises(ValueError, match="the sealed payload is not what was written"):
            opened(vault, sealed=flipped.hex())
    for length in (0, 1, 11, 12, 27, 28, len(sealed) - 1):
        with pytest.raises(ValueError, match="the sealed payload is not what was written"):
            opened(vault, sealed=sealed[:length].hex())


@pytest.mark.parametrize("part", ["log", "kind", "call", "id"])
def test_a_payload_is_bound_to_its_log_kind_call_and_id(part: str) -> None:
    names = {"log": LOG, "kind": "intent", "call": RECORD["call"], "id": RECORD["id"], part: "another"}
    with pytest.raises(ValueError, match="the sealed payload is not what was written"):
        opened(Vault(KEYS, kept_rows()), aad=payload_aad(names["log"], names["kind"], names["call"], names["id"]).hex())


def test_the_order_of_subjects_is_part_of_the_key() -> None:
    vault = Vault(KEYS, kept_rows())
    swapped = tuple(subject["pseudonym"] for subject in VECTORS["subjects"][:0:-1])
    with pytest.raises(ValueError, match="the sealed payload is not what was written"):
        vault.open(LOG, swapped, bytes.fromhex(RECORD["aad"]), bytes.fromhex(RECORD["sealed"]))


@pytest.mark.parametrize("change", ["wrapped", "tenant", "pseudonym"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_secret_opens_only_in_its_own_row(which: int, change: str) -> None:
    rows = kept_rows()
    row, other = rows.kept[which], rows.kept[2]
    values = {"wrapped": other.wrapped, "tenant": "globex", "pseudonym": other.pseudonym}
    rows.kept[which] = msgspec.structs.replace(row, **{change: values[change]})
    vault = Vault(KEYS, rows)
    subject = Subject(LOG, LOG_TYPE, LOG) if which == 0 else ALICE
    with pytest.raises(SecretBroken, match="a stored secret is not what was written"):
        vault.hold(subject)


def test_a_lookup_that_leads_to_another_subject_is_found() -> None:
    rows = kept_rows()
    person, customer = rows.kept[1], rows.kept[2]
    rows.kept[1:] = [msgspec.structs.replace(person, lookup=customer.lookup), msgspec.structs.replace(customer, lookup=person.lookup)]
    vault = Vault(KEYS, rows)
    for subject in (ALICE, CUSTOMER):
        with pytest.raises(SecretBroken, match="a stored secret belongs to another subject than it was found for"):
            vault.hold(subject)


def test_a_secret_under_a_key_that_is_not_at_hand_says_which_key_that_is() -> None:
    vault = Vault(KeyEncryptionKeys([b"k" * 32]), kept_rows())
    with pytest.raises(KeyUnavailable, match=f"was written under the key `{VECTORS['key_id']}`, which is not among those at hand"):
        opened(vault)


# what is made, and when it is durable


def test_a_subject_has_one_secret_and_its_row_goes_along_until_it_is_durable() -> None:
    rows = Rows()
    vault = Vault(KEYS, rows)
    first = vault.hold(ALICE)
    assert first is vault.hold(ALICE)
    assert first.row is not None
    assert pseudonym_of(first.secret, ALICE) == first.pseudonym
    owner = vault.hold_log(LOG)
    assert owner.row is not None
    rows.keep(first.row, owner.row)
    vault.confirm([first.row])
    assert (vault.hold(ALICE).row, vault.hold_log(LOG).row) == (None, owner.row)
    assert Vault(KEYS, rows).hold(ALICE).secret == first.secret


def test_what_only_reads_makes_no_secret() -> None:
    rows = Rows()
    vault = Vault(KEYS, rows)
    assert vault.find_pseudonym(ALICE) is None
    assert vault.find_blind(LOG, "key", "k") is None
    assert vault.open(LOG, (), b"", b"x" * 40) is None
    other = Vault(KEYS, rows)
    owner, alice = other.hold_log(LOG), other.hold(ALICE)
    assert owner.row is not None
    assert alice.row is not None
    rows.keep(owner.row, alice.row)
    assert vault.find_pseudonym(ALICE) == alice.pseudonym
    assert vault.find_blind(LOG, "key", "k") == other.blind(LOG, "key", "k")
    assert vault.hold_log(LOG).secret == owner.secret


def test_a_log_secret_that_another_process_made_first_is_the_one_that_reads() -> None:
    rows = Rows()
    ours, theirs = Vault(KEYS, rows), Vault(KEYS, rows)
    made = ours.hold_log(LOG)  # in memory only
    ours.seal(LOG, (), b"aad", b"s" * 32, b"{}")
    row = theirs.hold_log(LOG).row
    assert row is not None
    sealed = theirs.seal(LOG, (), b"aad", b"s" * 32, b'{"reason":"theirs"}')
    rows.keep(row)
    assert ours.open(LOG, (), b"aad", sealed) == Opened(b"s" * 32, b'{"reason":"theirs"}')
    assert ours.find_blind(LOG, "key", "k") == theirs.blind(LOG, "key", "k") != ours.blind(LOG, "key", "k")
    assert ours.hold_log(LOG) == made, "what was sealed with it is refused, and sealed anew"
    ours.refresh(0)
    assert ours.hold_log(LOG).secret == theirs.hold_log(LOG).secret
    assert ours.blind(LOG, "key", "k") == theirs.blind(LOG, "key", "k")


def test_nothing_that_was_learned_before_a_later_generation_is_believed() -> None:
    rows = kept_rows()
    vault = Vault(KEYS, rows)
    assert opened(vault) is not None
    alice = vault.hold(ALICE)
    del rows.kept[1]
    assert opened(vault) is not None
    vault.refresh(1)
    assert vault.generation == 1
    assert opened(vault) is None
    assert vault.hold(ALICE).pseudonym != alice.pseudonym


def test_a_blind_is_of_one_log_and_one_label() -> None:
    vault = Vault(KEYS, Rows())
    blinds = [vault.blind(log, label, text) for log in ("acme", "globex") for label in ("key", "scope") for text in ("a", "b")]
    assert len(set(blinds)) == 8
    assert blinds == [vault.blind(log, label, text) for log in ("acme", "globex") for label in ("key", "scope") for text in ("a", "b")]


def test_names_that_run_together_are_different_subjects() -> None:
    vault = Vault(KEYS, Rows())
    subjects = [Subject("t", "User", "x"), Subject("t", "Use", "rx"), Subject("tU", "ser", "x"), Subject("t", "User", "X")]
    assert len({vault.hold(subject).pseudonym for subject in subjects}) == 4
    assert log_lookup("a") != log_lookup("A")


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licet.ledger.vault, "_CACHED", 10)


def test_more_subjects_than_are_kept_in_memory_lose_no_secret_that_is_not_durable(small_caches: None) -> None:
    rows = Rows()
    vault = Vault(KEYS, rows)
    held = [vault.hold(Subject(LOG, "Customer", f"C-{number}")) for number in range(50)]
    assert [vault.hold(Subject(LOG, "Customer", f"C-{number}")).secret for number in range(50)] == [one.secret for one in held]
    made = [row for row in [vault.hold_log(LOG).row, *(one.row for one in held)] if row is not None]
    assert len(made) == 51
    rows.keep(*made)
    vault.confirm(made)
    for number in range(50, 100):
        vault.hold(Subject(LOG, "Customer", f"C-{number}"))
    assert [vault.hold(Subject(LOG, "Customer", f"C-{number}")).secret for number in range(50)] == [one.secret for one in held]


class NotSearched(dict[Any, Any]):
    """What is held: too much to be looked through at each commit."""

    def __iter__(self) -> Any:
        raise AssertionError("it was looked through")

    items = values = keys = __iter__


def test_a_commit_looks_through_nothing_that_is_held() -> None:
    vault = Vault(KEYS, Rows())
    row = vault.hold(CUSTOMER).row
    assert row is not None
    vault._held = NotSearched(vault._held)
    vault.confirm([])
    vault.confirm([row])
    assert vault.hold(CUSTOMER).row is None


def test_secrets_that_never_become_durable_do_not_fill_the_memory(small_caches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licet.ledger.vault, "_PENDING", 20)
    rows = Rows()
    vault = Vault(KEYS, rows)
    sealed = seal_filing(
        vault, Filing((state(log=LOG, kind="gap", at=1, boot="b", environment="e", payload=Payload(), targets=(CUSTOMER,)),))
    )
    for number in range(500):
        vault.hold(Subject(LOG, "Order", str(number)))
    assert len(vault._held) <= 40
    assert vault.hold_log(LOG).pseudonym in {row.pseudonym for row in sealed.secrets}, "a log keeps its secret"
    again = vault.hold(CUSTOMER)
    assert again.pseudonym not in {row.pseudonym for row in sealed.secrets}, "this one was given up: the store tells which counts"
    rows.keep(*sealed.secrets)
    vault.refresh(0)
    assert vault.hold(CUSTOMER).pseudonym in {row.pseudonym for row in sealed.secrets}


def test_threads_that_write_about_one_subject_first_make_one_secret() -> None:
    vault, barrier = Vault(KEYS, Rows()), threading.Barrier(8)
    held: list[str] = []

    def hold() -> None:
        barrier.wait(10)
        held.extend([vault.hold(Subject(LOG, "Customer", f"C-{number}")).pseudonym for number in range(40)])

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 320
    assert len(set(held)) == 40


@given(st.binary(max_size=300), st.lists(st.text(max_size=5), max_size=4, unique=True))
def test_what_was_sealed_opens_to_itself(payload: bytes, people: list[str]) -> None:
    rows = Rows()
    vault = Vault(KEYS, rows)
    held = tuple(vault.hold(Subject(LOG, "User", person)) for person in people)
    sealed = vault.seal(LOG, held, b"aad", b"s" * 32, payload)
    owner = vault.hold_log(LOG)
    rows.keep(*[one.row for one in (owner, *held) if one.row is not None])
    subjects = tuple(one.pseudonym for one in held)
    for reader in (vault, Vault(KEYS, rows)):
        assert reader.open(LOG, subjects, b"aad", sealed) == Opened(b"s" * 32, payload)
    assert len(sealed) == 12 + 32 + len(payload) + 16
