"""Key-encryption keys: where they may come from, and what they wrap."""

from __future__ import annotations

import base64
import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

import licet.ledger.keys
from licet.errors import KeyUnavailable, SecretBroken
from licet.ledger.keys import KeyEncryptionKeys, create_key_file, key_id, load_keys, new_key_line, parse_keys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SECRET = b"s" * 32


def line(key: bytes) -> str:
    return f"licet-key-1:{base64.b64encode(key).decode()}"


def refusal(source: str, folder: Path = Path(), environ: dict[str, str] | None = None) -> str:
    with pytest.raises(KeyUnavailable) as caught:
        load_keys(source, folder=folder, environ=environ)
    assert not [part for part in (line(OLD), base64.b64encode(OLD).decode(), OLD.hex()) if part in str(caught.value)]
    return str(caught.value)


def kept(folder: Path, content: str = line(OLD), mode: int = 0o600) -> Path:
    path = folder / "licet.key"
    path.write_text(content)
    path.chmod(mode)
    return path


# wrapping


def test_the_first_key_wraps_and_every_key_unwraps() -> None:
    old, both = KeyEncryptionKeys([OLD]), parse_keys(f"{line(NEW)}\n{line(OLD)}\n".encode(), "a test")
    assert both.ids == (key_id(NEW), key_id(OLD))
    assert both.current == key_id(NEW)
    wrapped = old.wrap(SECRET, "acme", "p")
    assert both.unwrap(old.current, wrapped, "acme", "p") == SECRET
    again = both.wrap(SECRET, "acme", "p")
    with pytest.raises(KeyUnavailable, match=f"under the key `{key_id(NEW)}`, which is not among those at hand: {key_id(OLD)}"):
        old.unwrap(both.current, again, "acme", "p")


def test_a_secret_is_wrapped_anew_each_time_and_unwraps_in_its_own_row_only() -> None:
    keys = KeyEncryptionKeys([OLD])
    wrapped = keys.wrap(SECRET, "acme", "p")
    assert wrapped != keys.wrap(SECRET, "acme", "p")
    assert len(wrapped) == 12 + 32 + 16
    for tenant, pseudonym in (("globex", "p"), ("acme", "q"), ("acme\0p", ""), ("acme", "p\0")):
        with pytest.raises(SecretBroken, match="a stored secret is not what was written"):
            keys.unwrap(keys.current, wrapped, tenant, pseudonym)
    for damaged in (b"", wrapped[:11], wrapped[:27], wrapped[:-1], wrapped + b"\0"):
        with pytest.raises(SecretBroken, match="a stored secret is not what was written"):
            keys.unwrap(keys.current, damaged, "acme", "p")


@pytest.mark.parametrize("keys", [[], [b""], [b"k" * 31], [b"k" * 33], [OLD, b"short"]])
def test_a_key_has_32_bytes_and_there_is_one(keys: list[bytes]) -> None:
    with pytest.raises(KeyUnavailable, match="a key-encryption key has 32 bytes, and there must be one"):
        KeyEncryptionKeys(keys)


def test_two_keys_that_are_generated_differ() -> None:
    assert KeyEncryptionKeys.generate().current != KeyEncryptionKeys.generate().current
    assert new_key_line() != new_key_line()


# writing


def test_keys_are_read_line_by_line_with_comments_and_blank_lines() -> None:
    text = f"# the key of 2026\n\n  {line(NEW)}  \r\n# the one before\n{line(OLD)}"
    assert parse_keys(text.encode(), "a test").ids == (key_id(NEW), key_id(OLD))


@pytest.mark.parametrize(
    "text",
    [
        "licet-key-1:",
        "licet-key-2:" + base64.b64encode(OLD).decode(),
        base64.b64encode(OLD).decode(),
        line(OLD[:31]),
        line(OLD + b"x"),
        line(OLD)[:-1],
        line(OLD) + "=",
        line(OLD).replace("A", "-"),
        line(OLD) + " " + line(NEW),
        line(OLD).upper(),
        "licet-key-1:\u00fc",
    ],
)
def test_what_is_no_key_is_refused_by_its_number_and_not_shown(text: str) -> None:
    with pytest.raises(KeyUnavailable, match=r"^key 2 in a test is not written as `licet-key-1:<base64 of 32 bytes>`$"):
        parse_keys(f"{line(NEW)}\n{text}".encode(), "a test")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing\n"])
def test_a_source_without_a_key_is_refused(content: bytes) -> None:
    with pytest.raises(KeyUnavailable, match=r"^a test holds no key$"):
        parse_keys(content, "a test")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0" * 100, os.urandom(500)])
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(KeyUnavailable):
        parse_keys(content, "a test")


# files


def test_a_key_file_is_read_relative_to_its_folder_or_from_anywhere(tmp_path: Path) -> None:
    path = kept(tmp_path)
    for source in ("file:licet.key", f"file:{path}"):
        assert load_keys(source, folder=tmp_path).current == key_id(OLD)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o777])
