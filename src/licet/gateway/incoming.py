"""One request of a client, as a door hands it over."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from licet.gate.acting import Acting
from licet.gateway.link import ClientFacts, Link
from licet.gateway.messages import MessageId
from licet.gateway.session_state import SessionState
from licet.model import JsonObject


class Incoming(Struct, frozen=True, kw_only=True):
    """A request: what is asked, by whom, over which link.

    `params` are as they were sent, `_meta` included, and nothing in them says who asks. `acting` comes from a verified credential or from
    the gateway's own configuration. `upstream` is the only one that is meant, as at `/mcp/{upstream}`; None for all of them. `headers` are
    those of the HTTP request, in lower case. `id` is the request's own, which names a subscription for as long as it lasts.
    """

    method: str
    params: JsonObject
    link: Link
    acting: Acting
    upstream: str | None = None
    session: SessionState
    headers: Mapping[str, str] = {}
    id: MessageId | None = None

    @property
    def client(self) -> ClientFacts:
        """Who asks, by its own account."""
        return self.link.client

    @property
    def is_modern(self) -> bool:
        """Whether the client speaks 2026-07-28 or later."""
        return self.link.client.era == "modern"

    @property
    def meta(self) -> JsonObject:
        """The request's `_meta`."""
        found: JsonObject = self.params.get("_meta") or {}
        return found
