"""Who proved who it is, and whom it may speak for: what every front door is given of a verified credential.

Rules:

1. An `Authenticated` comes from an `Authenticator` alone: from an API key, a token or a certificate that was verified. Nothing in a body,
   in a header that anyone can set, or that a model writes becomes part of one.
2. What a peer asks for (`AskedCaller`) is a selection inside the scope, never a claim. Outside of it nothing is found: `not_in_scope`
   says the same of what does not exist and of what is somebody else's.
3. A program that speaks for a person is not that person: `user` is None for it, so it votes on nothing and confirms nothing.
4. Delegation never widens. Where a credential names one user, that user is part of every call made with it; leaving the user out
   is no way around what the user may not do.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from licet.errors import CallerRefused
from licet.model import Caller
from licet.names import quoted

ANY: Final = "*"
"""In a scope: every one that the directory has."""

Method = Literal["api_key", "jwt", "mtls", "session"]


class AskedCaller(Struct, frozen=True, kw_only=True):
    """Whom a peer asks to speak as, unchecked. What is left out is filled in where the scope has only one."""

    tenant: str | None = None
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None


class Authenticated(Struct, frozen=True, kw_only=True):
    """Who shows a credential that was verified, and its scope.

    `credential` is an id that is no secret, for records, logs and rate limits: equal for all tokens of one login. `tenants`, `agents`,
    `services` and `users` may each be `("*",)`: all. `users` are those on whose behalf its agents and services may act. `user` is the
    person who speaks, as in the directory; None for a program, also for one that speaks on behalf of somebody (`users`).

    `roles` are roles of who speaks, beside the directory's, for what Licet itself permits; `user_roles` are roles of the one user in
    `users`, beside the directory's, for policies. `actors` is the chain of a token's `act` claims, outermost first. `expires_at` is
    in UTC microseconds. `only_for` are the resources of the gateway that a token is for, where it is for no more (identity/resources.py);
    `scopes` are those of a token, None for a credential that has none.
    """

    method: Method
    credential: str
    tenants: tuple[str, ...] = ()
    user: str | None = None
    agents: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    user_roles: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    expires_at: int | None = None
    only_for: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None

    def calling(self, asked: AskedCaller) -> Caller:
        """The caller that was asked for, all of it inside the scope. The directory still decides whether there is such a caller.

        Raises `CallerRefused` with `not_in_scope`, `tenant_needed`, `agent_needed` (several are possible, or none was named),
        `agent_and_service` or `no_agent` (a person alone is not a caller).
        """
        agent, service = self._program(asked)
        return Caller(
            tenant=self.tenant(asked.tenant),
            agent=agent,
            service=service,
            user=self._on_behalf_of(asked.user),
            roles=self.user_roles,
        )

    def find_caller(self, asked: AskedCaller) -> Caller | None:
        """As `calling`; None where that is not in the scope."""
        try:
            return self.calling(asked)
        except CallerRefused:
            return None

    def tenant(self, asked: str | None) -> str:
        """The tenant that was asked for, or the only one. Raises `CallerRefused` (`not_in_scope`, `tenant_needed`)."""
        if asked is not None:
            return _in_scope(asked, self.tenants, "tenant")
        if len(self.tenants) == 1 and self.tenants[0] != ANY:
            return self.tenants[0]
        raise CallerRefused("tenant_needed", "say for which tenant: the credential is not for one alone")

    def _program(self, asked: AskedCaller) -> tuple[str | None, str | None]:
        """The agent or the service that calls."""
        if asked.agent is not None and asked.service is not None:
            raise CallerRefused("agent_and_service", "a caller is an agent or a service, not both")
        if asked.agent is not None:
            return _in_scope(asked.agent, self.agents, "agent"), None
        if asked.service is not None:
            return None, _in_scope(asked.service, self.services, "service")
        if not self.agents and not self.services:
            raise CallerRefused("no_agent", "the credential speaks for no agent and no service, and a person alone makes no calls")
        if len(self.agents) + len(self.services) > 1 or ANY in (*self.agents, *self.services):
            raise CallerRefused("agent_needed", "say which agent or service calls: the credential speaks for more than one")
        return (self.agents[0], None) if self.agents else (None, self.services[0])

    def _on_behalf_of(self, asked: str | None) -> str | None:
        """The user it acts for. The only one cannot be left out: what the user may not do, its agent may not."""
        if asked is not None:
            return _in_scope(asked, self.users, "user")
        return self.users[0] if len(self.users) == 1 and self.users[0] != ANY else None


def _in_scope(asked: str, scope: tuple[str, ...], kind: str) -> str:
    if asked != ANY and (asked in scope or ANY in scope):
        return asked
    raise CallerRefused("not_in_scope", f"the credential does not speak for the {kind} {quoted(asked)}")
