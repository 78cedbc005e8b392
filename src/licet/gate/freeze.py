"""Freezing, and lifting a freeze: records in the log, on whose transaction every process on the store depends.

Rules:

1. Anybody who can write the ledger may freeze, at once and without a user of the directory: a stop must never wait for a second person.
2. What is frozen must be known, unless whoever freezes says that it is meant as it stands (`anyway`): a typing error must leave nobody in
   the belief that something is stopped. A session is known to nobody beforehand, and is taken as it stands.
3. Lifting is what `[freeze]` in licet.toml narrows. With `lifters`, who lifts is of that group, and may decide for every tenant that the
   freeze stops. With `two_persons`, two people stand behind it: who froze and another one who lifts; or, where no user of the directory
   is known to have frozen, two who lift. People, not ids.
4. Freeze and lift are records: who, in whose name, why. A lift names the freeze. Of two lifts one is refused.

No credential is shown here: who can write the store can freeze and lift in any name, as with votes. The record names the operating user.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from copy import copy
from datetime import datetime
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from licet.config import FreezeSettings
from licet.errors import ConditionLost, FreezeRefused, IntegrityBroken
from licet.gate.freeze_view import StandingFreeze, replay_freezes, standing_freezes, tell
from licet.gate.text import readable
from licet.identity.content import EVERY_TENANT
from licet.identity.directory import Directory
from licet.ledger.frozen import EVERYTHING, SCOPES, Freeze, Scope, lift_mark
from licet.ledger.record import Payload, microseconds
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.vault import Subject
from licet.ledger.writer import Writer
from licet.model import OPERATOR_LOG, JsonObject, Receipt
from licet.names import quoted
from licet.store.contract import Change, Store
from licet.store.freezes import LiftFreeze, PutFreeze

NAME_LIMIT = 1_000
"""Characters of what is frozen: its name stands whole in the envelope."""
REASON_LIMIT = 1_000


class InTenants(Protocol):
    """An entry of the directory, or of licet.toml."""

    @property
    def tenants(self) -> Container[str]:
        """Where it may call; `*` is everywhere."""
        ...


class Known(Struct, frozen=True):
    """The names that there are (rule 2); None where nobody can tell."""

    agents: Mapping[str, InTenants]
    services: Mapping[str, InTenants]
    tenants: Container[str]
    tools: Container[str] | None


class Froze(Struct, frozen=True, kw_only=True):
    """What a freeze has done: what stands now, and the receipt of its record."""

    freeze: StandingFreeze
    receipt: Receipt


class Lifted(Struct, frozen=True, kw_only=True):
    """What a lift has done: what stood until now, who lifted it, and the receipt. `still` are the freezes of the same thing that stand."""

    freeze: StandingFreeze
    by: tuple[str, ...]
    still: tuple[str, ...]
    receipt: Receipt


class Freezer:
    """Where the calls of one store are stopped, under one directory. `directory` is None where licet.toml has none that is sound."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        *,
        directory: Directory | None,
        rules: FreezeSettings,
        environment: str,
        now: Callable[[], datetime],
        operating_user: str,
    ) -> None:
        self._store = store
        self._writer = writer
        self._directory = directory
        self._rules = rules
        self._environment = environment
        self._now = now
        self._hand: JsonObject = {"operating_user": operating_user}

    def showing(self, credential: str | None) -> Freezer:
        """The same for somebody who showed this credential, so that records name it in place of the operating user."""
        if credential is None:
            return self
        shown = copy(self)
        shown._hand = {"operating_user": None, "credential": credential}  # noqa: SLF001 - its own copy
        return shown

    def freeze(
        self,
        known: Known,
        scope: Scope,
        name: str | None = None,
        *,
        reason: str,
        tenant: str | None = None,
        by: str | None = None,
        anyway: bool = False,
    ) -> Froze:
        """It is frozen, in every process on the store: no call of it begins any more. Without `tenant`, of every tenant.

        Raises `FreezeRefused` (`bad_scope`, `bad_name`, `no_reason`, `unknown_name`, `unknown_tenant`, `unknown_user`, `user_disabled`),
        `StoreError`.
        """
        stopped = _checked_name(scope, name, tenant)
        log = stopped if scope == "tenant" else tenant or OPERATOR_LOG
        if log != OPERATOR_LOG and log not in known.tenants and not any(state.log == log for state in self._store.logs()):
            raise FreezeRefused("unknown_tenant", f"there is no tenant {quoted(log)}")
        if not anyway:
            _check_known(known, scope, stopped, tenant)
        self._check_user(by)
        act = {"act": "freeze", "scope": scope, "name": None if scope == "all" else stopped, "tenant": tenant}
        statement = self._statement(log, act, reason, (by,))
        freeze = Freeze(statement.id, log, scope, stopped, statement.at)
        receipts = self._writer.submit(Filing((_marked(statement, freeze.mark),), (PutFreeze(freeze),))).wait()
        return Froze(freeze=tell(self._store, freeze), receipt=receipts[0])

    def lift(self, freeze_id: str, *, reason: str, by: str | None = None, second: str | None = None) -> Lifted:
        """The freeze stands no more. `second` is another user who lifts it with `by`, where two must.

        Raises `FreezeRefused` (`no_reason`, `no_such_freeze`, `already_lifted`, `unknown_user`, `user_disabled`, `no_user`,
        `not_a_lifter`, `same_person`, `second_person_needed`), `IntegrityBroken` where no record placed it, `StoreError`.
        """
        found, changes = self._find(freeze_id)
        self._may_lift(found, by, second)
        log = OPERATOR_LOG if found.tenant is None else found.tenant
        people = tuple([user for user in (by, second) if user is not None])
        statement = self._statement(log, {"act": "lift", "freeze": freeze_id, "two_persons": self._rules.two_persons}, reason, (by, second))
        try:
            receipts = self._writer.submit(Filing((_marked(statement, lift_mark(freeze_id)),), changes)).wait()
        except ConditionLost as lost:
            raise FreezeRefused("already_lifted", f"freeze {quoted(freeze_id)} was lifted at the same moment") from lost
        still = tuple([other.id for other in standing_freezes(self._store) if other.what == found.what])
        return Lifted(freeze=found, by=people, still=still, receipt=receipts[0])

    def _find(self, freeze_id: str) -> tuple[StandingFreeze, tuple[Change, ...]]:
        """The freeze, and what lifts it, as of one moment.

        Where somebody has deleted or edited its row, the row is put right first: the record of the lift is to find it as it was.
        """
        found = self._store.freezes()
        row = next((row for row in found.rows if row.id == freeze_id), None)
        recorded = next((freeze for freeze in replay_freezes(found).standing if freeze.id == freeze_id), None)
        if recorded is None and row is None:
            raise FreezeRefused("no_such_freeze", f"no freeze {quoted(freeze_id)} stands")
        if recorded is None:
            raise IntegrityBroken(f"no record says that freeze `{freeze_id}` was placed; run `licet audit verify`")
        lift = LiftFreeze(freeze_id)
        return tell(self._store, recorded), (lift,) if row is not None else (PutFreeze(recorded), lift)

    def _may_lift(self, found: StandingFreeze, by: str | None, second: str | None) -> None:
        """Rule 3."""
        rules = self._rules
        for user in (by, second):
            self._check_user(user)
        if by is None:
            if second is not None or rules.lifters is not None or rules.two_persons:
                raise FreezeRefused("no_user", "who lifts this freeze must be named: a user of the directory")
            return
        for user in (by, second):
            if user is not None and rules.lifters is not None and not self._is_lifter(user, rules.lifters, found.tenant):
                raise FreezeRefused("not_a_lifter", self._why_no_lifter(user, rules.lifters, found.tenant))
        if rules.two_persons:
            self._check_two(found.by, by, second)

    def _check_two(self, froze: str | None, by: str, second: str | None) -> None:
        assert self._directory is not None
        person_of = self._directory.person_of
        if len({person_of(user) for user in (froze, by, second) if user is not None}) > 1:
            return
        if froze is None:
            message = "no user of the directory is known to have frozen it, so two people lift it: name another one as well"
            raise FreezeRefused("second_person_needed", message)
        raise FreezeRefused("same_person", f"{quoted(by)} is the person who froze it, and another one must lift it")

    def _is_lifter(self, user: str, group: str, tenant: str | None) -> bool:
        assert self._directory is not None
        tenants = self._directory.tenants if tenant is None else (tenant,)
        return all(self._directory.may_vote(user, group, one) for one in tenants)

    def _why_no_lifter(self, user: str, group: str, tenant: str | None) -> str:
        assert self._directory is not None
        if not self._directory.is_member(user, group):
            return f"{quoted(user)} is not in `{group}`"
        whom = f"tenant `{tenant}`" if tenant is not None else "every tenant, which this freeze stops"
        return f"{quoted(user)} is in `{group}`, and does not belong to {whom}"

    def _check_user(self, user: str | None) -> None:
        if user is None:
            return
        entry = self._directory.users.get(user) if self._directory is not None else None
        if entry is None:
            raise FreezeRefused("unknown_user", f"there is no user {quoted(user)}")
        if entry.disabled:
            raise FreezeRefused("user_disabled", f"the user {quoted(user)} is disabled")

    def _statement(self, log: str, act: JsonObject, reason: str, users: tuple[str | None, ...]) -> Statement:
        told = readable(reason).strip()[:REASON_LIMIT]
        if not told:
            raise FreezeRefused("no_reason", "a freeze, and its end, need a reason")
        people = tuple([user for user in users if user is not None])
        said = {**act, "reason": told, "by": users[0], **self._hand}
        if len(people) > 1:
            said["second"] = people[1]
        return state(
            log=log,
            kind="freeze",
            at=microseconds(self._now()),
            boot=self._store.boot,
            environment=self._environment,
            about=tuple([subject for user in people for subject in self._subjects(log, user)]),
            payload=Payload(detail=said),
        )

    def _subjects(self, log: str, user: str) -> tuple[Subject, ...]:
        """Under whose secrets the record lies: erasing the user in any of their tenants takes their name from it."""
        assert self._directory is not None
        if log != OPERATOR_LOG and self._directory.is_in_tenant(user, log):
            return (Subject(log, "User", user),)
        tenants = [tenant for tenant in self._directory.users[user].tenants if tenant != EVERY_TENANT]
        return tuple([Subject(tenant, "User", user) for tenant in tenants or [OPERATOR_LOG]])


