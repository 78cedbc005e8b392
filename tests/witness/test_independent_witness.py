"""Our client against a witness that others wrote: PyPI `aics-witness`, which shares no code with ours.

It runs in an environment of its own (see tests/other_python.py); where that cannot be had, the tests are skipped and say why.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from licet.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from licet.ledger.note import Signer, add_signatures
from licet.ledger.rotation import endorse, verify_rotation
from licet.witness.anchor import Anchor
from licet.witness.client import Behind, Cosigned, Refused, Seen, SeenNothing, Unreachable, Witness
from licet.witness.guard import Behind as StoreBehind
from licet.witness.guard import Pin, Rewritten, check_start, judge_answer
from tests.other_python import python_with
from tests.witness.loopback import FORKED, KEY, ORIGIN, checkpoint, forked_proof, note, proof

pytestmark = pytest.mark.heavy

TRUST = verify_rotation(ORIGIN, KEY.vkey)
DEADLINE_S = 30.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")  # nothing that leads it to our packages, or to another configuration


class Running:
    """A running witness that knows our log; it can be killed and started again on what it had written."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._config = folder / "witness.json"
        self._log = folder / "witness.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.vkey = self.run("init", "--name", "witness.invalid/w1", "--listen", "127.0.0.1:0").strip()
        self.trust(KEY.vkey)
        self.url = ""

    def run(self, command: str, *arguments: str) -> str:
        done = subprocess.run(
            self._command(command, *arguments), check=True, capture_output=True, text=True, timeout=60, env=self._environment()
        )
        return done.stdout

    def trust(self, vkey: str) -> None:
        self.run("add-log", "--origin", ORIGIN, "--vkey", vkey)

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command("serve"), stderr=log, env=self._environment())
        self.url = self._wait_for(r"listening on (http://127\.0\.0\.1:\d+) ")

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        self._wait_for("(?i)(reload)")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Witness:
        return Witness(self.url, self.vkey)

    def _command(self, command: str, *arguments: str) -> list[str]:
        return [str(self._python), "-m", "aics_witness", command, "--config", str(self._config), *arguments]

    def _environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in INHERITED if name in os.environ}

    def _wait_for(self, pattern: str) -> str:
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            if found := re.search(pattern, self._log.read_text()):
                return found[1]
            time.sleep(0.02)
        pytest.fail(f"the witness does not say `{pattern}`: {self._log.read_text()}")


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("aics-witness==0.1.0")


@pytest.fixture
def running(python: Path, tmp_path: Path) -> Iterator[Running]:
    witness = Running(python, tmp_path)
    try:
        witness.start()
        yield witness
    finally:
        witness.kill()


def never(_old: int, _new: int) -> tuple[bytes, ...]:
    raise AssertionError("no proof is needed")


def cosigned_by(running: Running, size: int, prove: Callable[[int, int], tuple[bytes, ...]] = proof) -> Cosigned:
    answer = running.client().submit(note(size), prove)
    assert isinstance(answer, Cosigned), answer
    return answer


def test_it_cosigns_the_first_checkpoint_and_every_growth(running: Running) -> None:
    witness = running.client()
    assert witness.get_latest(TRUST) == SeenNothing()
    for size in (1, 2, 3, 7, 8, 64, 65, 200):
        answer = witness.submit(note(size), proof)
        assert isinstance(answer, Cosigned), answer
        assert abs(answer.timestamp_s - time.time()) < 60
        whole = add_signatures(note(size), answer.lines)
        assert open_checkpoint(whole, ORIGIN, [KEY.verifier], [witness.verifier])[0] == checkpoint(size)
        seen = witness.get_latest(TRUST)
        assert isinstance(seen, Seen), seen
        assert seen.checkpoint == checkpoint(size)


def test_an_empty_log_is_cosigned(running: Running) -> None:
    cosigned_by(running, 0)
    cosigned_by(running, 5, never)


