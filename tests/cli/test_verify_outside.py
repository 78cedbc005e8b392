"""Anchors and witnesses of licet.toml are asked by verify, and nothing is changed by that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.cli import verify_outside
from licet.cli.exits import Exit
from licet.ledger.checkpoint import Checkpoint
from licet.ledger.note import Cosigner, text_of
from licet.witness.client import Refused, Seen, SeenNothing
from licet.witness.wire import Unreachable
from tests.cli.conftest import Licet

COSIGNER = Cosigner.from_seed("witness.invalid/w1", b"\x03" * 32)
SERVER = f'[[witness.servers]]\nurl = "https://127.0.0.1:1/"\nvkey = "{COSIGNER.verifier.vkey}"\n'
answers: list[Any] = []


class Asked:
    """A witness that answers as the test wants."""

    name = "w1"

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def get_latest(self, _trust: object) -> Any:
        return answers[-1]


@pytest.fixture
def witnessed(used: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project, with a witness from now on."""
    with (used / "licet.toml").open("a") as file:
        file.write(SERVER)
    monkeypatch.setattr(verify_outside, "Witness", Asked)
    yield used
    answers.clear()


def test_a_witness_that_has_seen_the_newest_agrees(licet: Licet, witnessed: Path) -> None:
    note = licet("audit", "checkpoint").stdout.encode()
    answers.append(Seen(Checkpoint.parse(text_of(note)), note, 1))
    result = licet("audit", "verify")
    assert result.exit_code == Exit.OK
    assert "witness" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (SeenNothing(), "witness `w1` has seen nothing of this ledger yet"),
        (Refused(500, "on fire"), "witness `w1` shows no checkpoint: on fire"),
        (Unreachable("no route"), "witness `w1` cannot be asked: no route"),
    ],
    ids=["seen nothing", "refused", "unreachable"],
)
def test_a_witness_that_says_nothing_is_told_and_stops_nobody(licet: Licet, witnessed: Path, answer: object, message: str) -> None:
    answers.append(answer)
    result = licet("audit", "verify")
    assert result.exit_code == Exit.OK
    assert message in result.stderr


def test_a_witness_that_knows_another_ledger_ends_with_8(licet: Licet, witnessed: Path) -> None:
    note = licet("audit", "checkpoint").stdout.encode()
    answers.append(Seen(Checkpoint.parse(text_of(note)), note.replace(b"\n2\n", b"\n3\n", 1), 1))
    result = licet("audit", "verify")
    assert result.exit_code == Exit.INTEGRITY_BROKEN
    assert "witness `w1` holds no checkpoint of this ledger" in result.stdout


def test_an_anchor_that_cannot_be_read_is_told(licet: Licet, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = (used / "licet.toml").read_text()
    (used / "licet.toml").write_text(config.replace("[tenants.acme]", '[witness]\nanchor = "anchor"\n\n[tenants.acme]', 1))
    (used / "anchor").write_text("what\n")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "permission denied", str(path))

    assert "holds no checkpoint of this ledger" in licet("audit", "verify").stdout
    monkeypatch.setattr(verify_outside, "_read", refuse)
    result = licet("audit", "verify")
    assert result.exit_code == Exit.OK
    assert f"anchor `{used / 'anchor'}` cannot be read: permission denied" in result.stderr
