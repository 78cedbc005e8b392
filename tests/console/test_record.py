"""The page of a record: what it says, the proof of it, what it is when somebody has edited the store, and who sees none of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.subjects import HOSTILE, subject_world
from tests.console.world import ConsoleWorld, text_of
from tests.gate.proof import assert_whole


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with subject_world() as made:
        yield made
        assert_whole(made.gate)


def place(served: ConsoleWorld, kind: str, log: str = "acme") -> str:
    """The address of the newest record of a kind."""
    return f"/console/audit/{log}/{max(number for number, one in enumerate(served.world.kinds(log)) if one == kind)}"


def test_a_record_begins_with_its_sentence_and_its_proof_is_computed(served: ConsoleWorld) -> None:
    with served.world.alice(reason=HOSTILE):
        served.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 2_500})
    page = served.enter("lena").get(place(served, "outcome"))
    text = text_of(page)
    assert page.status == 200
    assert "Verified just now" in text
    for check in ("Bytes hash to leaf", "Payload opens the commitment", "leads to the root of acme", "in the head log", "is signed by"):
        assert check in text
    assert "Not pinned: no witness is set up" in text
    assert "<script>alert" not in page.content.decode()
