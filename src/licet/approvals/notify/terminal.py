"""Messages on a stream of this process. The text of a message has no control sequences left, and none are added."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal, TextIO

from licet.approvals.notify.lines import as_lines
from licet.approvals.notify.message import Message
from licet.errors import DeliveryFailed
from licet.names import visible

WIDTH = 72


class TerminalChannel:
    """Writes to `stream()`, which is looked up at each message: whoever replaces `sys.stderr` is followed."""

    def __init__(self, stream: Callable[[], TextIO], *, name: str = "terminal") -> None:
        self.name = name
        self._stream = stream

    @classmethod
    def on(cls, stream: Literal["stderr", "stdout"], name: str) -> TerminalChannel:
        """A channel on one of the standard streams."""
        return cls(lambda: sys.stderr if stream == "stderr" else sys.stdout, name=name)

    def deliver(self, message: Message, earlier: str | None) -> str | None:  # noqa: ARG002  what was written stays
        """The message is written, in one piece. Raises `DeliveryFailed`."""
        rule = "-" * WIDTH
        text = "\n".join([rule, *[visible(line) for line in as_lines(message)], rule, ""])
        stream = self._stream()
        try:
            encoding = stream.encoding or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except (OSError, ValueError) as error:  # closed, or a pipe that nobody reads
            raise DeliveryFailed(f"the stream cannot be written: {error}", retry=False) from error
        return None

    def close(self) -> None:
        """The stream is not this channel's to close."""
