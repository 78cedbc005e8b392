"""Signed notes against published vectors, our own bytes, and everything a note must not be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.note import (
    COSIGNATURE_V1,
    ED25519,
    NOTE_LIMIT_BYTES,
    SIGNATURE_LIMIT,
    Cosigner,
    Signature,
    Signer,
    Verifier,
    add_signatures,
    is_key_name,
    open_note,
    sign_note,
    text_of,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "signed_note.json").read_text())
PETER_NOTE = VECTORS["notes"][1]
PETER, ENOCH = (Verifier.parse(vkey) for vkey in PETER_NOTE["vkeys"])
PETER_LINE, ENOCH_LINE = (f"{line}\n" for line in PETER_NOTE["signatures"].splitlines())
PETER_TEXT = PETER_NOTE["text"]

SIGNER = Signer.from_seed("licet.invalid/test", b"\x01" * 32)
OTHER = Signer.from_seed("licet.invalid/other", b"\x02" * 32)
COSIGNER = Cosigner.from_seed("witness.invalid/w1", b"\x03" * 32)
TEXT = b"line one\n\nline three, \xc3\xa4\n"
NOTE = sign_note(TEXT, [SIGNER])


def line_of(name: str, raw: bytes) -> bytes:
    return f"— {name} {base64.b64encode(raw).decode()}\n".encode()


def refused(note: bytes, *verifiers: Verifier) -> str:
    with pytest.raises(NoteInvalid) as caught:
        open_note(note, verifiers or (SIGNER.verifier,))
    return str(caught.value)


@pytest.mark.parametrize("vector", VECTORS["notes"], ids=lambda v: v["name"])
def test_published_notes_open(vector: dict[str, Any]) -> None:
    verifiers = [Verifier.parse(vkey) for vkey in vector["vkeys"]]
    note = open_note(f"{vector['text']}\n{vector['signatures']}".encode(), verifiers)
    assert note.text == vector["text"].encode()
    assert note.signatures == tuple(Signature(verifier.name, verifier.key_id) for verifier in verifiers)
    assert note.unknown == ()
    assert [verifier.vkey for verifier in verifiers] == vector["vkeys"]


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda v: v["name"])
def test_published_malformed_notes_are_refused(vector: dict[str, Any]) -> None:
    note = vector["note"].replace("TEXT", PETER_TEXT).replace("PETER", PETER_LINE)
    refused(note[: len(note) - vector.get("cut", 0)].encode(), PETER)


def test_the_line_of_an_unknown_key_is_kept_as_it_stands() -> None:
    note = open_note(f"{PETER_TEXT}\n{PETER_LINE}{ENOCH_LINE}".encode(), [PETER])
    assert note.signatures == (Signature("PeterNeumann", "c74f20a3"),)
    assert note.unknown == (ENOCH_LINE.encode(),)


def test_a_note_that_nobody_known_signed_is_refused() -> None:
    assert refused(NOTE, OTHER.verifier) == "the note is not signed by any known key"
    with pytest.raises(NoteInvalid, match="not signed by any known key"):
        open_note(NOTE, [])


def test_a_note_opens_and_is_an_integrity_error_otherwise() -> None:
    note = open_note(NOTE, [SIGNER.verifier])
    assert note.text == TEXT == text_of(NOTE)
    assert issubclass(NoteInvalid, IntegrityBroken)


def test_one_wrong_signature_of_a_known_key_refuses_the_note() -> None:
    wrong = OTHER.sign(b"another text\n")
    note = NOTE + wrong
    assert open_note(note, [SIGNER.verifier]).unknown == (wrong,)
    assert refused(note, SIGNER.verifier, OTHER.verifier) == (
        f"signature of `licet.invalid/other` (key id {OTHER.verifier.key_id}) does not verify"
    )


def test_a_known_key_signs_once() -> None:
    assert "signs twice" in refused(NOTE + SIGNER.sign(TEXT))
    assert "signs twice" in refused(NOTE + SIGNER.sign(b"another text\n"))


def test_a_line_that_shares_only_name_or_only_id_is_unknown() -> None:
    raw = base64.b64decode(SIGNER.sign(TEXT).split(b" ")[2])
    other_name = line_of("licet.invalid/other", raw)
    other_id = line_of(SIGNER.name, b"abcd" + raw[4:])
    assert open_note(NOTE + other_name + other_id, [SIGNER.verifier, OTHER.verifier]).unknown == (other_name, other_id)


def test_two_given_keys_that_share_name_and_id_are_refused() -> None:
    impostor = Verifier(SIGNER.name, OTHER.verifier.public_key)
    impostor.key_id = SIGNER.verifier.key_id
    assert "two keys are called" in refused(NOTE, SIGNER.verifier, impostor)
    assert open_note(NOTE, [SIGNER.verifier, Verifier.parse(SIGNER.vkey)]).text == TEXT


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        (b"", "a note is text, an empty line and signature lines"),
        (TEXT, "a signature line is"),
        (NOTE[:-1], "a note is text, an empty line"),
        (NOTE + b"\n", "a note is text, an empty line"),
        (NOTE.replace(b"\n", b"\r\n"), "a note is text, an empty line"),
        (NOTE.replace(b"one", b"o\re"), "no control characters"),
        (NOTE.replace(b"one", b"o\x00e"), "no control characters"),
        (NOTE.replace(b"one", b"o\te"), "no control characters"),
        (NOTE.replace(b"\xc3\xa4", b"\xc3"), "UTF-8"),
        (NOTE.replace(b"\xc3\xa4", b"\xed\xa0\x80"), "UTF-8"),
        (NOTE.replace(b"\xe2\x80\x94 ", b"- "), "a signature line is"),
        (NOTE.replace(b"\xe2\x80\x94 ", b"\xe2\x80\x94  "), "a signature line is"),
        (NOTE.replace(b"\xe2\x80\x94 ", b" \xe2\x80\x94 "), "a signature line is"),
        (NOTE[:-1] + b" \n", "a signature line is"),
        (NOTE + b"\xe2\x80\x94 name\n", "a signature line is"),
        (NOTE + b"\xe2\x80\x94 name \n", "a signature line is"),
        (NOTE + b"\xe2\x80\x94 name AAAA\n", "a signature line is"),
        (NOTE + b"\xe2\x80\x94 na+me AAAAAAAA\n", "a signature line is"),
        (NOTE + "— na\u2003me AAAAAAAA\n".encode(), "a signature line is"),
        (NOTE + b"\xe2\x80\x94 name AAAAAAA\n", "a signature line is"),
        (NOTE + b"\xe2\x80\x94 name AAAAAAB=\n", "a signature line is"),  # bits behind the last byte
        (NOTE + b"\xe2\x80\x94 name AAAA-AAA\n", "a signature line is"),
        (NOTE + b"\xe2\x80\x94 name AAAA AAAA\n", "a signature line is"),
        (NOTE + "— name AAAAAAA\u0660\n".encode(), "a signature line is"),
        (NOTE + b"\xe2\x80\x94 name AAAAAAAA\n" * SIGNATURE_LIMIT, "at most 64 signatures"),
        (b"x" * NOTE_LIMIT_BYTES + NOTE, "at most 131072 bytes"),
    ],
)
def test_malformed_notes_are_refused_though_a_known_key_has_signed(note: bytes, problem: str) -> None:
    assert problem in refused(note)
    with pytest.raises(NoteInvalid, match=problem):
        text_of(note)


def test_sixteen_large_signatures_are_accepted() -> None:
    lines = b"".join(line_of(f"witness.invalid/{number}", bytes(4 + 5000)) for number in range(15))
    assert len(open_note(NOTE + lines, [SIGNER.verifier]).unknown) == 15


def test_a_cosignature_tells_its_time() -> None:
    note = NOTE + COSIGNER.cosign(TEXT, 1_679_315_147)
    cosigned = open_note(note, [SIGNER.verifier, COSIGNER.verifier]).signatures[1]
    assert cosigned == Signature("witness.invalid/w1", COSIGNER.verifier.key_id, 1_679_315_147)


def test_the_time_of_a_cosignature_is_signed() -> None:
    raw = bytearray(base64.b64decode(COSIGNER.cosign(TEXT, 1_679_315_147).split(b" ")[2]))
    raw[4 + 7] ^= 1
    assert "does not verify" in refused(NOTE + line_of(COSIGNER.name, bytes(raw)), SIGNER.verifier, COSIGNER.verifier)


@pytest.mark.parametrize("signature", [b"\x00", b"\x00" * 7, b"\xff" * 72], ids=["one byte", "no time", "a time of 64 bits"])
def test_a_cosignature_without_a_time_is_refused(signature: bytes) -> None:
    line = line_of(COSIGNER.name, bytes.fromhex(COSIGNER.verifier.key_id) + signature)
    assert "has no time" in refused(NOTE + line, SIGNER.verifier, COSIGNER.verifier)


@pytest.mark.parametrize("length", [1, 63, 65, 1000])
def test_a_signature_of_another_length_does_not_verify(length: int) -> None:
    line = line_of(SIGNER.name, bytes.fromhex(SIGNER.verifier.key_id) + bytes(length))
    assert "does not verify" in refused(TEXT + b"\n" + line)


def test_one_key_in_both_roles_cannot_be_led_to_cosign() -> None:
    signer = Signer.from_seed(COSIGNER.name, b"\x03" * 32)
    assert signer.verifier.key_id != COSIGNER.verifier.key_id
    with pytest.raises(ValueError, match="the text would be that of a cosignature"):
        signer.sign(b"cosignature/v1\ntime 5\n" + TEXT)


@pytest.mark.parametrize("text", [b"", b"no newline", b"a\x00\n", b"a\tb\n", b"\xff\n"])
def test_what_is_no_text_is_not_signed(text: bytes) -> None:
    with pytest.raises(ValueError, match="not signed"):
        SIGNER.sign(text)
    with pytest.raises(ValueError, match="not cosigned"):
        COSIGNER.cosign(text, 1)


def test_a_note_needs_a_signer() -> None:
    with pytest.raises(ValueError, match="at least one signature"):
        sign_note(TEXT, [])


@pytest.mark.parametrize("time_s", [-1, 2**63])
def test_a_cosignature_has_a_time_of_63_bits(time_s: int) -> None:
    with pytest.raises(ValueError, match="time is out of range"):
        COSIGNER.cosign(TEXT, time_s)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Signer.from_seed("name", bytes(length))
    with pytest.raises(ValueError, match="32 bytes"):
        Cosigner.from_seed("name", bytes(length))


def test_a_signer_shows_no_secret() -> None:
    assert (b"\x01" * 32).hex() not in repr(SIGNER)
    assert not hasattr(SIGNER, "__dict__")


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\u2003b", "a\x00", "a\u0085", "\ud800"])
def test_names_that_no_key_may_have(name: str) -> None:
    assert not is_key_name(name)
    with pytest.raises(NoteInvalid, match="a key name"):
        Signer.from_seed(name, b"\x01" * 32)


@pytest.mark.parametrize("name", ["a\u200bb", "a\u202eb", "a\x9bb", "a\x7fb", "a`b"])
def test_names_that_would_mislead_in_a_message(name: str) -> None:
    with pytest.raises(NoteInvalid, match="what cannot be seen"):
        Signer.from_seed(name, b"\x01" * 32)
    line = line_of(name, bytes(8))
    assert open_note(NOTE + line, [SIGNER.verifier]).unknown == (line,)  # others may be called so


def test_each_mangled_vkey_is_refused() -> None:
    vkey = SIGNER.vkey
    mangled = {vkey[:place] + vkey[place + 1 :] for place in range(len(vkey))}
    mangled |= {vkey[:place] + chr(ord(vkey[place]) + 1) + vkey[place + 1 :] for place in range(len(vkey))}
    mangled |= {vkey + " ", vkey + "\n", " " + vkey, vkey.replace(SIGNER.verifier.key_id, SIGNER.verifier.key_id.upper()), "", "++", "a+b"}
    mangled.discard(vkey)
    for text in mangled:
        with pytest.raises(NoteInvalid):
            Verifier.parse(text)


@pytest.mark.parametrize("algorithm", [0, 2, 3, 5, 6, 255])
def test_other_signature_types_are_refused(algorithm: int) -> None:
    with pytest.raises(NoteInvalid, match=f"signature type `{algorithm:#04x}` is not supported"):
        Verifier("name", SIGNER.verifier.public_key, algorithm)


P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P


def doubled(x: int, y: int) -> tuple[int, int]:
    """Twice the point on the twisted Edwards curve of RFC 8032, by its addition formula."""
    product = D * x * x % P * y % P * y % P
    return 2 * x * y * pow(1 + product, P - 2, P) % P, (y * y + x * x) * pow(1 - product, P - 2, P) % P


def points(y: int) -> list[tuple[int, int]]:
    """The points of the curve with this y."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    root = pow(square, (P + 3) // 8, P)
    root = root if root * root % P == square else root * pow(2, (P - 1) // 4, P) % P
    return [(root, y), (-root % P, y)] if root * root % P == square else []


def test_keys_of_small_order_are_refused() -> None:
    order_eight = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
    found = {points(int.from_bytes(order_eight, "little"))[0]}
    while True:  # multiply the point of order eight until nothing new comes
        more = found | {doubled(*point) for point in found} | {(-x % P, y) for x, y in found} | {(x, -y % P) for x, y in found}
        if more == found:
            break
        found = more
    assert len(found) == 8
    for x, y in found:
        for sign in (0, 1):
            with pytest.raises(NoteInvalid, match="large order"):
                Verifier("name", (y | sign << 255).to_bytes(32, "little"))
        assert doubled(*doubled(*doubled(x, y))) == (0, 1)


def test_keys_beyond_the_field_are_refused() -> None:
    for y in range(P, 2**255):
        with pytest.raises(NoteInvalid, match="its one form"):
            Verifier("name", y.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_has_32_bytes(length: int) -> None:
    with pytest.raises(NoteInvalid, match="32 bytes"):
        Verifier("name", bytes(length))


def test_added_signatures_stand_at_the_end_once() -> None:
    line = COSIGNER.cosign(TEXT, 5)
    once = add_signatures(NOTE, [line, line])
    assert once == NOTE + line
    assert add_signatures(once, [line]) == once
    assert add_signatures(once, [COSIGNER.cosign(TEXT, 6)]) == once, "a key that signed twice would make the note invalid"
    with pytest.raises(NoteInvalid):
        add_signatures(b"no note", [line])


def test_verifiers_are_equal_by_their_text() -> None:
    assert Verifier.parse(SIGNER.vkey) == SIGNER.verifier != OTHER.verifier
    assert len({Verifier.parse(SIGNER.vkey), SIGNER.verifier}) == 1
    assert Verifier(SIGNER.name, SIGNER.verifier.public_key, COSIGNATURE_V1) != SIGNER.verifier
    assert SIGNER.vkey != SIGNER.verifier
    assert SIGNER.verifier.algorithm == ED25519
    assert repr(SIGNER.verifier) == f"Verifier({SIGNER.vkey})"


KNOWN = (SIGNER.verifier, COSIGNER.verifier)
WHOLE = NOTE + COSIGNER.cosign(TEXT, 1_679_315_147)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_garbage_is_refused_with_our_error(garbage: bytes) -> None:
    refused(garbage, *KNOWN)
    refused(TEXT + b"\n" + garbage, *KNOWN)


@given(st.text(max_size=100))
def test_garbage_is_no_vkey(garbage: str) -> None:
    with pytest.raises(NoteInvalid):
        Verifier.parse(garbage)


def test_no_bit_of_a_note_can_change() -> None:
    for place in range(len(WHOLE) * 8):
        flipped = bytearray(WHOLE)
        flipped[place // 8] ^= 1 << place % 8
        try:
            note = open_note(bytes(flipped), KNOWN)
        except NoteInvalid:
            continue
        # A flipped name or key id makes a line unknown, and the other one still holds: then the text is what it was.
        assert note.text == TEXT
        assert len(note.signatures) == len(note.unknown) == 1


def test_no_cut_note_says_anything_else() -> None:
    for length in range(len(WHOLE)):
        if WHOLE[:length] == NOTE:
            continue
        refused(WHOLE[:length], *KNOWN)


@given(
    st.lists(
        st.sampled_from([b"\n", b"\n\n", TEXT, NOTE, PETER_LINE.encode(), b"\xe2\x80\x94 ", SIGNER.sign(TEXT), COSIGNER.cosign(TEXT, 5)]),
        max_size=8,
    )
)
def test_shuffled_parts_open_to_the_signed_text_only(parts: list[bytes]) -> None:
    try:
        note = open_note(b"".join(parts), KNOWN)
    except NoteInvalid:
        return
    assert note.text == TEXT


@given(
    text=st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]) | st.just("\n"), max_size=200),
    time_s=st.integers(0, 2**63 - 1),
)
def test_whatever_is_signed_opens_again(text: str, time_s: int) -> None:
    signed = (text + "\n").encode()
    note = add_signatures(sign_note(signed, [SIGNER, OTHER]), [COSIGNER.cosign(signed, time_s)])
    opened = open_note(note, (*KNOWN, OTHER.verifier))
    assert opened.text == signed
    assert [signature.timestamp_s for signature in opened.signatures] == [None, None, time_s]
