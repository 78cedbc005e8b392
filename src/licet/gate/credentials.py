"""Issuing, replacing and revoking API keys: each an `admin` record in the log `operator`, in the transaction that changes the row.

Rules:

1. A key is for what the directory knows, when it is issued: agents, services and users of its own tenants, since names of others are as
   names that nobody has to whoever issues it. What is removed from the directory later is refused at each call.
2. A key is of one person, or for programs, never both: a program with a person's key could vote on what it asked for.
3. A successor is for the very same as the key that it replaces. The old one goes on until the overlap is over, and not longer.
4. Whoever showed a credential issues nothing that outlives it: a key of one day, stolen, would be one for ever. A token is the exception,
   since it says when it is to be renewed and not how long its owner is trusted: what was issued by one lives `LONGEST_BY_TOKEN_S` at most.
5. A passkey lasts until it is revoked, and is no exception: its secret is in a device of its person's, who has just signed in.
6. The record names who did it: a user of the directory if one is named, and the credential that was shown, or else the operating user.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

from licet.errors import ConditionLost, CredentialRefused, IntegrityBroken
from licet.gate.key_view import content_of
from licet.gate.text import readable
from licet.identity.api_keys import ERASED, KeyContent, Kind, Minted, digest_of, find_id, mint
from licet.identity.authenticated import ANY, Authenticated
from licet.identity.content import EVERY_TENANT, Agent, Service, User
from licet.identity.directory import Directory
from licet.ledger.erasure_keys import salted
from licet.ledger.issued import IssuedCredential, Issues, end_mark
from licet.ledger.record import Payload, microseconds
from licet.ledger.seal import Filing, Statement, state
from licet.ledger.vault import Subject
from licet.ledger.writer import Writer
from licet.model import OPERATOR_LOG, JsonObject, Receipt
from licet.names import name_problem, quoted
from licet.store.contract import Change, Store
from licet.store.credentials import EndCredential, PutCredential, StoredCredential, TouchCredentials

NAME_LIMIT = 200
LONGEST_OVERLAP_S = 30 * 86_400
"""Two keys that are good for longer than this are two keys."""

LONGEST_BY_TOKEN_S = 90 * 86_400
"""As long as a key lives unless somebody says otherwise. Much shorter, and nobody with a token could give a service its key."""

_EPOCH = datetime.fromtimestamp(0, UTC)

State = Literal["active", "ending", "ended", "expired", "broken"]


class CredentialSeen(Struct, frozen=True, kw_only=True):
    """A key as it stands: what it is for, and until when. `broken`: its row is not what was issued, and it is refused."""

    id: str
    name: str
    kind: Kind
    state: State
    tenants: tuple[str, ...]
    agents: tuple[str, ...]
    services: tuple[str, ...]
    users: tuple[str, ...]
    user: str | None
    roles: tuple[str, ...]
    replaces: str | None
    created_at: datetime
    expires_at: datetime | None
    ends_at: datetime | None
    last_used_at: datetime | None


class IssuedKey(Struct, frozen=True, kw_only=True):
    """A new key, which nobody will be shown again, with the receipt of its record. `repr` says nothing of the key."""

    credential: CredentialSeen
    key: str
    receipt: Receipt

    def __repr__(self) -> str:
        return f"IssuedKey({self.credential.id!r})"


class Revoked(Struct, frozen=True, kw_only=True):
    """A key that ends now, and the receipt of the record that says so."""

    credential: CredentialSeen
    receipt: Receipt


class Credentials:
    """The API keys of one store, under one directory."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        *,
        directory: Directory,
        environment: str,
        now: Callable[[], datetime],
        operating_user: str,
    ) -> None:
        self._store = store
        self._writer = writer
        self._directory = directory
        self._environment = environment
        self._now = now
        self._hand: JsonObject = {"operating_user": operating_user}
        self._until: int | None = None

    def showing(self, who: Authenticated) -> Credentials:
        """The same for somebody who showed a credential: records name it in place of the operating user, and rule 4 holds."""
        shown = copy(self)
        shown._hand = {"operating_user": None, "shown": who.credential}  # noqa: SLF001 - its own copy; `credential` is the key that it is about
        shown._until = self._end_of(who)  # noqa: SLF001 - as above
        return shown

    def _end_of(self, who: Authenticated) -> int | None:
        """Rule 4: beyond what moment nothing is issued. A key that was replaced or ended ends then, whatever it was issued with."""
        if who.method in {"jwt", "session"}:
            return microseconds(self._now() + timedelta(seconds=LONGEST_BY_TOKEN_S))
        ends = [who.expires_at, self._recorded_end(who.credential) if who.method == "api_key" else None]
        return min([end for end in ends if end is not None], default=None)

    def issue(self, content: KeyContent, *, expires_s: int | None, by: str | None = None) -> IssuedKey:
        """A key for this, good for so many seconds, or until it is revoked.

        Raises `CredentialRefused` (`bad_name`, `no_tenant`, `unknown_tenant`, `unknown_agent`, `unknown_service`, `unknown_user`,
        `bad_role`, `person_and_programs`, `nobody`, `bad_expiry`, `outlives_issuer`), `StoreError`.
        """
        self._check(content)
        self._check_user(by)
        return self._issue(content, expires_s, (), {"act": "issue_credential"}, by)

    def register(self, content: KeyContent, *, id_: str, expires_s: int | None = None, by: str | None = None) -> IssuedKey:
        """What can be issued once under this id, and not bound by rule 4: a passkey (rule 5), or the session that one opens.

        Raises `CredentialRefused` (`credential_exists`; those of `issue`), `StoreError`.
        """
        self._check(content)
        self._check_user(by)
        own = copy(self)
        own._until = None  # noqa: SLF001 - its own copy
        return own._issue(content, expires_s, (), {"act": "issue_credential"}, by, id_)  # noqa: SLF001 - as above

    def rotate(self, credential: str, *, overlap_s: int, expires_s: int | None = None, by: str | None = None) -> IssuedKey:
        """A successor of this key, for the same. The old one ends when the overlap is over, if it does not earlier.

        Without `expires_s` the successor lives as long as the old one was to live; where rule 4 forbids that it is refused, not shortened,
        since nobody expects a key to end earlier than the one that it replaces. Raises `CredentialRefused` (`no_such_credential`,
        `not_a_key`, `already_ended`, `bad_overlap` and those of `issue`), `IntegrityBroken` where the row is not what was issued, and
        `StoreError`.
        """
        if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
            raise CredentialRefused("bad_overlap", f"an overlap is from 0 to {LONGEST_OVERLAP_S // 86_400} days")
        old, content = self._get_sound(credential)
        if content.kind != "key":
            raise CredentialRefused("not_a_key", f"credential {quoted(credential)} is a {content.kind}, and has no successor: sign in anew")
        seen = self.show(credential)
        if seen.state in {"ended", "expired"}:
            raise CredentialRefused("already_ended", f"credential {quoted(credential)} has ended: issue a new one")
        self._check(replace(content, users=tuple([user for user in content.users if user != ERASED])))
        self._check_user(by)
        if expires_s is None and old.issued.expires_at is not None:
            expires_s = max(1, (old.issued.expires_at - old.issued.created_at) // 1_000_000)
        ends_at = microseconds(self._now() + timedelta(seconds=overlap_s))
        earlier = self._recorded_end(credential)
        ending = (EndCredential(credential, ends_at),) if earlier is None or ends_at < earlier else ()
        return self._issue(
            replace(content, replaces=credential), expires_s, ending, {"act": "rotate_credential", "overlap_s": overlap_s}, by
        )

    def revoke(self, credential: str, *, reason: str, by: str | None = None) -> Revoked:
        """The key is good for nothing from now on, in every process within a second.

        Raises `CredentialRefused` (`no_such_credential`, `already_ended`, `no_reason`), `StoreError`.
        """
        told = readable(reason).strip()[:1_000]
        if not told:
            raise CredentialRefused("no_reason", "a revocation needs a reason")
        self._check_user(by)
        row, ends_at = self._get(credential), microseconds(self._now())
        recorded = self._recorded_end(credential)
        if recorded is not None and recorded <= ends_at:
            raise CredentialRefused("already_ended", f"credential {quoted(credential)} has ended already")
        said = self._statement((end_mark(credential, ends_at),), {"act": "revoke_credential", "credential": credential, "reason": told}, by)
        # Who has edited the row, so that it seems to have ended, must not keep the record from being written: that is what counts.
        changes = (EndCredential(credential, ends_at),) if row.ends_at is None or row.ends_at > ends_at else ()
        try:
            receipts = self._writer.submit(Filing((said,), changes)).wait()
        except ConditionLost as lost:
            raise CredentialRefused("already_ended", f"credential {quoted(credential)} has ended already") from lost
        return Revoked(credential=self.show(credential), receipt=receipts[0])

    def show(self, credential: str) -> CredentialSeen:
        """The key of this id. Raises `CredentialRefused` (`no_such_credential`), `StoreError`."""
        return show_credential(self._store, credential, self._now())

    def find_active(self, credential: str) -> KeyContent | None:
        """What the credential of this id is for, where it is what was issued and has not ended. Raises `StoreError`."""
        row = self._store.find_credential(credential)
        if row is None:
            return None
        issues = read_issues(self._store)
        return content_of(row) if seen(row, issues, microseconds(self._now())).state in {"active", "ending"} else None

    def note_use(self, credential: str) -> None:
        """The credential was used now. Written a little later; nothing rests on it."""
        self._writer.submit(Filing((), (TouchCredentials(((credential, microseconds(self._now())),)),)))

    def exchange(self, shown: str, opened: Callable[[str], KeyContent], *, expires_s: int) -> IssuedKey:
        """What a link opens, which is good for one use: it ends with the record that issues this. `opened` is given the link's person.

        Raises `CredentialRefused` (`bad_link`, whatever is wrong with it; those of `issue`), `IntegrityBroken`, `StoreError`.
        """
        id_ = find_id(shown)
        row = None if id_ is None else self._store.find_credential(id_)
        if id_ is None or row is None or not hmac.compare_digest(row.issued.digest, digest_of(shown)):
            raise _bad_link()
        found, link = self._get_sound(id_)
        now = self._now()
        usable = seen(found, read_issues(self._store), microseconds(now)).state == "active"
        if link.kind != "link" or link.user is None or not usable:
            raise _bad_link()
        content = opened(link.user)
        self._check(content)
        try:
            ending = (EndCredential(id_, microseconds(now)),)
            return self._issue(content, expires_s, ending, {"act": "issue_credential", "used": id_}, link.user)
        except CredentialRefused as error:
            raise (_bad_link() if error.code == "already_ended" else error) from error

    def _issue(  # noqa: PLR0917  one issue, in its parts
        self,
        content: KeyContent,
        expires_s: int | None,
        ending: tuple[EndCredential, ...],
        act: JsonObject,
        by: str | None,
        id_: str | None = None,
    ) -> IssuedKey:
        now = self._now()
        minted: Minted = mint(id_)
        issued = IssuedCredential(
            id=minted.id,
            digest=minted.digest,
            content=salted(content),
            created_at=microseconds(now),
            expires_at=self._bounded(_expiry(now, expires_s), now),
        )
        marks = (issued.mark, *[end_mark(end.credential, end.ends_at) for end in ending])
        detail = {**act, "credential": minted.id, "content": asdict(content), "expires_at": issued.expires_at}
        said = self._statement(marks, detail, by, content)
        changes: tuple[Change, ...] = (PutCredential(issued), *ending)
        try:
            receipts = self._writer.submit(Filing((said,), changes)).wait()
        except ConditionLost as lost:
            if lost.condition == "credential_exists":
                raise CredentialRefused("credential_exists", "this was used or registered before") from lost
            raise CredentialRefused("already_ended", "the credential was ended by somebody else at the same moment") from lost
        return IssuedKey(credential=self.show(minted.id), key=minted.key, receipt=receipts[0])

    def _bounded(self, expires_at: int | None, now: datetime) -> int | None:
        """Rule 4."""
        if self._until is None or (expires_at is not None and expires_at <= self._until):
            return expires_at
        left_s = max(0, (self._until - microseconds(now)) // 1_000_000)
        asked = "for ever" if expires_at is None else f"until {_time(expires_at):%Y-%m-%d %H:%M:%S} UTC"
        raise CredentialRefused(
            "outlives_issuer",
            f"the key would be good {asked}, and what issues it issues nothing beyond {_time(self._until):%Y-%m-%d %H:%M:%S} UTC: "
            f"ask for {left_s} s at most, or let somebody issue it whose credential lasts longer",
        )

    def _recorded_end(self, credential: str) -> int | None:
        return read_issues(self._store).ends.get(credential)

    def _get(self, credential: str) -> StoredCredential:
        found = self._store.find_credential(credential)
        if found is None:
            raise CredentialRefused("no_such_credential", f"there is no credential {quoted(credential)}")
        return found

    def _get_sound(self, credential: str) -> tuple[StoredCredential, KeyContent]:
        """The row, if a record bears it out: a widened one must not be made lawful by a successor."""
        found = self._get(credential)
        content = content_of(found) if read_issues(self._store).bears_out(found.issued) else None
        if content is None:
            raise IntegrityBroken(f"credential `{credential}` is not what was issued; run `licet audit verify`")
        return found, content

    def _check(self, content: KeyContent) -> None:
        """Rules 1 and 2."""
        if not 0 < len(content.name) <= NAME_LIMIT or readable(content.name) != content.name or not content.name.strip():
            raise CredentialRefused("bad_name", f"a credential has a name of 1 to {NAME_LIMIT} visible characters")
        if not content.tenants:
            raise CredentialRefused("no_tenant", "say for which tenants the credential is, or `*` for all")
        directory = self._directory
        self._check_known("tenant", content.tenants, directory.tenants)
        self._check_known("agent", content.agents, _inside(directory.agents, content.tenants))
        self._check_known("service", content.services, _inside(directory.services, content.tenants))
        self._check_known("user", content.users, _inside(directory.users, content.tenants))
        for role in content.roles:
            if problem := name_problem(role):
                raise CredentialRefused("bad_role", f"{quoted(role)} cannot be a role: {problem}")
        programs = content.agents or content.services
        if content.user is not None:
            if programs or content.users:
                raise CredentialRefused("person_and_programs", "a credential is of a person, or for agents and services, not both")
            self._check_user(content.user)
        elif not programs and not content.roles:
            raise CredentialRefused("nobody", "say whom the credential is for: a user, agents, services, or at least roles")
        if content.users and not programs:
            raise CredentialRefused("nobody", "nobody acts for these users: say which agents or services do")

    def _check_known(self, kind: str, names: tuple[str, ...], known: Collection[str]) -> None:
        for name in names:
            if name == ANY and len(names) == 1:
                continue
            if name not in known:
                where = "" if kind == "tenant" else " in the tenants of the key"
                raise CredentialRefused(f"unknown_{kind}", f"there is no {kind} {quoted(name)}{where}")

    def _check_user(self, user: str | None) -> None:
        if user is None:
            return
        entry = self._directory.users.get(user)
        if entry is None:
            raise CredentialRefused("unknown_user", f"there is no user {quoted(user)}")
        if entry.disabled:
            raise CredentialRefused("user_disabled", f"the user {quoted(user)} is disabled")

    def _statement(self, marks: tuple[str, ...], detail: JsonObject, by: str | None, content: KeyContent | None = None) -> Statement:
        named = () if content is None else (*content.users, content.user)
        return state(
            log=OPERATOR_LOG,
            kind="admin",
            at=microseconds(self._now()),
            boot=self._store.boot,
            environment=self._environment,
            marks=marks,
            about=tuple([subject for user in dict.fromkeys((*named, by)) for subject in self._subjects(user)]),
            payload=Payload(detail={**detail, "by": by, **self._hand}),
        )

    def _subjects(self, user: str | None) -> tuple[Subject, ...]:
        """Under whose secrets the record lies: erasing the user in any of their tenants takes their name from it."""
        entry = None if user is None else self._directory.users.get(user)
        if user is None or entry is None:
            return ()
        tenants = [tenant for tenant in entry.tenants if tenant != EVERY_TENANT]
        return tuple([Subject(tenant, "User", user) for tenant in tenants or [OPERATOR_LOG]])


def _bad_link() -> CredentialRefused:
    """Whoever guesses learns nothing from it."""
    return CredentialRefused("bad_link", "this link opens nothing: it was used, its time is over, or it is not whole; ask for a new one")


def list_credentials(store: Store, now: datetime) -> tuple[CredentialSeen, ...]:
    """Every key, the oldest first. Raises `StoreError`."""
    issues = read_issues(store)
    return tuple([seen(row, issues, microseconds(now)) for row in store.credentials()])


def show_credential(store: Store, credential: str, now: datetime) -> CredentialSeen:
    """The key of this id. Raises `CredentialRefused` (`no_such_credential`), `StoreError`."""
    found = store.find_credential(credential)
    if found is None:
        raise CredentialRefused("no_such_credential", f"there is no credential {quoted(credential)}")
    return seen(found, read_issues(store), microseconds(now))


def read_issues(store: Store) -> Issues:
    """What the records say of all keys. Raises `StoreError`."""
    issues = Issues()
    for envelope in store.credential_records().envelopes:
        issues.take(envelope)
    return issues


def seen(row: StoredCredential, issues: Issues, now: int) -> CredentialSeen:
    """The row as people are shown it. When it ends is what the records say."""
    issued = row.issued
    content = content_of(row)
    sound = content is not None and issues.bears_out(issued)
    content = content or KeyContent(name="(cannot be read)", tenants=())
    ends_at = issues.ends.get(issued.id)
    return CredentialSeen(
        id=issued.id,
        name=content.name,
        kind=content.kind,
        state=_state(issued.expires_at, ends_at, now) if sound else "broken",
        tenants=content.tenants,
        agents=content.agents,
        services=content.services,
        users=content.users,
        user=content.user,
        roles=content.roles,
        replaces=content.replaces,
        created_at=_time(issued.created_at),
        expires_at=_time_or_none(issued.expires_at),
        ends_at=_time_or_none(ends_at),
        last_used_at=_time_or_none(row.last_used_at),
    )


def _state(expires_at: int | None, ends_at: int | None, now: int) -> State:
    if ends_at is not None and ends_at <= now:
        return "ended"
    if expires_at is not None and expires_at <= now:
        return "expired"
    return "active" if ends_at is None else "ending"


def _inside(entries: Mapping[str, Agent | Service | User], tenants: tuple[str, ...]) -> Collection[str]:
    """The names of those that belong to one of these tenants."""
    return [name for name, entry in entries.items() if ANY in tenants or {EVERY_TENANT, *tenants}.intersection(entry.tenants)]


def _expiry(now: datetime, expires_s: int | None) -> int | None:
    if expires_s is None:
        return None
    if not 0 < expires_s <= 100 * 366 * 86_400:
        raise CredentialRefused("bad_expiry", "a credential lives for a second at least, and a hundred years at most")
    return microseconds(now + timedelta(seconds=expires_s))


def _time(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def _time_or_none(at: int | None) -> datetime | None:
    return None if at is None else _time(at)
