"""The words of a payload: everything that somebody would look for, nothing that stands everywhere, and no escapes."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from licet.ledger.record import Payload, encode_payload
from licet.ledger.searchable import TEXT_LIMIT_BYTES, searchable_text
from licet.model import DecidingPolicy, Effect, Obligation, Principal, Target


def words(text: str) -> list[str]:
    """As an index cuts them."""
    return re.findall(r"[^\W_]+", text)


def test_everything_that_somebody_would_look_for_is_there() -> None:
    payload = Payload(
        arguments=Raw(b'{"customer_id":"C-412","amount_cents":2500,"rate":12.5,"urgent":true}'),
        reason="double charge",
        message="needs a lead",
        names={"a" * 32: 'User::"alice"', "c" * 32: 'Customer::"C-413"'},
        targets=(Target(type="Customer", id="C-413", tenant="acme", environment="production", attributes={"plan": "gold"}),),
        effects=(Effect(target='Customer::"C-413"', field="balance", before=17, after={"cents": 18}),),
        result=Raw(b'{"invoice":"INV-77"}'),
        preview=Raw(b'["previewed"]'),
        detail={"settled": "by hand"},
    )
    text = searchable_text(encode_payload(payload))
    expected = (
        "double charge needs a lead customer id C 412 amount cents 2500 rate 12 5 urgent User alice Customer C 413 plan gold balance 17"
    )
    assert set(words(f"{expected} cents 18 invoice INV 77 previewed settled by hand")) <= set(words(text))
    assert " ".join(words(text)).count("C 412") == 1, "an id is one phrase"


def test_what_stands_everywhere_is_left_out() -> None:
    payload = Payload(
        principals=(Principal(kind="User", id="u", tenant="acme", roles=("somerole",), groups=("somegroup",)),),
        context={"environment": "inthecontext"},
        policies=(DecidingPolicy(id="somepolicy", effect="permit", file="somefile", line=1, principal="p", target="t"),),
        obligations=(Obligation(kind="approval", policy="someobligation", policy_digest="d", principal="p"),),
    )
    assert words(searchable_text(encode_payload(payload))) == []


@pytest.mark.parametrize(
    ("json_text", "expected"),
    [
        (rb'"line\nend"', ["line", "end"]),
        (rb'"a\"quoted\"b"', ["a", "quoted", "b"]),
        (rb'"back\\nslash"', ["back", "nslash"]),
        (rb'"back\\\nslash"', ["back", "slash"]),
        (rb'"\u00dcber"', ["Über"]),
        (rb'"\\u0041"', ["u0041"]),
        (rb'"\ud83d\ude00smile"', ["smile"]),
        (rb'"\ud835\udc00x"', ["\U0001d400x"]),
        (rb'"a\/b"', ["a", "b"]),
        ('"Übergröße"'.encode(), ["Übergröße"]),
    ],
)
def test_escapes_are_no_part_of_words(json_text: bytes, expected: list[str]) -> None:
    assert words(searchable_text(b'{"arguments":' + json_text + b"}")) == expected


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_the_words_of_any_string_are_found_however_it_is_escaped(text: str, ascii_only: bool) -> None:  # noqa: FBT001  drawn
    stored = json.dumps({"result": text}, ensure_ascii=ascii_only).encode()
    assert words(searchable_text(stored)) == words(text)


@given(st.binary())
def test_bytes_that_are_no_payload_have_no_words_and_no_error(stored: bytes) -> None:
    searchable_text(stored)
    searchable_text(b'{"detail":' + stored + b"}")


@pytest.mark.parametrize(
    "stored", [b"", b"{", b"[]", b"\xff", b'{"reason":"\xff"}', b'{"targets":{}}', b"[" * 100_000, b'{"reason":"\\ud800"}']
)
def test_damaged_payloads_have_an_answer(stored: bytes) -> None:
    assert isinstance(searchable_text(stored), str)


def test_a_text_has_bounds_and_is_not_cut_within_a_character() -> None:
    stored = msgspec.json.encode({"reason": "why", "result": "ü" * 100_000})
    text = searchable_text(stored)
    assert len(text.encode()) in (TEXT_LIMIT_BYTES, TEXT_LIMIT_BYTES - 1)
    assert text.endswith("ü")
    assert "why" in text
