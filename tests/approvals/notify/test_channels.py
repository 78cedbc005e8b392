"""Channels are made from what licet.toml says; one that cannot be made stops nothing, and says why."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from licet.approvals.notify.apprise_channel import AppriseChannel
from licet.approvals.notify.channel import Channel
from licet.approvals.notify.channels import make_channel, open_channel
from licet.approvals.notify.email import EmailChannel
from licet.approvals.notify.secrets import LIMIT_BYTES, read_secret
from licet.approvals.notify.terminal import TerminalChannel
from licet.approvals.notify.webhook import WebhookChannel
from licet.config.notify import AppriseSettings, EmailSettings, TerminalSettings, WebhookSettings
from licet.errors import ConfigInvalid, DeliveryFailed
from licet.gate.results import Held
from tests.approvals.notify.examples import OPENED, message
from tests.approvals.notify.post import post
from tests.world import CONFIG, world

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def decide(request: str, user: str, verdict: str, comment: str | None) -> str:
    raise AssertionError((request, user, verdict, comment))


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it
def test_each_kind_is_made_with_its_name_and_its_secrets() -> None:
    environ = {"A": SECRET, "P": "hunter2", "U": "json://localhost"}
    made: list[Channel] = [
        make_channel(TerminalSettings(name="t"), decide, environ),
        make_channel(EmailSettings(name="e", host="h", sender="a@b", to=("c@d",), user="u", password="env:P"), decide, environ),
        make_channel(WebhookSettings(name="w", url="https://example.org/", secrets=("env:A",)), decide, environ),
        make_channel(AppriseSettings(name="a", urls=("env:U",)), decide, environ),
    ]
    assert [type(channel) for channel in made] == [TerminalChannel, EmailChannel, WebhookChannel, AppriseChannel]
    assert [channel.name for channel in made] == ["t", "e", "w", "a"]
    for channel in made:
        channel.close()
        channel.close()


def test_a_channel_without_its_secret_says_so_at_each_attempt(caplog: pytest.LogCaptureFixture) -> None:
    channel = open_channel(WebhookSettings(name="w", url="https://example.org/", secrets=("env:GONE",)), decide, {})
    with pytest.raises(DeliveryFailed) as raised:
        channel.deliver(OPENED, None)
    assert (str(raised.value), raised.value.retry) == ("the environment variable `GONE` is not set", True)
    assert "channel `w` cannot be used: the environment variable `GONE` is not set" in caplog.text
    channel.close()


def test_a_secret_comes_from_a_variable_or_a_file_without_the_white_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("  from a file\n")
    assert read_secret("env:X", {"X": " from a variable\n"}) == "from a variable"
    assert read_secret(f"file:{tmp_path / 's'}", {}) == "from a file"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b" \n", "is empty"), (b"\xff\xfe", "is not text"), (b"x" * (LIMIT_BYTES + 1), "is larger than")],
    ids=["empty", "binary", "large"],
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(ConfigInvalid, match=words):
        read_secret(f"file:{tmp_path / 's'}", {})


def test_a_file_that_is_not_there_and_a_variable_that_is_blank_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read: no such file or directory"):
        read_secret(f"file:{tmp_path / 'none'}", {})
    with pytest.raises(ConfigInvalid, match="`X` is not set"):
        read_secret("env:X", {"X": "  "})


def test_what_is_written_on_a_terminal_commands_it_nothing() -> None:
    stream = io.StringIO()
    hostile = message(title="\x1b]0;title\x07\x1b[2Jt", agent_says="a\rb\x9b31m", preview=("\u202ex",))
    assert TerminalChannel(lambda: stream).deliver(hostile, None) is None
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(stream.getvalue())
    assert "the agent says: a" in stream.getvalue()


def test_a_terminal_that_cannot_show_a_letter_is_shown_its_number() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    TerminalChannel(lambda: stream).deliver(message(title="Überweisung"), None)
    assert b"\\xdcberweisung" in raw.getvalue()


def test_a_stream_that_is_closed_is_a_failure_that_will_not_pass() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(DeliveryFailed) as raised:
        TerminalChannel(lambda: stream).deliver(OPENED, None)
    assert not raised.value.retry


def test_an_open_gate_tells_and_a_closed_one_has_told(capsys: pytest.CaptureFixture[str]) -> None:
    with world(CONFIG + '[[notify.channels]]\nkind = "terminal"\nname = "here"\nstream = "stderr"\n') as w:
        w.held()
        read_fd = ""
        for _ in range(600):
            read_fd += capsys.readouterr().err
            if "billing.adjust by support-bot waits for approval" in read_fd:
                break
            w.started.wait(0.05)
        assert "billing.adjust by support-bot waits for approval" in read_fd
        assert w.gate.store.find_deliverer() is not None


def test_a_vote_through_a_channel_is_the_desks_vote() -> None:
    with post() as p:
        held = p.w.held()
        assert isinstance(held, Held)
        assert p.office.decide(str(held.request), "lena", "approve", "fine") == (
            "it is approved: the same call, made again before it expires, runs once"
        )
        with p.w.alice():
            suspended = p.w.gate.call("account.suspend", {"customer_id": "C-1"})
        assert isinstance(suspended, Held)
        assert p.office.decide(str(suspended.request), "dana", "approve", None) == "your vote counts; more people must vote"
        assert p.office.decide(str(suspended.request), "omar", "reject", None) == "you have rejected it; the call stays denied"
