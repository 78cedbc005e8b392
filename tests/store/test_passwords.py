"""Where the password of a database comes from: read afresh each time, private, and repeated nowhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from licet.errors import StoreUnavailable
from licet.store.passwords import password_at


def test_each_source_gives_what_is_there_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    sources = ["env:LICET_TEST_PASSWORD", f"file:{file}", f"command:cat {file}"]
    for text in ("first", "second"):
        monkeypatch.setenv("LICET_TEST_PASSWORD", text)
        file.write_text(f"{text}\n")
        assert [password_at(source)() for source in sources] == [text] * 3
    assert password_at(None)() is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "env:LICET_TEST_NONE",
            "the environment variable `LICET_TEST_NONE`, which should hold the password of the ledger's database, is not set",
        ),
        ("file:/nowhere/password", "cannot be read from `/nowhere/password`: no such file or directory"),
        (f"command:{sys.executable} -c raise(SystemExit(3))", "ended with exit code 3"),
        ("command:/nowhere/ask", r"failed \(FileNotFoundError\)"),
        ("command:true", "is empty"),
    ],
    ids=["env", "file", "exit code", "no command", "empty"],
)
def test_what_gives_none_is_unavailable(source: str, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message):
        password_at(source)()


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret")
    file.chmod(0o640)
    with pytest.raises(StoreUnavailable, match=r"can be read by others \(mode 640\)") as refused:
        password_at(f"file:{file}")()
    assert "s3cret" not in str(refused.value)
