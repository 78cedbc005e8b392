"""Mail through an SMTP server (RFC 5321): plain text and HTML, one thread of mails for a request.

Rules:

1. Everything in the HTML is escaped; nothing is loaded from anywhere. The link shows the request, and decides nothing.
2. No text of a message can begin a header or another mail: headers are one line of plain text, set by the library, which refuses more.
3. The server's certificate is verified. With `starttls` nothing is said before it, and a server that does not offer it gets nothing.
4. A mail's Message-ID is the same whenever it is sent again. What follows names what came before (`In-Reply-To`, `References`).
5. Of what a server answers only the code is repeated: its text may hold anything.
6. It ends within three times `timeout_s`, however slowly a server trickles.
"""

from __future__ import annotations

import hashlib
import logging
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from html import escape
from typing import Any

from licet.approvals.notify.lines import as_lines, facts
from licet.approvals.notify.message import Message
from licet.config.notify import EmailSettings
from licet.errors import ConfigInvalid, DeliveryFailed, NobodyToTell

_log = logging.getLogger("licet.notify")

_PERMANENT = range(500, 600)
_AUTHENTICATION = frozenset({530, 534, 535, 538})  # RFC 4954: a password can be mended
_STYLE = "font-family:sans-serif;font-size:15px;line-height:1.5"


class _Bounded(smtplib.SMTP):
    """A connection that ends `cut_s` after it began, whatever it is doing: the timeout of smtplib is one for each read."""

    def __init__(self, *args: Any, cut_s: float, **more: Any) -> None:
        self._timer = threading.Timer(cut_s, self._cut)
        self._timer.daemon = True
        self._timer.start()
        try:
            super().__init__(*args, **more)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Nothing of it is left."""
        self._timer.cancel()
        self.close()

    def _cut(self) -> None:
        sock = self.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _EncryptedServer(_Bounded, smtplib.SMTP_SSL):
    pass


class EmailChannel:
    """One mail server. `password` is what the settings only point to. Raises `ConfigInvalid` where the file of certificates is none."""

    def __init__(self, settings: EmailSettings, password: str | None) -> None:
        self.name = settings.name
        self._settings = settings
        self._password = password
        self._domain = settings.sender.rpartition("@")[2]
        try:
            self._tls = ssl.create_default_context(cafile=settings.ca)
        except OSError as error:
            raise ConfigInvalid(f"the certificates in `{settings.ca}` cannot be used: {error}") from error

    def deliver(self, message: Message, earlier: str | None) -> str | None:
        """The server has taken the mail for everybody that it takes mail for. Raises `DeliveryFailed`, `NobodyToTell`."""
        told = self._settings.recipients
        to = tuple(dict.fromkeys([*self._settings.to, *[told[user] for user in message.voters if user in told]]))
        if not to:
            raise NobodyToTell("none of those who may vote has an address here")
        mail = self._mail(message, to, earlier)
        self._send(mail, to)
        first = earlier.split()[0] if earlier else mail["Message-ID"]
        return f"{first} {mail['Message-ID']}"

    def close(self) -> None:
        """No connection is kept open."""

    def _mail(self, message: Message, to: Sequence[str], earlier: str | None) -> EmailMessage:
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["From"] = self._settings.sender
        mail["To"] = ", ".join(to)
        mail["Subject"] = message.title
        mail["Date"] = format_datetime(message.at)
        channel = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        mail["Message-ID"] = f"<{message.id}.{channel}@{self._domain}>"
        if earlier:
            first, last = earlier.split()[0], earlier.split()[-1]
            mail["In-Reply-To"] = last
            mail["References"] = " ".join(dict.fromkeys([first, last]))
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is to answer
        mail.set_content("\n".join(as_lines(message)))
        mail.add_alternative(as_html(message), subtype="html")
        return mail

    def _send(self, mail: EmailMessage, to: Sequence[str]) -> None:
        wanted = self._settings
        try:
            with self._connected() as server:
                if wanted.security == "starttls":
                    server.starttls(context=self._tls)
                if wanted.user is not None and self._password is not None:
                    server.login(wanted.user, self._password)
                refused = server.send_message(mail, wanted.sender, to)
                if refused:
                    _log.warning("licet: the mail server `%s` takes no mail for %d of %d recipients", wanted.host, len(refused), len(to))
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise self._failed(
                f"takes mail for none of the recipients ({codes[0]})", retry=any(c not in _PERMANENT for c in codes)
            ) from None
        except smtplib.SMTPResponseException as error:
            permanent = error.smtp_code in _PERMANENT and error.smtp_code not in _AUTHENTICATION
            what = "the password" if error.smtp_code in _AUTHENTICATION else "the mail"
            raise self._failed(f"answered {error.smtp_code} to {what}", retry=not permanent) from None
        except smtplib.SMTPNotSupportedError:
            raise self._failed(f'does not offer what `security = "{wanted.security}"` and the password need', retry=True) from None
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise self._failed(f"is not reached, or went away: {_why(error)}", retry=True) from None

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """A connection, which is cut when its time is over."""
        wanted, where = self._settings, (self._settings.host, self._settings.port)
        cut_s = 2 * wanted.timeout_s
        server = (
            _EncryptedServer(*where, local_hostname=self._domain, timeout=wanted.timeout_s, context=self._tls, cut_s=cut_s)
            if wanted.security == "tls"
            else _Bounded(*where, local_hostname=self._domain, timeout=wanted.timeout_s, cut_s=cut_s)
        )
        try:
            yield server
        finally:
            with suppress(OSError, smtplib.SMTPException):  # the mail is taken, or not, by now
                server.quit()
            server.end()

    def _failed(self, what: str, *, retry: bool) -> DeliveryFailed:
        return DeliveryFailed(f"the mail server `{self._settings.host}` {what}", retry)


def as_html(message: Message) -> str:
    """The message as a page: no scripts, no images, nothing from elsewhere."""
    rows = "".join([f"<li>{escape(row)}</li>" for row in message.preview])
    more = f"<li>and {message.more} more</li>" if message.more else ""
    told = "".join([f"<tr><td style='color:#666;padding-right:1em'>{escape(n)}</td><td>{escape(t)}</td></tr>" for n, t in facts(message)])
    parts = [
        f"<h2 style='font-size:18px'>{escape(message.title)}</h2>",
        f"<p><strong>{escape(message.sentence)}</strong><br>asked by {escape(message.caller)}</p>",
        f"<ul>{rows}{more}</ul>" if rows else "",
        f"<table>{told}</table>",
    ]
    if message.agent_says is not None:
        parts.append(f"<p style='color:#666'>the agent says: <q>{escape(message.agent_says)}</q></p>")
    if message.link is not None:
        parts.append(f"<p><a href='{escape(message.link)}'>{'Look at it and decide' if message.decidable else 'Look at it'}</a></p>")
    return f"<!doctype html><html lang='en'><body style='{_STYLE}'>{''.join(parts)}</body></html>"


def _why(error: Exception) -> str:
    """The kind of the error, and of one of the operating system its text: never what a server said."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    text = error.strerror if isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException) else None
    return f"{type(error).__name__}{f': {text}' if text else ''}"