def test_a_key_file_that_others_can_read_or_write_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = kept(tmp_path, mode=mode)
    message = f"the key at `{path}` can be read by others (mode {mode:o}); run `chmod 600 {shlex.quote(str(path))}`"
    assert refusal("file:licet.key", tmp_path) == message
    path.chmod(0o400)
    assert load_keys("file:licet.key", folder=tmp_path).current == key_id(OLD)


def test_a_missing_key_file_is_told_as_lost_and_a_folder_is_no_key(tmp_path: Path) -> None:
    assert "there is no key at" in (message := refusal("file:licet.key", tmp_path))
    assert "restore it from its copy" in message
    (tmp_path / "licet.key").mkdir()
    assert "cannot be read: is a directory" in refusal("file:licet.key", tmp_path)


def test_a_key_file_with_garbage_names_the_file(tmp_path: Path) -> None:
    path = kept(tmp_path, "hello")
    assert refusal("file:licet.key", tmp_path) == f"key 1 in `{path}` is not written as `licet-key-1:<base64 of 32 bytes>`"


def test_a_new_key_file_is_private_and_nothing_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "licet.key"
    before = os.umask(0)
    try:
        create_key_file(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_text()
    assert load_keys("file:licet.key", folder=tmp_path).current == parse_keys(content.encode(), "a test").current
    create_key_file(path)
    assert path.read_text() == content


def test_a_key_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="the ledger's key cannot be created at"):
        create_key_file(tmp_path / "missing" / "licet.key")


def test_a_new_key_file_and_its_folder_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    fsync = os.fsync

    def seen(fd: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", seen)
    create_key_file(tmp_path / "licet.key")
    assert [path.parent for path in flushed] == [tmp_path.resolve(), tmp_path.resolve().parent]
    assert flushed[0].name.startswith(".licet.key."), "under another name until it is whole"


# the environment


def test_a_key_comes_from_the_environment() -> None:
    assert load_keys("env:LICET_KEY", folder=Path(), environ={"LICET_KEY": line(OLD)}).current == key_id(OLD)


def test_a_variable_that_is_missing_empty_or_garbage_is_refused_by_name() -> None:
    assert refusal("env:LICET_KEY", environ={}) == "the environment variable `LICET_KEY`, which should hold the ledger's key, is not set"
    assert refusal("env:LICET_KEY", environ={"LICET_KEY": ""}) == "the environment variable `LICET_KEY` holds no key"
    garbage = refusal("env:LICET_KEY", environ={"LICET_KEY": line(OLD)[:-3]})
    assert garbage == "key 1 in the environment variable `LICET_KEY` is not written as `licet-key-1:<base64 of 32 bytes>`"
    assert "LICET_NO_SUCH_KEY" in refusal("env:LICET_NO_SUCH_KEY")


# commands


def python(code: str) -> str:
    return f"command:{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def test_a_key_comes_from_a_command_without_a_shell(tmp_path: Path) -> None:
    assert load_keys(python(f"print({line(OLD)!r})"), folder=Path()).current == key_id(OLD)
    marker = tmp_path / "marker"
    load_keys(python(f"print({line(OLD)!r})") + f" ; touch {marker} && true $(touch {marker})", folder=Path())
    assert not marker.exists()


def test_a_command_that_fails_is_told_by_its_exit_code_and_its_own_words_are_not_shown() -> None:
    message = refusal(
        python(f"import sys; print({line(OLD)!r}); sys.stderr.write({line(NEW)!r}); sys.exit(3)").replace(line(OLD), line(NEW))
    )
    assert message.endswith("which should print the ledger's key, ended with exit code 3")


def test_a_command_that_is_not_there_or_cannot_be_parsed_is_refused() -> None:
    assert refusal("command:/no/such/command") == (
        "the command `/no/such/command`, which should print the ledger's key, failed (FileNotFoundError)"
    )
    for source in ("command:'unbalanced", "command:", "command:  "):
        assert "which should print the ledger's key, failed" in refusal(source)


def test_a_command_that_prints_nothing_or_garbage_is_refused() -> None:
    assert "holds no key" in refusal(python("pass"))
    assert "key 1 in the output of" in refusal(python("print('hello')"))
    assert "holds no key" in refusal(python("import sys; sys.stdout.write('#' * 10_000_000)"))


def test_a_command_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licet.ledger.keys, "COMMAND_TIMEOUT_S", 0.2)
    assert "failed (TimeoutExpired)" in refusal(python("import time; time.sleep(60)"))


@pytest.mark.parametrize("source", ["", "licet.key", "file", "vault:secret/licet", "FILE:licet.key", "https://example.com/key"])
def test_another_kind_of_source_is_refused(source: str) -> None:
    assert refusal(source) == f"`{source}` is not `file:PATH`, `env:NAME` or `command:COMMAND LINE`"


def test_a_crash_while_a_key_is_made_leaves_none_or_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "licet.key"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            create_key_file(path)
    assert not path.exists()
    create_key_file(path)
    made = path.read_text()
    create_key_file(path)
    assert path.read_text() == made, "nothing is written over"
    assert parse_keys(made.encode(), "here").ids
    assert [file.name for file in tmp_path.iterdir()] == ["licet.key"]


def test_a_key_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="cannot be created"):
        create_key_file(tmp_path / "missing" / "licet.key")