def _checked_name(scope: Scope, unverified_name: str | None, tenant: str | None) -> str:
    """What is stopped, as the log names it."""
    if scope not in SCOPES:
        raise FreezeRefused("bad_scope", f"what can be frozen is one of {', '.join(map(quoted, SCOPES))}")
    if scope == "all":
        if unverified_name is not None or tenant is not None:
            raise FreezeRefused("bad_scope", "everything is frozen for every tenant; freeze a `tenant` to stop only one")
        return EVERYTHING
    if not isinstance(unverified_name, str) or not 0 < len(unverified_name) <= NAME_LIMIT or not unverified_name.strip():
        raise FreezeRefused("bad_name", f"what is frozen has a name of 1 to {NAME_LIMIT:,} characters")
    if scope == "tenant" and tenant not in (None, unverified_name):
        raise FreezeRefused("bad_scope", "a tenant is frozen for itself alone")
    return readable(unverified_name)


def _check_known(known: Known, scope: Scope, name: str, tenant: str | None) -> None:
    """Rule 2. For one tenant, names of others are as names that nobody has: its administrators need not learn them."""
    found = True
    if scope in {"agent", "service"}:
        entry = (known.agents if scope == "agent" else known.services).get(name)
        found = entry is not None and (tenant is None or tenant in entry.tenants or EVERY_TENANT in entry.tenants)
    elif scope == "tool":
        found = known.tools is None or name in known.tools
    if not found:
        where = "" if tenant is None else f" in the tenant {quoted(tenant)}"
        message = (
            f"there is no {scope} {quoted(name)}{where}, so nothing would be stopped; if it is another process's, say that it is meant so"
        )
        raise FreezeRefused("unknown_name", message)


def _marked(statement: Statement, mark: str) -> Statement:
    return replace(statement, marks=(mark,))
