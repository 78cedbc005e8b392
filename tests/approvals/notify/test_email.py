"""Mail, through a real SMTP server on this machine."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from licet.approvals.notify.email import EmailChannel, as_html
from licet.config.notify import EmailSettings
from licet.errors import ConfigInvalid, DeliveryFailed, NobodyToTell
from tests.approvals.notify.examples import OPENED, message
from tests.approvals.notify.mail_server import Mailbox, make_certificate, server

HOSTILE = '<img src=x onerror=alert(1)> "quoted" & \u202e \r\nBcc: eve@example.org'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    make_certificate(cert, key)
    return cert, key


def context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(*certificate)
    return made


def settings(port: int, **changes: Any) -> EmailSettings:
    wanted: dict[str, Any] = {
        "name": "mail",
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "licet@example.org",
        "to": ("ops@example.org",),
        "timeout_s": 5.0,
    }
    return EmailSettings(**(wanted | changes))


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert isinstance(found, EmailMessage)
    return str(found.get_content())


def test_a_mail_says_in_plain_text_and_in_html_what_is_asked() -> None:
    box = Mailbox()
    with server(box) as port:
        handle = EmailChannel(settings(port), None).deliver(OPENED, None)
    (mail,) = box.got
    assert (mail["From"], mail["To"], mail["Subject"]) == ("licet@example.org", "ops@example.org", OPENED.title)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert handle == f"{mail['Message-ID']} {mail['Message-ID']}"
    for kind in ("plain", "html"):
        text = part(mail, kind)
        for said in (OPENED.sentence, OPENED.why[0], OPENED.needs[0], OPENED.at_expiry, "the agent says", "3 more", str(OPENED.link)):
            assert said in text, (kind, said)


def test_what_is_decided_follows_the_question_in_one_thread_and_is_known_when_it_comes_twice() -> None:
    box = Mailbox()
    with server(box) as port:
        channel = EmailChannel(settings(port), None)
        first = channel.deliver(OPENED, None)
        second = channel.deliver(message(id="n2", event="vote"), first)
        channel.deliver(message(id="n3", event="approved"), second)
        channel.deliver(message(id="n3", event="approved"), second)
    ids = [mail["Message-ID"] for mail in box.got]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3
    assert [mail["In-Reply-To"] for mail in box.got] == [None, ids[0], ids[1], ids[1]]
    assert [mail["References"] for mail in box.got] == [None, ids[0], f"{ids[0]} {ids[1]}", f"{ids[0]} {ids[1]}"]


def test_who_may_vote_is_told_at_their_address_and_nobody_else_of_the_table() -> None:
    box = Mailbox()
    people = {"lena": "lena@example.org", "omar": "omar@example.org"}
    with server(box) as port:
        EmailChannel(settings(port, recipients=people), None).deliver(OPENED, None)
        channel = EmailChannel(settings(port, to=(), recipients={"omar": "omar@example.org"}), None)
        with pytest.raises(NobodyToTell):
            channel.deliver(OPENED, None)
    assert box.recipients == [["ops@example.org", "lena@example.org"]]


@pytest.mark.parametrize("where", ["title", "sentence", "caller", "agent_says", "at_expiry", "link", "tool", "request"])
def test_no_text_becomes_markup_a_header_or_another_recipient(where: str) -> None:
    box = Mailbox()
    told = message(**{where: HOSTILE})
    assert "<img" not in as_html(told)
    if where == "title":
        with (
            pytest.raises(ValueError, match=r"linefeed|carriage"),
            server(box) as port,
        ):  # `plain` takes them away; the library refuses them
            EmailChannel(settings(port), None).deliver(told, None)
        return
    with server(box) as port:
        EmailChannel(settings(port), None).deliver(told, None)
    assert box.recipients == [["ops@example.org"]]
    assert box.got[0]["Bcc"] is None


@pytest.mark.parametrize("where", ["preview", "why", "needs", "votes", "steps"])
def test_no_row_becomes_markup(where: str) -> None:
    page = as_html(message(**{where: (HOSTILE,)}))
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; &quot;quoted&quot; &amp;" in page


def test_the_link_shows_and_nothing_in_a_mail_decides() -> None:
    page = as_html(OPENED)
    assert page.count("href=") == 1
    assert "href='https://licet.invalid/approvals/r-1'" in page
    for word in ("<form", "<script", "<img", "src=", "approve?", "http-equiv"):
        assert word not in page


def test_a_password_goes_over_starttls_to_a_server_whose_certificate_is_trusted(certificate: tuple[Path, Path]) -> None:
    box = Mailbox()
    with server(box, context(certificate), authenticator=box.authenticate, auth_required=True) as port:
        wanted = settings(port, security="starttls", user="licet", password="env:X", ca=str(certificate[0]))
        EmailChannel(wanted, "hunter2").deliver(OPENED, None)
    assert box.encrypted == [True]


def test_tls_from_the_first_byte(certificate: tuple[Path, Path]) -> None:
    box = Mailbox()
    with server(box, context(certificate), implicit=True) as port:
        EmailChannel(settings(port, security="tls", ca=str(certificate[0])), None).deliver(OPENED, None)
    assert len(box.got) == 1


def failed(call: Callable[[], object]) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as raised:
        call()
    return raised.value


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_whose_certificate_nobody_knows_gets_nothing(certificate: tuple[Path, Path], security: str) -> None:
    box = Mailbox()
    with server(box, context(certificate), implicit=security == "tls") as port:
        found = failed(lambda: EmailChannel(settings(port, security=security), None).deliver(OPENED, None))
    assert box.got == []
    assert found.retry
    assert "certificate" in str(found)


def test_a_server_that_does_not_encrypt_gets_nothing() -> None:
    box = Mailbox()
    with server(box) as port:
        found = failed(lambda: EmailChannel(settings(port, security="starttls"), None).deliver(OPENED, None))
    assert (box.got, found.retry) == ([], True)
    assert 'does not offer what `security = "starttls"`' in str(found)


def test_a_wrong_password_is_tried_again_later_and_never_repeated(certificate: tuple[Path, Path]) -> None:
    box = Mailbox()
    with server(box, context(certificate), authenticator=box.authenticate, auth_required=True) as port:
        wanted = settings(port, security="starttls", user="licet", password="env:X", ca=str(certificate[0]))
        found = failed(lambda: EmailChannel(wanted, "wrong-horse").deliver(OPENED, None))
    assert str(found) == "the mail server `127.0.0.1` answered 535 to the password"
    assert found.retry


@pytest.mark.parametrize(
    ("command", "answer", "retry", "words"),
    [
        ("DATA", "552 too much <script>", False, "answered 552 to the mail"),
        ("DATA", "451 try later", True, "answered 451 to the mail"),
        ("RCPT", "550 no such user", False, "takes mail for none of the recipients (550)"),
        ("RCPT", "450 busy", True, "takes mail for none of the recipients (450)"),
    ],
)
def test_what_a_server_refuses_is_said_by_its_code(command: str, answer: str, retry: bool, words: str) -> None:  # noqa: FBT001
    box = Mailbox(answers={command: answer})
    with server(box) as port:
        found = failed(lambda: EmailChannel(settings(port), None).deliver(OPENED, None))
    assert str(found) == f"the mail server `127.0.0.1` {words}"
    assert found.retry is retry


def test_one_recipient_that_is_refused_does_not_keep_the_others_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    box = Mailbox(answers={"gone@example.org": "550 gone"})
    with server(box) as port:
        assert EmailChannel(settings(port, to=("gone@example.org", "ops@example.org")), None).deliver(OPENED, None)
    assert box.recipients == [["ops@example.org"]]
    assert "takes no mail for 1 of 2 recipients" in caplog.text


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = failed(lambda: EmailChannel(settings(port), None).deliver(OPENED, None))
    assert found.retry
    assert "ConnectionRefusedError" in str(found)


@pytest.mark.parametrize("greeting", [b"", b"220-slow"], ids=["silent", "trickling"])
def test_a_server_that_says_nothing_or_too_slowly_is_left(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def trickle() -> None:
            accepted, _ = listening.accept()
            with accepted:
                while not over.wait(0.05):
                    try:
                        accepted.sendall(greeting)
                    except OSError:
                        return

        before = {*threading.enumerate()}  # those of other tests
        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            wanted = settings(listening.getsockname()[1], timeout_s=0.2)
            assert failed(lambda: EmailChannel(wanted, None).deliver(OPENED, None)).retry
        finally:
            over.set()
            thread.join()
    for one in {*threading.enumerate()} - before:
        one.join(10)  # a timer that was called off ends in a moment
        assert not one.is_alive()


def test_a_megabyte_from_an_agent_is_cut_before_it_comes_here() -> None:
    box = Mailbox()
    with server(box) as port:
        EmailChannel(settings(port), None).deliver(message(agent_says="x" * 500), None)
    assert len(bytes(box.got[0])) < 10_000


def test_certificates_that_are_none_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be used"):
        EmailChannel(settings(25, ca=str(tmp_path / "none.pem")), None)
