"""One HTTP request whose asker is known, for the part of the door that speaks its era."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from licet.gate.acting import Acting
from licet.gate.gate import Gate
from licet.gateway.challenges import missing_scope, step_up
from licet.gateway.incoming import Incoming
from licet.gateway.link import Link
from licet.gateway.messages import INTERNAL_ERROR, NOT_PERMITTED, MessageId, RpcError, encode, failure, result
from licet.gateway.session_state import SessionState
from licet.gateway.visit import Visit
from licet.gateway.watch import Watch
from licet.identity.authenticated import Authenticated
from licet.model import JsonObject

REFUSED: Final = 400
"""The least status that says that something is wrong."""
_log = logging.getLogger("licet.gateway")


class Answers(Protocol):
    """The gateway, as far as a door needs it."""

    async def answer(self, incoming: Incoming) -> JsonObject:
        """The `result` of a request. Raises `RpcError`."""
        ...

    async def describe(self, incoming: Incoming) -> JsonObject:
        """What a client is told at its start."""
        ...

    async def heard(self, incoming: Incoming) -> None:
        """A legacy client tells something. What is not understood is no error."""
        ...


class Requested(Struct, frozen=True, kw_only=True):
    """A request, and who asks, from their credential."""

    visit: Visit
    who: Authenticated
    acting: Acting

    def incoming(self, message: JsonObject, link: Link, state: SessionState, session: str | None = None) -> Incoming:
        """What the gateway is handed. `session` is the name of the client's own one."""
        return Incoming(
            method=message["method"],
            params=message.get("params", {}),
            link=link,
            acting=self.acting if session is None else replace(self.acting, session=session),
            upstream=self.visit.upstream,
            session=state,
            headers=self.visit.headers,
            id=message.get("id"),
        )

    async def refuse(self, error: RpcError, number: MessageId | None = None, headers: Mapping[str, str] | None = None) -> None:
        """The answer is that this cannot be done."""
        await refuse(self.visit, error, number, headers)


async def refuse(visit: Visit, error: RpcError, number: MessageId | None = None, headers: Mapping[str, str] | None = None) -> None:
    """The answer is this error, under the status that it has, or 400."""
    status = max(error.http_status, REFUSED)
    await visit.answer(status, refusal(error, number), headers, code=str(error.code))


def refusal(error: RpcError, number: MessageId | None = None) -> bytes:
    """The body of an answer that is this error. Clients only read one that has an id: null where there is none (JSON-RPC 2.0, 5)."""
    return encode({"id": number, **failure(number, error)})


async def outcome(watch: Watch, number: MessageId, work: Callable[[], Any]) -> tuple[JsonObject, int]:
    """The message that answers a request, and the status that it has where it travels alone.

    What the watch was stopped with is raised, and nothing else.
    """
    try:
        with watch:
            return result(number, await work()), 200
    except RpcError as error:
        return failure(number, error), error.http_status
    except Exception as error:
        if error is watch.reason:
            raise
        _log.exception("licet: an error that nobody expected")
        said = RpcError(INTERNAL_ERROR, "an error that nobody expected; the log of the gateway says more")
        return failure(number, said), 500


def scope_wanting(gate: Gate, asked: Requested, incoming: Incoming) -> tuple[RpcError, Mapping[str, str]] | None:
    """The refusal of a request for which the credential has not the scope (rule 1 of the door); None where nothing is wanting."""
    scope = missing_scope(gate.settings, gate.scene, asked.who, incoming)
    if scope is None:
        return None
    error = RpcError(NOT_PERMITTED, f"this needs the scope `{scope}`", http_status=403)
    return error, {"www-authenticate": step_up(gate.settings, incoming.upstream, scope)}
