"""What a notification goes through: one Protocol, which every medium implements in a file of its own.

Rules:

1. A channel sends what a `Message` says and decides nothing. One that takes decisions from people hands them to `Decide`, which casts
   the vote at the desk as that person; what it refuses is refused.
2. The text of a message is plain, and not escaped for any medium: the channel does that.
3. A delivery is made at least once. `Message.id` is the same whenever the same message is sent again.
4. `deliver` returns or raises within its own time limits. It is called by one thread of its channel, never by two at once.
5. No message of a `DeliveryFailed` holds a secret: it is kept in the delivery log.
"""

from __future__ import annotations

from typing import Literal, Protocol

from licet.approvals.notify.message import Message
from licet.errors import DeliveryFailed as DeliveryFailed  # noqa: PLC0414  what `deliver` raises
from licet.errors import NobodyToTell as NobodyToTell  # noqa: PLC0414  what `deliver` raises


class Decide(Protocol):
    """Casts a vote through the desk, for a user of the directory whom the channel has authenticated."""

    def __call__(self, request: str, user: str, verdict: Literal["approve", "reject"], comment: str | None) -> str:
        """A sentence that says what the vote did. Raises `VoteRefused`, and `StoreError` where nothing could be recorded."""
        ...


class Channel(Protocol):
    """One configured medium."""

    name: str
    """As licet.toml names it; unique among the channels."""

    def deliver(self, message: Message, earlier: str | None) -> str | None:
        """The message is with the medium, or what `earlier` names says now what the message says.

        `earlier` is the handle that the channel returned for the event before of the same request (or plan), if it returned one. Returns
        the handle for the next event, at most 2,000 characters and without secrets, or None. Raises `DeliveryFailed`, among
        others `NobodyToTell` where nobody behind this channel is to hear of it.
        """
        ...

    def close(self) -> None:
        """Connections and threads are given back. Safe to call twice."""
        ...
