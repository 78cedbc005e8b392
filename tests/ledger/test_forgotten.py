"""What erasures and holds explain, from envelopes alone."""

from __future__ import annotations

import msgspec
import pytest

from licet.ledger.forgotten import Forgotten, Hold, pseudonym_in, range_of

ALICE, BOB = "a" * 32, "b" * 32


def envelope(kind: str, *targets: str, log: str = "acme", id_: str = "r-1", at: int = 7) -> bytes:
    return msgspec.json.encode({"v": 1, "log": log, "kind": kind, "id": id_, "at": at, "targets": targets, "payload": {}})


def forgotten(*taken: tuple[int, bytes]) -> Forgotten:
    made = Forgotten()
    for index, stored in taken:
        made.take(stored, index)
    return made


def test_an_erasure_explains_what_its_pseudonym_sealed_before_it() -> None:
    made = forgotten((5, envelope("erasure", f"User::{ALICE}")))
    assert made.explains("acme", 4, (BOB, ALICE))
    assert not made.explains("acme", 4, (BOB,)), "somebody else's"
    assert not made.explains("acme", 4, ())
    assert not made.explains("acme", 6, (ALICE,)), "what comes later stands under another pseudonym"
    assert made.explains("operator", 99, (ALICE,)), "logs have no common order"
    assert made.erased() == {ALICE: ("acme", f"User::{ALICE}")}


def test_a_range_explains_payloads_of_its_own_log_before_it() -> None:
    made = forgotten((50, envelope("erasure", range_of(3, 9), range_of(20, 90))))
    assert [index for index in range(100) if made.explains("acme", index, ())] == [*range(3, 10), *range(20, 50)]
    assert not made.explains("globex", 5, ())


def test_nothing_explains_the_payload_of_an_erasure_or_a_hold() -> None:
    made = forgotten(
        (3, envelope("erasure", f"User::{ALICE}")), (4, envelope("legal_hold", f"User::{BOB}")), (9, envelope("erasure", "Payloads::0-8"))
    )
    assert [index for index in range(9) if not made.explains("acme", index, (ALICE,))] == [3, 4]


def test_an_erasure_while_a_hold_stands_explains_nothing_that_is_held() -> None:
    hold = envelope("legal_hold", f"User::{ALICE}", id_="h-1")
    release = envelope("legal_hold", "Hold::h-1")
    erasure = envelope("erasure", f"User::{ALICE}")
    drop = envelope("erasure", "Payloads::0-1")
    held = forgotten((2, hold), (3, erasure), (4, drop))
    assert not held.explains("acme", 0, (ALICE,))
    assert held.explains("acme", 0, (BOB,))
    assert held.erased() == {}
    assert forgotten((2, hold), (3, release), (4, erasure)).explains("acme", 0, (ALICE,))
    everything = envelope("legal_hold", "Tenant::acme", id_="h-1")
    assert not forgotten((2, everything), (3, erasure), (4, drop)).explains("acme", 0, (ALICE,))


def test_two_holds_on_one_person_hold_nobody_else() -> None:
    first, second = (envelope("legal_hold", f"User::{ALICE}", id_=id_) for id_ in ("h-1", "h-2"))
    made = forgotten((2, first), (3, second), (4, envelope("erasure", f"User::{ALICE}", f"User::{BOB}")))
    assert made.explains("acme", 0, (BOB,))
    assert not made.explains("acme", 0, (ALICE,))
    assert made.erased() == {BOB: ("acme", f"User::{BOB}")}


def test_the_holds_that_stand_are_those_that_were_not_released_in_their_own_log() -> None:
    made = forgotten(
        (0, envelope("legal_hold", f"User::{ALICE}", id_="h-1", at=1)),
        (1, envelope("legal_hold", "Tenant::acme", id_="h-2", at=2)),
        (2, envelope("legal_hold", "Tenant::globex", id_="h-3")),
        (3, envelope("legal_hold", "Hold::h-2", id_="h-4")),
        (4, envelope("legal_hold", "Hold::h-1", id_="h-5", log="globex")),
    )
    assert made.holds() == (Hold("h-1", "acme", f"User::{ALICE}", 1),)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"log":1}',
        envelope("intent", f"User::{ALICE}"),
        envelope("erasure", "x", ALICE, f"::{ALICE}", "Payloads::9"),
    ],
)
def test_what_cannot_be_read_or_says_something_else_explains_nothing(stored: bytes) -> None:
    made = forgotten((9, stored))
    assert not made.explains("acme", 0, (ALICE,))
    assert (made.holds(), made.erased()) == ((), {})


def test_a_pseudonym_is_32_hexadecimal_digits() -> None:
    assert pseudonym_in(f"Customer::{ALICE}") == ALICE
    assert [pseudonym_in(text) for text in ("Customer::C-1", f"Customer::{ALICE}a", f"A::B::{ALICE}", ALICE)] == [None] * 4
