"""`licet serve` as a process: it says where it is, reloads on SIGHUP, ends on SIGTERM, and refuses what it cannot serve."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.config import loads
from licet.policy.own import default_text
from licet.store.sqlite import SqliteStore
from licet.testing import Clock

pytestmark = pytest.mark.heavy

CONFIG = """
environment = "production"
roles = ["licet-agent", "licet-approver", "licet-auditor", "licet-admin"]
[tenants.acme]
[agents.bot]
tenants = ["acme"]
roles = ["bots"]
[tools."door.open"]
access = "write"
[server]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
reload = false
"""
POLICY = '@id("{name}")\npermit (principal in Role::"bots", action == Action::"door.open", resource);'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "tools.cedar").write_text(POLICY.format(name="first"))
    (tmp_path / "policies" / "licet.cedar").write_text(default_text())
    (tmp_path / "licet.toml").write_text(CONFIG)
    return tmp_path


def start(folder: Path) -> subprocess.Popen[str]:
    licet = Path(sys.executable).parent / "licet"
    return subprocess.Popen([licet, "serve"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Served:
    """A server that has said where it is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = self.until("serving at").rpartition(" ")[2]
        self.inside = self.until("metrics and health at").rpartition(" ")[2]

    def until(self, words: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            message: str = json.loads(line)["message"]
            if words in message:
                return message
        raise AssertionError(f"the server ended without saying `{words}`")

    def get(self, url: str) -> Any:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    with start(folder) as process:
        yield Served(process)
        process.kill()
        process.communicate()


def test_it_serves_reloads_and_ends_when_it_is_told(folder: Path, served: Served) -> None:
    assert json.loads(served.get(f"{served.url}/readyz"))["status"] == "ok"
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        served.get(f"{served.url}/api/v1/whoami")
    refused.value.close()
    before = served.get(f"{served.inside}/metrics")
    (folder / "policies" / "tools.cedar").write_text(POLICY.format(name="second"))
    served.process.send_signal(signal.SIGHUP)
    served.until("reloaded")
    after = served.get(f"{served.inside}/metrics")
    shown = [next(line for line in text.splitlines() if line.startswith("licet_in_force_info{")) for text in (before, after)]
    assert shown[0] != shown[1]
    served.process.send_signal(signal.SIGTERM)
    served.until("stopped")
    assert served.process.wait(20) == 0
    settings = loads(CONFIG, file=folder / "licet.toml")
    store = SqliteStore.open(settings.store, now=Clock(), keys=None, create=False, read_only=True)
    try:
        assert not store.boots() or not store.orphaned_calls()
    finally:
        store.close()


@pytest.mark.parametrize(
    ("break_it", "code", "words"),
    [
        ("own", 3, "`licet init --own-policies` writes one"),
        ("policy", 3, "tools.cedar:1"),
        ("address", 2, "cannot listen at"),
        ("certificate", 2, "none.pem` of `[server]` cannot be used: No such file"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(folder: Path, break_it: str, code: int, words: str) -> None:
    config = folder / "licet.toml"
    if break_it == "own":
        (folder / "policies" / "licet.cedar").unlink()
    elif break_it == "policy":
        (folder / "policies" / "tools.cedar").write_text("permit (")
    elif break_it == "address":
        config.write_text(CONFIG.replace("127.0.0.1:0", "192.0.2.1:1", 1))
    else:
        config.write_text(CONFIG + 'tls_certificate = "none.pem"\ntls_key = "none.pem"\n')
    with start(folder) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert words in said


def test_targets_that_nobody_there_knows_are_said_at_the_start(folder: Path) -> None:
    config = folder / "licet.toml"
    known = '[resources.Gate]\ntenant = "caller"\n[resources.Room]\nurl = "http://127.0.0.1:1/rooms/{id}"\n'
    config.write_text(CONFIG + f"[resources.Customer]\n{known}")
    with start(folder) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(json.loads(line)["message"])
            if "serving at" in said[-1]:
                process.send_signal(signal.SIGTERM)
    (told,) = (message for message in said if "nobody here knows" in message)
    assert told.startswith("licet: nobody here knows whose a `Customer` is, so calls on one are denied; `url` or `tenant")
