"""Anything that Apprise reaches: plain text, one message for each event, nothing to click but the link.

Rules:

1. An address of Apprise holds secrets. No error and no log line repeats one: it is told by its place in the list and its scheme.
2. The text is plain: Apprise escapes it for each medium (`body_format`), reads no escapes in it, and fetches no attachment.
3. A message is delivered when every address has taken it. One that has is not sent it again while this process lives.

Not guaranteed: what a service makes of plain text, some of which turn addresses in it into links; and why a service refused, which Apprise
writes to its own log alone.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from types import ModuleType
from typing import Any, Final

from licet.approvals.notify.lines import as_lines
from licet.approvals.notify.message import Message
from licet.errors import ConfigInvalid, DeliveryFailed, OperatorError

_REMEMBERED: Final = 1_000
"""Messages of which some addresses have been sent, and others have not."""
_SCHEME: Final = re.compile(r"([A-Za-z0-9+.-]{1,32})://")


class AppriseChannel:
    """The addresses of one channel.

    Raises `OperatorError` where Apprise is missing, `ConfigInvalid` for an address that it does not know.
    """

    def __init__(self, urls: tuple[str, ...], *, name: str = "apprise") -> None:
        self.name = name
        self._library = _library()
        self._addresses = tuple(self._opened(url, place) for place, url in enumerate(urls, 1))
        self._taken: OrderedDict[tuple[str, int], None] = OrderedDict()

    def deliver(self, message: Message, earlier: str | None) -> str | None:  # noqa: ARG002  what was sent cannot be rewritten
        """Every address has taken the message. Raises `DeliveryFailed`."""
        body = "\n".join(as_lines(message)[2:])  # without the title, which goes apart
        failed = [place for place in range(len(self._addresses)) if not self._sent(message, body, place)]
        if failed:
            told = ", ".join(f"address {place + 1} ({self._addresses[place][0]})" for place in failed)
            raise DeliveryFailed(f"Apprise could not deliver to {told}; its own log says why", retry=True)
        return None

    def close(self) -> None:
        """Nothing is kept open."""

    def _sent(self, message: Message, body: str, place: int) -> bool:
        key = (message.id, place)
        if key in self._taken:
            return True
        try:
            # True, or in newer versions a result that is true where every service took it; None where nobody was asked.
            sent = bool(self._addresses[place][1].notify(title=message.title, body=body, body_format="text", interpret_escapes=False))
        except Exception:  # noqa: BLE001  a plugin's error may hold its address; its own log has more
            sent = False
        if sent:
            self._taken[key] = None
            if len(self._taken) > _REMEMBERED:
                self._taken.popitem(last=False)
        return sent

    def _opened(self, url: str, place: int) -> tuple[str, Any]:
        """The scheme and the sender of one address."""
        scheme = _SCHEME.match(url.strip())
        shown = scheme[1].lower() if scheme else "no scheme"
        sender = self._library.Apprise()
        if not scheme or sender.add(url.strip()) is not True or len(sender) != 1:
            raise ConfigInvalid(f"address {place} ({shown}) is none that Apprise knows")
        return shown, sender


def _library() -> ModuleType:
    try:
        import apprise  # noqa: PLC0415  an optional library
    except ImportError as error:
        raise OperatorError('this channel is a library that is not here: `pip install "licet[notify]"`') from error
    return apprise
