"""A row is what its leaf hash is of, by names where they can be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from licet.errors import IntegrityBroken
from licet.ledger.exports.rows import NamedTarget, exported, named_targets
from licet.ledger.record import Payload, encode_envelope, encode_payload, leaf_hash
from tests.ledger.exports.sample_rows import ALICE, CUSTOMER, DANA, PAYLOAD, bare_row, envelope, row

STORED = encode_envelope(envelope())
LEAF = leaf_hash(STORED)


def test_a_stored_record_becomes_a_row() -> None:
    found = exported("acme", 3, LEAF, STORED, payload=encode_payload(PAYLOAD))
    assert (found.log, found.index, found.leaf, found.envelope, found.absent) == ("acme", 3, LEAF, envelope(), None)
    assert found.payload is not None
    assert (found.payload.reason, found.payload.names) == (PAYLOAD.reason, PAYLOAD.names)


def test_a_row_without_payload_says_why() -> None:
    assert exported("acme", 3, LEAF, STORED, absent="erased").absent == "erased"
    assert exported("acme", 3, LEAF, STORED).absent == "not_asked"


def test_an_envelope_that_is_not_what_the_leaf_is_of_is_refused() -> None:
    with pytest.raises(IntegrityBroken, match="record 3 of log `acme` is not what its leaf hash is of"):
        exported("acme", 3, bytes(32), STORED)
    with pytest.raises(IntegrityBroken, match="stored envelope cannot be read"):
        exported("acme", 3, leaf_hash(b"{}"), b"{}")
    with pytest.raises(IntegrityBroken, match="stored payload cannot be read"):
        exported("acme", 3, LEAF, STORED, payload=b"[")


def test_people_and_targets_stand_by_name_where_the_payload_says_it() -> None:
    shown = row().readable
    assert shown.actor is not None
    assert shown.approval is not None
    assert (shown.actor.user, shown.approval.voters, shown.targets) == ("alice", ("dana",), ('Customer::"C-412"', "Tenant::acme"))
    assert named_targets(row()) == (NamedTarget("Customer", CUSTOMER, "C-412"), NamedTarget("Tenant", "acme", None))


@pytest.mark.parametrize("payload", [None, Payload(), Payload(names={"f" * 32: 'User::"eve"'})])
def test_people_and_targets_without_a_name_stand_by_pseudonym(payload: Payload | None) -> None:
    shown = row(payload=payload).readable
    assert shown.actor is not None
    assert shown.approval is not None
    assert (shown.actor.user, shown.approval.voters) == (ALICE, (DANA,))
    assert named_targets(row(payload=payload)) == (NamedTarget("Customer", CUSTOMER, None), NamedTarget("Tenant", "acme", None))
    assert named_targets(bare_row()) == ()


def test_a_name_with_quotes_and_backslashes_comes_back() -> None:
    payload = Payload(names={CUSTOMER: 'Customer::"a\\"b\\\\c::\\"d"'})
    assert named_targets(row(payload=payload))[0].name == 'a"b\\c::"d'


def test_exports_import_neither_pyarrow_nor_opentelemetry_until_they_are_used() -> None:
    folder = Path(__file__).parents[3] / "src/licet/ledger/exports"
    modules = [f"licet.ledger.exports.{file.stem}" for file in sorted(folder.glob("*.py")) if file.stem != "__init__"]
    program = f"import sys, {', '.join(modules)}; print(sorted({{'pyarrow', 'opentelemetry', 'http.client'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