def test_a_fresh_process_learns_the_size_from_it(running: Running) -> None:
    cosigned_by(running, 50, never)
    cosigned_by(running, 50, never)
    cosigned_by(running, 120)


def test_a_rollback_is_refused_also_after_it_was_killed(running: Running) -> None:
    cosigned_by(running, 100)
    assert running.client().submit(note(60), proof) == Behind(100)
    running.kill()
    assert isinstance(running.client().submit(note(60), proof), Unreachable)
    running.start()
    answer = running.client().submit(note(60), proof)
    assert answer == Behind(100)
    assert isinstance(judge_answer("witness", 60, answer), StoreBehind)
    cosigned_by(running, 101)


@pytest.mark.parametrize("size", [100, 101, 150])
def test_a_rewritten_log_is_refused_and_kept_as_evidence(running: Running, size: int) -> None:
    cosigned_by(running, 100)
    answer = running.client().submit(note(size, FORKED), forked_proof)
    assert isinstance(answer, Refused)
    assert answer.status == 422
    assert isinstance(judge_answer("witness", size, answer), Rewritten)
    assert f"{size}\\n" in running.run("evidence")
    cosigned_by(running, 150)


def test_of_two_views_it_cosigns_one(running: Running) -> None:
    cosigned_by(running, 60)
    assert isinstance(running.client().submit(note(80, FORKED), forked_proof), Refused)
    assert isinstance(running.client().submit(note(90), proof), Cosigned)


def test_a_log_that_it_does_not_know_is_refused(running: Running) -> None:
    other = "licet.invalid/another"
    key = Signer.from_seed(other, b"\x0b" * 32)
    answer = running.client().submit(sign_checkpoint(Checkpoint(other, 7, checkpoint(7).root), [key]), never)
    assert isinstance(answer, Refused)
    assert answer.status == 404


def test_a_thief_without_the_key_is_refused(running: Running) -> None:
    answer = running.client().submit(note(7, signer=Signer.from_seed(ORIGIN, b"\x08" * 32)), never)
    assert isinstance(answer, Refused)
    assert answer.status == 403


def test_a_rotated_key_goes_on_once_the_witness_is_told(running: Running) -> None:
    successor = Signer.from_seed(ORIGIN, b"\x0a" * 32)
    trust = verify_rotation(ORIGIN, KEY.vkey, [endorse(checkpoint(60), KEY, successor)])
    cosigned_by(running, 60)
    refused = running.client().submit(note(70, signer=successor), proof)
    assert isinstance(refused, Refused)
    assert refused.status == 403
    running.trust(successor.vkey)
    running.reload()
    assert isinstance(running.client().submit(note(70, signer=successor), proof), Cosigned)
    seen = running.client().get_latest(trust)
    assert isinstance(seen, Seen), seen
    # Who stole the retired key still has a witness that knows it: the log's own rule refuses what both have signed.
    cosigned_by(running, 80)
    assert isinstance(running.client().get_latest(trust), Refused)


def test_an_anchor_and_it_find_the_same(running: Running, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor", TRUST)
    whole = add_signatures(note(100), cosigned_by(running, 100).lines)
    anchor.pin(whole, proof)
    held, seen = anchor.read(), running.client().get_latest(TRUST)
    assert held is not None
    assert isinstance(seen, Seen)
    assert held.checkpoint == seen.checkpoint
    pins = [Pin("witness", seen.checkpoint.size, seen.checkpoint.root)]
    assert isinstance(check_start(90, lambda size: checkpoint(size).root, pins), StoreBehind)
    assert isinstance(check_start(150, lambda size: checkpoint(size, FORKED).root, pins), Rewritten)


def test_another_prefix_is_not_a_witness(running: Running) -> None:
    answer = Witness(f"{running.url}/elsewhere", running.vkey).submit(note(7), never)
    assert isinstance(answer, Refused)
    assert answer.status == 404
